import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score, recall_score, roc_auc_score, top_k_accuracy_score

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.stats import classification, runs, scores

NAMES = ("a", "b", "c", "d", "e")


def run_task(heads=3, items=83, classes=4, patients=19, seed=0):
    """Logits that are often right, and patients with different numbers of items."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, items)
    logits = rng.normal(size=(heads, items, classes)) + 1.5 * np.eye(classes)[labels]
    owner = np.minimum(rng.geometric(0.1, items), patients)
    return logits, labels, np.array([f"p{i}" for i in owner])


def slow_ece(logits, labels):
    """Expected calibration error, bin by bin."""
    probability = softmax(logits, axis=-1)
    confidence, right = probability.max(1), probability.argmax(1) == labels
    error = 0.0
    for low in np.arange(15) / 15:
        rows = (confidence > low) & (confidence <= low + 1 / 15)
        if rows.any():
            error += rows.mean() * abs(confidence[rows].mean() - right[rows].mean())
    return error


def slow_scores(logits, labels, present):
    """Scores of one head from scikit-learn."""
    c, chosen = logits.shape[-1], logits.argmax(1)
    f1 = f1_score(labels, chosen, labels=range(c), average=None, zero_division=0)
    recall = recall_score(labels, chosen, labels=range(c), average=None, zero_division=0)
    found = {
        "f1_macro": f1[present].mean(),
        "accuracy_macro": recall[present].mean(),
        "ece": slow_ece(logits, labels),
    }
    for i in present:
        found |= {f"f1/{NAMES[i]}": f1[i], f"accuracy/{NAMES[i]}": recall[i]}
    if c > 2:
        found["top2_macro"] = np.mean([top_two(logits, labels, i) for i in present])
        probability = softmax(logits, axis=-1)
        lost = [i for i in present if len(set(labels == i)) < 2]
        each = [roc_auc_score(labels == i, probability[:, i]) for i in present if i not in lost]
        found["auroc"] = np.nan if lost else np.mean(each)
    else:
        both = len(set(labels)) == 2
        found["auroc"] = roc_auc_score(labels, softmax(logits, axis=-1)[:, 1]) if both else np.nan
    return found


def top_two(logits, labels, chosen):
    rows = labels == chosen
    if not rows.any():
        return 0.0
    c = logits.shape[-1]
    return top_k_accuracy_score(labels[rows], logits[rows], k=2, labels=range(c))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_values_of_each_head_equal_scikit_learn(classes):
    logits, labels, patients = run_task(classes=classes, items=97)
    found = runs.run_scores(logits, labels, patients, NAMES[:classes], resamples=5)
    slow = [slow_scores(head, labels, list(range(classes))) for head in logits]
    assert set(found) == set(slow[0])
    for name, scored in found.items():
        assert scored.values == pytest.approx([head[name] for head in slow])
        assert scored.score.value == pytest.approx(scored.values.mean())
        assert (scored.score.n, scored.score.groups) == (97, len(set(patients)))


@pytest.mark.parametrize("classes", [2, 4])
def test_interval_equals_a_slow_bootstrap_of_whole_patients(classes, monkeypatch):
    monkeypatch.setattr(scores, "BLOCK", 40)
    logits, labels, patients = run_task(heads=2, classes=classes, items=23, patients=8, seed=4)
    found = runs.run_scores(logits, labels, patients, NAMES[:classes], resamples=130)
    drawn = slow_bootstrap(logits, labels, patients, resamples=130)
    # Four classes on few patients: some resamples have lost a class, and F1 counts it as 0.
    assert np.isnan([resample["auroc"] for resample in drawn]).any() == (classes == 4)
    for name, scored in found.items():
        slow = [resample[name] for resample in drawn]
        low, high = np.nanpercentile(slow, [2.5, 97.5])
        if name == "ece":
            value = scored.score.value
            low, high = max(0, 2 * value - high), max(value, 2 * value - low)
        assert (scored.score.low, scored.score.high) == pytest.approx((low, high), abs=1e-6)
        assert scored.score.mean == pytest.approx(np.nanmean(slow), abs=1e-6)


def slow_bootstrap(logits, labels, patients, resamples):
    """Mean scores over heads, one resample after the other."""
    rng, names, drawn = np.random.default_rng(42), np.unique(patients), []
    present = sorted(set(labels))
    for _ in range(resamples):
        picked = names[rng.integers(0, len(names), len(names))]
        rows = np.concatenate([np.flatnonzero(patients == name) for name in picked])
        heads = [slow_scores(head[rows], labels[rows], present) for head in logits]
        drawn.append({name: np.mean([head[name] for head in heads]) for name in heads[0]})
    return drawn


def test_one_head_is_scored_as_a_zero_shot_prediction_is():
    # Five columns, four classes with items.
    logits, labels, patients = run_task(heads=1, classes=5, items=120, seed=2)
    keep = labels != 3
    logits, labels, patients = logits[:, keep], labels[keep], patients[keep]
    single = classification.predict(logits[0], np.array(NAMES)[labels], NAMES, patients)
    known = classification.scores(single, by_patient=True)
    found = runs.run_scores(logits, labels, patients, NAMES)
    shared = set(found) & set(known)
    assert shared == set(known) - {"top3_macro"} and "f1/d" not in found
    for name in shared:
        score = vars(found[name].score)
        if "/" in name:  # classes of one model have exact intervals
            score = {key: value for key, value in score.items() if key not in ("low", "high")}
        assert score == pytest.approx({key: vars(known[name])[key] for key in score})


def test_replicates_are_those_of_run_scores_and_pair_up_between_models():
    logits, labels, patients = run_task(heads=4, items=60)
    f1 = runs.resampled_f1(logits, labels, patients, resamples=300)
    score = runs.run_scores(logits, labels, patients, NAMES[:4], resamples=300)
    low, high = np.percentile(f1, [2.5, 97.5])
    assert (low, high) == (score["f1_macro"].score.low, score["f1_macro"].score.high)
    # The mean over heads of the replicates is the replicate of the mean over heads.
    each = [runs.resampled_f1(head[None], labels, patients, resamples=300) for head in logits]
    assert np.mean(each, axis=0) == pytest.approx(f1)


def test_order_of_items_and_names_of_patients_do_not_matter():
    logits, labels, patients = run_task()
    mixed = np.random.default_rng(1).permutation(len(labels))
    first = runs.run_scores(logits, labels, patients, NAMES[:4], resamples=50)
    numbers = np.unique(patients, return_inverse=True)[1]
    second = runs.run_scores(
        logits[:, mixed], labels[mixed], numbers[mixed], NAMES[:4], resamples=50
    )
    for name, scored in first.items():
        assert vars(second[name].score) == pytest.approx(vars(scored.score))


def test_perfect_and_constant_heads():
    labels = np.array([0, 1, 2] * 10)
    perfect, constant = 50 * np.eye(3)[labels], 50 * np.eye(3)[np.zeros(30, int)]
    found = runs.run_scores(
        np.stack([perfect, constant]), labels, np.arange(30), ("a", "b", "c"), resamples=20
    )
    # The constant head: F1 of class a is 2 * 10 / (30 + 10), of the others 0.
    assert found["f1_macro"].values == pytest.approx([1, 0.5 / 3])
    assert found["accuracy_macro"].values == pytest.approx([1, 1 / 3])
    assert found["top2_macro"].values == pytest.approx([1, 2 / 3])
    assert found["auroc"].values == pytest.approx([1, 0.5])
    assert found["ece"].values == pytest.approx([0, 2 / 3])


def calibrated(items, seed=0):
    """One head whose every probability is right in the long run, and the labels."""
    rng = np.random.default_rng(seed)
    claimed = rng.uniform(0.5, 1, items)
    logits = np.log(np.stack([1 - claimed, claimed], axis=-1))[None]
    return logits, (rng.random(items) < claimed).astype(int)


@pytest.mark.parametrize("seed", range(5))
def test_interval_of_calibrated_heads_reaches_to_zero_and_holds_the_value(seed):
    logits, labels = calibrated(400, seed)
    owner = np.arange(400)
    score = runs.run_scores(logits, labels, owner, ("a", "b"), resamples=500)["ece"].score
    # Resamples claim a larger error than there is: their own chance is added to it.
    assert 0 < score.value < score.mean
    assert 0 <= score.low <= 0.01 and score.low < score.value <= score.high < 2 * score.value


def test_interval_of_the_calibration_error_mirrors_the_percentiles_at_the_value():
    # One of eight right at 100 %. Of resamples, 95 % have none to three right: 0.625 to 1.
    logits, labels = np.repeat([[[0.0, 99.0]]], 8, axis=1), np.eye(8, dtype=int)[0]
    score = runs.run_scores(logits, labels, np.arange(8), ("a", "b"))["ece"].score
    assert (score.value, score.low, score.high) == pytest.approx((0.875, 0.75, 1.0))


def test_one_class_has_no_auroc():
    logits, labels, patients = run_task(classes=2)
    found = runs.run_scores(logits, labels * 0, patients, ("a", "b"), resamples=9)
    assert "auroc" not in found and "f1/b" not in found and "f1/a" in found


def test_ensemble_is_the_logarithm_of_the_mean_probability():
    logits, _, _ = run_task(heads=5)
    mean = softmax(logits, axis=-1).mean(0)
    assert np.exp(runs.ensemble(logits)) == pytest.approx(mean)
    # Far from 0 too, where probabilities round to 0.
    far = np.array([[[0.0, 2000.0]], [[0.0, 2000.0]]])
    assert runs.ensemble(far) == pytest.approx(np.array([[-2000.0, 0.0]]))


def test_heads_whose_training_diverged_are_named():
    logits = np.zeros((3, 3, 2))
    logits[1, 2, 0] = np.nan
    with pytest.raises(ShapeError, match="not finite. Where: runs 1"):
        runs.run_scores(logits, np.array([0, 1, 1]), np.arange(3), ("a", "b"), resamples=2)
