"""Worst, median and best images."""

import numpy as np
import pytest

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.segmentation_examples import picked


def test_picked_gives_the_worst_the_median_and_the_best_in_order():
    values = np.array([0.5, 0.9, 0.1, 0.3, 0.7, 0.2, 0.6])
    found = picked(values, k=2)
    assert {name: places.tolist() for name, places in found.items()} == {
        "worst": [2, 5],
        "median": [3, 0],
        "best": [1, 4],
    }
    assert picked(values)["median"].tolist() == [0]


def test_picked_takes_no_image_twice_and_none_without_a_score():
    rng = np.random.default_rng(3)
    for n in range(14):
        for k in range(1, 6):
            values = np.insert(rng.permutation(n).astype(float), n // 2, [np.nan, np.nan])
            found = picked(values, k)
            places = np.concatenate(list(found.values()))
            assert len(set(places)) == places.size == min(n, 3 * min(k, max(1, n // 3)))
            assert all(each.dtype.kind == "i" for each in found.values())
            assert not np.isnan(values[places]).any()
            ranked = {name: values[each].tolist() for name, each in found.items()}
            worst, median, best = ranked["worst"], ranked["median"], ranked["best"]
            assert worst == list(range(len(worst)))
            assert best == [n - 1 - i for i in range(len(best))]
            if median:
                assert len(median) == len(worst) == len(best) and median == sorted(median)
                assert 0 <= (n - 1) / 2 - np.mean(median) <= 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], [[], [], []]), ([np.nan], [[], [], []]), ([0.3], [[0], [], []]),
     ([0.3, 0.2], [[1], [], [0]]), ([0.5, 0.5, 0.5], [[0], [1], [2]])],
)  # fmt: skip
def test_picked_of_few_or_equal_images(values, expected):
    assert [places.tolist() for places in picked(np.array(values)).values()] == expected


def test_picked_refuses_to_pick_nothing():
    with pytest.raises(ParameterError, match="Nothing to pick. Where: k. Expected: 1 or more. F"):
        picked(np.ones(3), k=0)
