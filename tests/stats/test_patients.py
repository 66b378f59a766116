import numpy as np
import pytest

from fetalclip_nb.stats.patients import patient_means

PATIENTS = np.array(["a", "b", "b", "c"])


def test_means_are_of_images_and_intervals_of_whole_patients():
    found = patient_means({"x": np.array([0.0, 1.0, 1.0, 0.0])}, PATIENTS, resamples=2000)
    score = found["x"]["patient"]
    assert (score.value, score.n, score.groups) == (0.5, 4, 3)
    rng = np.random.default_rng(1)
    drawn = rng.integers(0, 3, (4000, 3))
    shares = np.array([(2 * (d == 1).sum()) / (3 + (d == 1).sum()) for d in drawn])
    assert (score.low, score.high) == (0, 1) == tuple(np.percentile(shares, [2.5, 97.5]))
    assert score.mean == pytest.approx(shares.mean(), abs=0.02)


def test_missing_values_do_not_count_and_a_name_without_values_is_left_out():
    values = {"some": np.array([np.nan, 1.0, 3.0, np.nan]), "none": np.full(4, np.nan)}
    found = patient_means(values, PATIENTS)
    assert list(found) == ["some"]
    score = found["some"]["patient"]
    assert (score.value, score.low, score.high, score.n) == (2, 2, 2, 2)


def test_all_values_share_one_draw_of_patients():
    a = np.array([0.1, 0.5, 0.3, 0.9])
    found = patient_means({"a": a, "twice": 2 * a}, PATIENTS)
    one, two = (found[name]["patient"] for name in ("a", "twice"))
    assert (two.low, two.high) == pytest.approx((2 * one.low, 2 * one.high))
    once = patient_means({"a": a}, PATIENTS, resamples=1)["a"]["patient"]
    assert once.low == once.mean == once.high
