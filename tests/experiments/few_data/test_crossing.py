import numpy as np
import pytest

from fetalclip_nb.experiments.few_data.crossing import crossing


def test_the_number_is_read_off_between_sizes_on_a_logarithmic_scale():
    # 0.5 lies a quarter of the way from 0.4 to 0.8, which is from 4 to 16 patients: 4 * 4**0.25.
    found = crossing([2, 4, 16], np.array([[0.1, 0.4, 0.8]]), 0.5)
    assert found.median == 6.0  # the first whole number from 5.7 on
    assert found.text == "6"
    assert crossing([2, 4], np.array([[0.4, 0.6]]), 0.4).median == 3.0
    assert crossing([2, 4, 8], np.array([[0.4, 0.5, 0.9]]), 0.5).median == 5.0


def test_a_curve_that_falls_back_counts_from_its_last_rise():
    found = crossing([1, 2, 4, 8], np.array([[0.1, 0.9, 0.3, 0.7]]), 0.5)
    assert found.median == 6.0


def test_always_and_never():
    ahead = crossing([2, 4], np.array([[0.6, 0.7]]), 0.5)
    assert (ahead.median, ahead.text) == (2.0, "at most 2")
    behind = crossing([2, 4], np.array([[0.6, 0.5]]), 0.5)
    assert (behind.median, behind.text) == (np.inf, "more than 4")


def test_interval_may_end_outside_the_sizes():
    # Of 100 resamples 10 are always ahead, 80 cross at 4 and 10 never do.
    curves = np.repeat([[0.6, 0.7, 0.8], [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]], [10, 80, 10], axis=0)
    found = crossing([2, 4, 8], curves, 0.5)
    assert (found.low, found.median, found.high) == (2.0, 5.0, np.inf)
    assert found.text == "5 (at most 2 to more than 8; not within 8 in 10 % of the draws)"
    few = crossing([2, 4, 8], curves, 0.5, sets=2)
    assert few.text.startswith("5 (no interval: fewer than 5 sets of a size; not within 8")


def test_equals_a_slow_reading_of_each_resample():
    rng = np.random.default_rng(0)
    sizes, level = [2, 4, 8, 32, 64], rng.random(200)
    curves = np.sort(rng.random((200, 5)), axis=1) + 0.2 * rng.normal(size=(200, 5))
    slow = []
    for row, bar in zip(curves, level, strict=True):
        number = float(sizes[0])
        for i in range(5):
            if row[i] <= bar:
                number = np.inf
                if i < 4:
                    way = (bar - row[i]) / (row[i + 1] - row[i])
                    number = np.floor(sizes[i] * (sizes[i + 1] / sizes[i]) ** way) + 1
        slow.append(number)
    found = crossing(sizes, curves, level)
    low, median, high = np.sort(slow)[[4, 99, 194]]
    assert (found.low, found.median, found.high) == pytest.approx((low, median, high))


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(1)
    shift = 0.1 * rng.normal(size=(500, 1))
    curves = np.array([[0.3, 0.4, 0.5, 0.6]]) + shift
    paired = crossing([2, 4, 8, 16], curves, 0.45 + shift[:, 0])
    mixed = crossing([2, 4, 8, 16], curves, 0.45 + shift[::-1, 0])
    assert paired.low == pytest.approx(paired.high)
    assert mixed.low < paired.low < mixed.high
