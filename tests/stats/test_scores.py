import numpy as np
import pytest
from sklearn.metrics import f1_score, recall_score

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.stats import scores


def random_task(n=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    predictions = np.where(rng.random(n) < 0.7, labels, rng.integers(0, classes, n))
    return labels, predictions


def test_f1_and_recall_equal_scikit_learn():
    labels, predictions = random_task()
    counts = np.bincount(scores.confusion_codes(labels, predictions, 4), minlength=16)
    expected = f1_score(labels, predictions, average=None)
    assert scores.f1_per_class(counts, 4) == pytest.approx(expected)
    expected = recall_score(labels, predictions, average="macro")
    assert scores.macro_recall(counts, 4, range(4)) == pytest.approx(expected)


def test_class_without_images_does_not_enter_the_mean_but_costs_recall():
    # Two images of class 0, one of them called class 2, which has no images.
    counts = np.bincount([0, 2, 4], minlength=9)
    assert scores.f1_per_class(counts, 3).tolist() == pytest.approx([2 / 3, 1, 0])
    assert scores.macro_f1(counts, 3, [0, 1]) == pytest.approx((2 / 3 + 1) / 2)


def test_image_bootstrap_equals_one_resample_after_the_other():
    labels, predictions = random_task(n=57)
    codes = scores.confusion_codes(labels, predictions, 4)
    fast = scores.resampled_counts(codes, 16, resamples=45, seed=42)
    rng = np.random.default_rng(42)
    for row in fast:
        drawn = codes[rng.integers(0, len(codes), len(codes))]
        assert row.tolist() == np.bincount(drawn, minlength=16).tolist()


def test_patient_bootstrap_equals_one_resample_after_the_other():
    labels, predictions = random_task(n=60)
    codes = scores.confusion_codes(labels, predictions, 4)
    patients = np.random.default_rng(1).integers(0, 17, 60).astype(str)
    fast = scores.resampled_counts(codes, 16, groups=patients, resamples=45, seed=3)
    rng = np.random.default_rng(3)
    names = np.unique(patients)
    for row in fast:
        drawn = names[rng.integers(0, len(names), len(names))]
        together = np.concatenate([codes[patients == name] for name in drawn])
        assert row.tolist() == np.bincount(together, minlength=16).tolist()


def test_interval_covers_the_binomial_one():
    valid = np.arange(814) < 679
    found = scores.share(valid)
    sigma = np.sqrt(found.value * (1 - found.value) / 814)
    assert found.high - found.low == pytest.approx(2 * 1.96 * sigma, rel=0.05)
    assert found.low < found.value < found.high
    assert (found.n, found.groups) == (814, 814)


def test_patients_with_equal_images_widen_the_interval():
    valid = np.repeat(np.arange(100) < 60, 5)
    patients = np.repeat(np.arange(100), 5)
    images, grouped = scores.share(valid), scores.share(valid, groups=patients)
    assert grouped.groups == 100
    assert grouped.high - grouped.low > 1.8 * (images.high - images.low)


def test_median_and_its_interval_by_slow_bootstrap():
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0])
    found = scores.median(values, resamples=2000)
    rng = np.random.default_rng(42)
    slow = [np.median(values[rng.integers(0, 7, 7)]) for _ in range(2000)]
    assert found.value == 3.0
    assert (found.low, found.high) == tuple(np.percentile(slow, [2.5, 97.5]))


def test_no_images_and_wrong_groups_are_refused():
    with pytest.raises(ShapeError, match="No images"):
        scores.share(np.array([], dtype=bool))
    with pytest.raises(ShapeError, match="One group an image"):
        scores.share(np.array([True, False]), groups=np.array(["a"]))
