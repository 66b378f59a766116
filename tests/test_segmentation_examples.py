"""Worst, median and best images."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from segments import SIDE

from fetalclip_nb import overlap
from fetalclip_nb.decoder_cells import Outcome
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.pictures import pack, unpack
from fetalclip_nb.segmentation_examples import examples, picked


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


ROWS = np.array([1, 3, 4, 6, 8, 10, 11])
ERRORS = {0: (5, 9, 0, 30, 2, 14, 60), 1: (60, 0, 30, 5, 14, 9, 2)}


@pytest.fixture(scope="module")
def outcome(squares):
    """Two decoders that miss or add so many rows of pixels of the largest structure."""
    true = unpack(squares.preparations[0].masks[ROWS], SIDE)
    predicted = np.stack([true, true])
    largest = squares.task.structures.index("abdominal_circumference")
    for h, errors in ERRORS.items():
        for i, k in enumerate(errors):
            predicted[h, i, largest].reshape(-1)[: 10 * k] ^= True
    counts = np.stack([overlap.counts(one, true) for one in predicted])
    unused = np.empty((2, len(ROWS)))
    losses = np.zeros((2, 1))
    return Outcome(ROWS, counts, unused, unused, pack(predicted), np.ones(2, int), losses)


@pytest.mark.parametrize("decoder", [0, 1])
def test_examples_are_pictures_and_masks_of_the_ranked_rows(squares, outcome, decoder):
    task = squares.task
    found = examples(squares, outcome, decoder=decoder, k=2)
    assert set(found) == {"images", "true", "predicted", "structures", "titles"}
    assert found["structures"] == task.structures
    predicted = unpack(outcome.masks, SIDE)[decoder]
    true = squares.batch(np.stack([np.zeros_like(ROWS), ROWS], 1))[2].numpy() > 0
    means = [
        np.mean([2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in zip(*pair, strict=True)])
        for pair in zip(predicted, true, strict=True)
    ]
    order = np.argsort(means)
    # Seven images: two worst, three between (the lower two are about their median), two best.
    places = [*order[:2], *order[2:4], *order[:-3:-1]]
    for i, place in enumerate(places):
        row = ROWS[place]
        assert np.array_equal(found["images"][i], squares.preparations[0].images[row])
        assert np.array_equal(found["true"][i], true[place])
        assert np.array_equal(found["predicted"][i], predicted[place])
        kind = ("worst", "median", "best")[i // 2]
        assert found["titles"][i] == f"{kind}: DSC {100 * means[place]:.1f} %"
    assert len(found["titles"]) == len(found["images"]) == 6
    assert found["images"].dtype == np.uint8 and found["predicted"].dtype == bool


def test_structures_that_an_image_lacks_do_not_rank_it(squares, outcome):
    """An image is ranked by what it has; one that has nothing is not shown."""
    counts = outcome.counts.copy()
    counts[0, :, :] = [50, 0, 50]  # 66.7 %
    counts[0, 2, 0], counts[0, 2, 1:] = [90, 10, 10], [0, 7, 0]  # 90 % of one structure
    counts[0, 5] = [0, 99, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = examples(squares, replace(outcome, counts=counts), k=2)
    images = squares.preparations[0].images
    assert np.array_equal(found["images"][4], images[ROWS[2]])
    assert found["titles"][4] == "best: DSC 90.0 %"
    assert not any(np.array_equal(image, images[ROWS[5]]) for image in found["images"])
    assert len(found["titles"]) == 6


def test_examples_of_one_image_each_are_the_default(squares, outcome):
    assert [title.split(":")[0] for title in examples(squares, outcome)["titles"]] == [
        "worst", "median", "best"
    ]  # fmt: skip
