import numpy as np
import pytest

from fetalclip_nb import metrics, patient_sums
from fetalclip_nb.zero_shot import softmax


def task(heads=2, items=29, classes=3, patients=5):
    rng = np.random.default_rng(0)
    logits = rng.integers(-2, 3, (heads, items, classes)).astype(np.float32)
    owner = np.r_[np.arange(patients), rng.integers(0, patients, items - patients)]
    return logits, rng.integers(0, classes, items), owner


def test_sums_equal_counting_item_by_item_ties_included():
    logits, labels, owner = task()
    found = patient_sums.patient_sums(logits, labels, owner)
    true, gaps = np.zeros((5, 1, 3)), np.zeros((5, 2, 15))
    hits, predicted, second = np.zeros((3, 5, 2, 3))
    for i, (label, patient) in enumerate(zip(labels, owner, strict=True)):
        true[patient, 0, label] += 1
        for h in range(2):
            ranked = np.argsort(-logits[h, i], kind="stable")
            confidence = softmax(logits[h, i].astype(float)).max()
            predicted[patient, h, ranked[0]] += 1
            hits[patient, h, label] += ranked[0] == label
            second[patient, h, label] += label in ranked[:2]
            gaps[patient, h, int(np.ceil(15 * confidence)) - 1] += confidence - (ranked[0] == label)
    slow = {"true": true, "hits": hits, "predicted": predicted, "second": second, "gaps": gaps}
    assert vars(found).keys() == slow.keys()
    for name, table in slow.items():
        assert vars(found)[name] == pytest.approx(table), name
    for table, name in zip(patient_sums.choice_sums(logits, labels, owner), slow, strict=False):
        assert (table == vars(found)[name]).all()


def test_weighted_sums_are_those_of_repeated_items():
    logits, labels, owner = task()
    weights = np.array([[2, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    drawn = patient_sums.patient_sums(logits, labels, owner).weighted(weights)
    for row, times in enumerate(weights):
        rows = np.repeat(np.arange(29), times[owner])
        one = np.zeros(rows.size, dtype=np.int64)
        slow = patient_sums.patient_sums(logits[:, rows], labels[rows], one)
        for name, table in vars(slow).items():
            assert vars(drawn)[name][row] == pytest.approx(table[0])


def test_weights_are_the_draws_of_the_other_scores_and_belong_to_patients_not_items():
    patients = np.array(["b", "a", "c", "a", "d", "b"])
    weights = patient_sums.patient_weights(patients, resamples=45, seed=7)
    each = np.unique(patients, return_inverse=True)[1]
    counts = metrics.resampled_counts(each, 4, groups=patients, resamples=45, seed=7)
    assert (weights * [2, 2, 1, 1] == counts).all() and (weights.sum(1) == 4).all()
    # Other items of the same patients, in another order.
    again = patient_sums.patient_weights(patients[[4, 0, 2, 1]], resamples=45, seed=7)
    assert (again == weights).all()
    assert (patient_sums.patient_weights(patients, resamples=45, seed=8) != weights).any()


def test_blocks_hold_every_resample_once(monkeypatch):
    monkeypatch.setattr(patient_sums, "_BLOCK", 4)
    weights = np.arange(20).reshape(10, 2)
    parts = list(patient_sums.blocks(weights))
    assert [len(part) for part in parts] == [4, 4, 2] and parts[0].dtype == np.float32
    assert (np.concatenate(parts) == weights).all()
