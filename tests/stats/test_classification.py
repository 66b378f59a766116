from functools import partial

import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score, top_k_accuracy_score

from fetalclip_nb.errors import DataError
from fetalclip_nb.stats import classification, scores


def example(seed=0, n=200, classes=("a", "b", "c", "d")):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes[:3], n)
    logits = rng.normal(size=(n, len(classes)))
    patients = rng.integers(0, 40, n).astype(str)
    return classification.predict(logits, labels, classes, patients), logits


def test_sums_equal_counting_item_by_item_ties_included():
    rng = np.random.default_rng(0)
    logits, labels = rng.integers(-2, 3, (2, 29, 3)), rng.integers(0, 3, 29)
    owner = np.r_[np.arange(5), rng.integers(0, 5, 24)]
    ranked = np.argsort(-logits, axis=-1, kind="stable")
    slow_true, slow_choices = np.zeros((5, 1, 3)), np.zeros((5, 2, 3, 3))
    for i, (label, patient) in enumerate(zip(labels, owner, strict=True)):
        slow_true[patient, 0, label] += 1
        for h in range(2):
            first, second = sorted(range(3), key=lambda c: -logits[h, i, c])[:2]
            slow_choices[patient, h, first, 0] += 1
            slow_choices[patient, h, label, 1:] += (label == first, label in (first, second))
    true, choices = classification.choice_sums(ranked, labels, owner, 3, guesses=2)
    assert (true == slow_true).all() and (choices == slow_choices).all()


def test_top_k_is_the_mean_over_classes_and_equals_scikit_learn_per_class():
    predictions, logits = example()
    found = classification.scores(predictions, by_patient=False)
    for k in (2, 3):
        slow = []
        for i in predictions.present:
            rows = predictions.labels == i
            truth = predictions.labels[rows]
            slow.append(top_k_accuracy_score(truth, logits[rows], k=k, labels=range(4)))
        assert found[f"top{k}_macro"].value == pytest.approx(np.mean(slow))


def test_class_without_images_does_not_enter_the_mean_but_costs_recall():
    # Two images of class a, one of them called class c, which has no images.
    predictions = classification.predict(np.eye(3)[[0, 2, 1]], ["a", "a", "b"], ("a", "b", "c"))
    found = classification.scores(predictions, by_patient=False)
    assert (found["f1/a"].value, found["f1/b"].value) == pytest.approx((2 / 3, 1))
    assert found["f1_macro"].value == pytest.approx((2 / 3 + 1) / 2)
    assert found["accuracy/a"].value == 0.5 and "f1/c" not in found


@pytest.mark.parametrize("by_patient", [False, True])
def test_intervals_equal_scikit_learn_one_resample_after_the_other(by_patient, monkeypatch):
    predictions, logits = example(n=60, classes=("a", "b", "c"))
    monkeypatch.setattr(classification, "bootstrap", partial(scores.bootstrap, resamples=45))
    found = classification.scores(predictions, by_patient=by_patient)
    owner = predictions.patients if by_patient else np.arange(60)
    names, rng, drawn = np.unique(owner), np.random.default_rng(42), []
    for _ in range(45):
        picked = names[rng.integers(0, len(names), len(names))]
        rows = np.concatenate([np.flatnonzero(owner == name) for name in picked])
        pair = predictions.labels[rows], logits[rows].argmax(1)
        kinds = {"labels": range(3), "average": "macro", "zero_division": 0}
        drawn.append((f1_score(*pair, **kinds), recall_score(*pair, **kinds)))
    for name, slow in zip(("f1_macro", "accuracy_macro"), np.transpose(drawn), strict=True):
        ends = np.percentile(slow, [2.5, 97.5])
        assert (found[name].low, found[name].high) == pytest.approx(tuple(ends))
        assert found[name].mean == pytest.approx(slow.mean())


def test_labels_without_prompts_are_refused():
    with pytest.raises(DataError, match=r"Labels without prompts.*Found: z"):
        classification.predict(np.zeros((1, 2)), ["z"], ("a", "b"))


def test_joined_keeps_classes_apart_and_scores_them_together():
    left = classification.predict(np.eye(2) * 9, ["a", "b"], ("a", "b"))
    right = classification.predict(np.eye(2)[[1, 1]], ["c", "d"], ("c", "d"))
    both = classification.joined(left, right)
    assert both.classes == ("a", "b", "c", "d")
    found = classification.scores(both, by_patient=False)
    assert found["f1_macro"].value == pytest.approx((1 + 1 + 0 + 2 / 3) / 4)
    assert "top2_macro" not in found


def test_majority_names_one_class_and_mistakes_come_most_confident_first():
    predictions, logits = example()
    constant = classification.majority(predictions)
    assert len(set(constant.ranked[:, 0])) == 1
    table = classification.mistakes(predictions, [str(i) for i in range(200)], 5)
    assert (table["true"] != table["predicted"]).all()
    assert table["confidence"].is_monotonic_decreasing
    row = int(table["image"].iloc[0])
    assert logits[row].argmax() != predictions.labels[row]


def test_subgroups_partition_the_right_answers():
    predictions, _ = example()
    groups = np.where(np.arange(200) < 50, "A", "B")
    found = classification.subgroup_accuracy(predictions, groups)
    right = (predictions.ranked[:, 0] == predictions.labels).sum()
    assert found["A"].n + found["B"].n == 200
    assert found["A"].value * 50 + found["B"].value * 150 == pytest.approx(right)
