"""The mean mask, counted by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from segments import MEAN, SIDE, STD, empty_preparation, rows_by_hand

from fetalclip_nb import head_measurement, overlap
from fetalclip_nb.datasets.table import Dataset
from fetalclip_nb.decoder_cells import Outcome
from fetalclip_nb.mask_tasks import MaskTask
from fetalclip_nb.pictures import pack, unpack
from fetalclip_nb.segmentation_baselines import mean_mask
from fetalclip_nb.segmentation_data import Material
from fetalclip_nb.segmentation_scores import outcome_scores
from fetalclip_nb.splits import Fold, Split, own_folds

PATIENTS = ("a", "a", "b", "c", "d", "e")


def material_of(masks, tmp_path, name="bar"):
    """One structure, one image a row of PATIENTS; masks of shape (6, side, side)."""
    n, side = len(masks), masks.shape[-1]
    table = pd.DataFrame(
        {"id": [f"{i}" for i in range(n)], "path": "x", "patient": PATIENTS, "pixel_mm": 0.5}
    )
    dataset = Dataset("manifest", tmp_path, table, False, "0" * 16)
    areas = masks.sum((1, 2))[:, None]
    task = MaskTask(name, dataset, (name,), masks.__getitem__, "1" * 16, areas)
    plain = empty_preparation(np.arange(n), side)
    plain.masks[:] = pack(masks[:, None])
    sizes = np.full((n, 2), 2 * side)
    return Material(task, "none", side, MEAN, STD, sizes, (plain,))


@pytest.fixture
def bars(tmp_path):
    """Rows 0-5: the first k columns are inside, k = 2, 4, 4, 6, 8, 0."""
    masks = np.zeros((6, 16, 16), bool)
    for row, k in enumerate((2, 4, 4, 6, 8, 0)):
        masks[row, :, :k] = True
    return material_of(masks, tmp_path)


@pytest.mark.filterwarnings("error::UserWarning")
def test_mean_mask_by_hand(bars):
    """Columns in more than half of rows 0, 1, 2: four; of 3 and 4: six (a half is too few)."""
    folds = (Fold(("a", "b"), ("c",)), Fold(("d", "c"), ("a",)))
    found = mean_mask(bars, Split("own", ("e", "d"), folds), ("d", "e"))
    assert isinstance(found, Outcome) and found.rows.tolist() == [4, 5]
    guess = unpack(found.masks, 16)
    assert guess.shape == (2, 2, 1, 16, 16)
    for h, k in enumerate((4, 6)):
        expected = np.zeros((16, 16), bool)
        expected[:, :k] = True
        assert all(np.array_equal(guess[h, i, 0], expected) for i in range(2))
    column = 16
    assert found.counts[:, :, 0].tolist() == [
        [[4 * column, 0, 4 * column], [0, 4 * column, 0]],
        [[6 * column, 0, 2 * column], [0, 6 * column, 0]],
    ]
    # Right edges of guess and truth are 4 and 2 pixels of 0.5 * 2 mm apart.
    np.testing.assert_array_equal(found.distances[:, :, 0], [[4, np.nan], [2, np.nan]])
    assert np.isnan(found.circumferences).all() and found.circumferences.shape == (2, 2)
    assert found.epochs.tolist() == [0, 0] and np.isnan(found.losses).all()
    assert found.losses.shape == (2, 1)


def test_tested_and_validation_images_do_not_count(bars):
    split = Split("own", ("e",), (Fold(("a", "b"), ("c",)),))
    before = mean_mask(bars, split, ("e",))
    bars.preparations[0].masks[3:5] = 255
    assert np.array_equal(mean_mask(bars, split, ("e",)).masks, before.masks)
    bars.preparations[0].masks[5] = 255
    after = mean_mask(bars, split, ("e",))
    assert np.array_equal(after.masks, before.masks)
    assert after.counts[0, 0, 0].tolist() == [64, 0, 192]
    bars.preparations[0].masks[1:3] = 255
    assert unpack(mean_mask(bars, split, ("e",)).masks, 16).all()


@pytest.mark.parametrize("lower", [0, 10])
def test_heads_are_measured_where_half_of_the_training_images_have_one(head_squares, lower):
    """Lowered, heads lie partly below the image, in the square's border: that part is cut off."""
    plain = head_squares.preparations[0]
    heads = np.roll(unpack(plain.masks, SIDE), lower, axis=-2)
    masks = pack(np.concatenate([heads, np.zeros_like(heads)], axis=1))
    task = replace(head_squares.task, structures=("head", "nothing"))
    head_squares = replace(head_squares, task=task, preparations=(replace(plain, masks=masks),))
    split = own_folds(task.items.table, seed=0, folds=2)
    found = mean_mask(head_squares, split, split.test)
    table = task.dataset.table
    sizes, pixel_mm = table[["width", "height"]].to_numpy(), table["pixel_mm"].to_numpy()
    true = head_squares.batch(np.array([[0, row] for row in range(len(table))]))[2][:, 0].numpy()
    for h, fold in enumerate(split.folds):
        share = true[rows_by_hand(table, fold.train)].mean(0, dtype=float)
        for i, row in enumerate(rows_by_hand(table, split.test)):
            expected = head_measurement.head_circumferences(
                share[None] - 0.5, sizes[[row]], pixel_mm[[row]]
            )
            np.testing.assert_allclose(found.circumferences[h, i], expected[0], rtol=1e-5)
            assert np.isfinite(expected).all()
            assert np.array_equal(unpack(found.masks, SIDE)[h, i, 0], share > 0.5)
    scores = outcome_scores(found, task)
    assert scores["dsc/head"].values.shape == (2,) and (scores["dsc/head"].values > 0.3).all()


def test_every_structure_has_a_mean_of_its_own(squares):
    task = squares.task
    table = task.items.table
    split = own_folds(table, seed=0, folds=3)
    found = mean_mask(squares, split, split.test)
    every = squares.batch(np.array([[0, row] for row in range(len(table))]))[2]
    rows = rows_by_hand(table, split.test)
    for h, fold in enumerate(split.folds):
        share = every[rows_by_hand(table, fold.train)].double().mean(0)
        guess = np.stack([(share > 0.5).numpy()] * len(rows))
        assert np.array_equal(unpack(found.masks, SIDE)[h], guess)
        true = (every[rows] > 0).numpy()
        assert np.array_equal(found.counts[h], overlap.counts(guess, true))
        expected = overlap.hausdorff95(guess, true, squares.square_pixel_mm[rows])
        np.testing.assert_array_equal(found.distances[h], expected)
    assert len(found.counts) == 3
