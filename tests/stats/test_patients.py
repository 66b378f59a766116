import numpy as np
import pytest

from fetalclip_nb.stats.patients import likeness, patient_means

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


def test_likeness_by_hand_and_by_chance():
    # Groups (1, 3) and (5, 7, 9), means 2 and 7, of all 5: between 2 * 9 + 3 * 4 = 30 with one
    # degree of freedom, within (2 + 8) / 3, mean size 5 - 13 / 5 = 2.4.
    found = likeness(np.array([1.0, 3, 5, 7, 9]), np.array(["a", "a", "b", "b", "b"]))
    assert found == pytest.approx((30 - 10 / 3) / (30 + 1.4 * 10 / 3))
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(2000), 3)
    alike = rng.standard_normal(2000)[patients] + rng.standard_normal(6000)
    assert likeness(alike, patients) == pytest.approx(0.5, abs=0.05)
    assert likeness(rng.permutation(alike), patients) == pytest.approx(0, abs=0.05)
    assert np.isnan(likeness(np.ones(5), np.array([0, 0, 1, 1, 1])))
    assert np.isnan(likeness(np.arange(3.0), np.arange(3)))
