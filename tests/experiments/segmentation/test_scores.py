"""The mean mask, counted by hand."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.experiments.segmentation import measurement, overlap, tables
from fetalclip_nb.experiments.segmentation.fit import Outcome
from fetalclip_nb.experiments.segmentation.material import Material
from fetalclip_nb.experiments.segmentation.plans import Study
from fetalclip_nb.experiments.segmentation.recipe import as_they_are
from fetalclip_nb.experiments.segmentation.scores import (
    annotated_circumferences,
    examples,
    is_measured,
    limits,
    mean_mask,
    measured_heads,
    measured_scores,
    outcome_scores,
    picked,
    true_circumferences,
    without_leaks,
)
from fetalclip_nb.experiments.segmentation.squares import pack, task_squares, unpack
from fetalclip_nb.experiments.segmentation.tables import score_text, strata_table
from fetalclip_nb.growth import gestational_age
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.own_splits import own_folds
from fetalclip_nb.tasks.splits import Fold, Split
from segments import MEAN, SIDE, STD, empty_preparation, rows_by_hand, same, with_table

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
    return Material(task, side, MEAN, STD, sizes, (plain,))


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
    assert np.isnan(found.losses).all() and found.losses.shape == (2, 1)


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
            expected = measurement.head_circumferences(
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
    return Outcome(ROWS, counts, unused, unused, pack(predicted), np.zeros((2, 1)))


def test_examples_are_squares_and_masks_of_the_ranked_rows(squares, outcome):
    task = squares.task
    found = examples(squares, outcome, k=2)
    assert found.structures == task.structures
    predicted = unpack(outcome.masks, SIDE)[0]
    true = squares.batch(as_they_are(ROWS))[2].numpy() > 0
    means = [
        np.mean([2 * (p & t).sum() / (p.sum() + t.sum()) for p, t in zip(*pair, strict=True)])
        for pair in zip(predicted, true, strict=True)
    ]
    order = np.argsort(means)
    # Seven images: two worst, three between (the lower two are about their median), two best.
    places = [*order[:2], *order[2:4], *order[:-3:-1]]
    for i, place in enumerate(places):
        row = ROWS[place]
        assert np.array_equal(found.images[i], squares.preparations[0].images[row])
        assert np.array_equal(found.true[i], true[place])
        assert np.array_equal(found.predicted[i], predicted[place])
        kind = ("worst", "median", "best")[i // 2]
        assert found.titles[i] == f"{kind}: DSC {100 * means[place]:.1f} %"
    assert len(found.titles) == len(found.images) == 6
    assert found.images.dtype == np.uint8 and found.predicted.dtype == bool


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
    assert np.array_equal(found.images[4], images[ROWS[2]])
    assert found.titles[4] == "best: DSC 90.0 %"
    assert not any(np.array_equal(image, images[ROWS[5]]) for image in found.images)
    assert len(found.titles) == 6


def test_examples_of_one_image_each_are_the_default(squares, outcome):
    assert [title.split(":")[0] for title in examples(squares, outcome).titles] == [
        "worst", "median", "best"
    ]  # fmt: skip


DECODERS = 2


def outcome_of(material, rows, seed=0):
    """Decoders that outline the truth but for some pixels, and find nothing in one image."""
    rng = np.random.default_rng(seed)
    rows = np.asarray(rows)
    true = unpack(material.preparations[0].masks[rows], SIDE)
    wrong = rng.random((DECODERS, *true.shape)) < np.array([0.02, 0.1])[:, None, None, None, None]
    predicted = true ^ wrong
    predicted[1, 1] = False
    mm = material.square_pixel_mm[rows]
    table = material.task.dataset.table.iloc[rows]
    measured = np.full((DECODERS, len(rows)), np.nan)
    if "hc_mm" in table:
        measured = table["hc_mm"].to_numpy() + rng.normal(0, 5, measured.shape)
        measured[1, 1] = np.nan
    return Outcome(
        rows,
        np.stack([overlap.counts(one, true) for one in predicted]),
        np.stack([overlap.hausdorff95(one, true, mm) for one in predicted]),
        measured,
        pack(predicted),
        np.zeros((DECODERS, 1)),
    )


@pytest.fixture(scope="module")
def scored_outcome(squares):
    return outcome_of(squares, [1, 4, 5, 8, 9, 10, 11])


@pytest.fixture(scope="module")
def measured(head_squares):
    return outcome_of(head_squares, [0, 2, 3, 6, 7, 8, 11, 12])


def masks_of(material, scored_outcome):
    """Predicted (H, n, C, S, S) and true (n, C, S, S) masks."""
    true = material.batch(as_they_are(scored_outcome.rows))[2].numpy() > 0
    return unpack(scored_outcome.masks, SIDE), true


def slow_dice(predicted, true):
    both = sum(bool(a and b) for a, b in zip(predicted.flat, true.flat, strict=True))
    return 2 * both / (np.count_nonzero(predicted) + np.count_nonzero(true))


def test_overlap_is_that_of_the_unpacked_masks(squares, scored_outcome):
    found = outcome_scores(scored_outcome, squares.task)
    predicted, true = masks_of(squares, scored_outcome)
    structures = squares.task.structures
    pooled = np.array([[slow_dice(one[:, c], true[:, c]) for c in range(3)] for one in predicted])
    assert true.any((2, 3)).all()
    each = np.array(
        [
            [np.mean([slow_dice(p[c], t[c]) for p, t in zip(one, true, strict=True)])
             for c in range(3)]
            for one in predicted
        ]
    )  # fmt: skip
    for c, name in enumerate(structures):
        np.testing.assert_allclose(found[f"dsc/{name}"].values, pooled[:, c])
        np.testing.assert_allclose(found[f"image_dsc/{name}"].values, each[:, c])
    np.testing.assert_allclose(found["dsc"].values, pooled.mean(1))
    np.testing.assert_allclose(found["image_dsc"].values, each.mean(1))
    assert found["dsc"].score.value == pytest.approx(pooled.mean())
    assert not any(name.startswith(("hc_", "age_")) for name in found)


def test_heads_are_compared_with_the_table(head_squares, measured):
    task = head_squares.task
    found = outcome_scores(measured, task)
    true = [task.dataset.table["hc_mm"][row] for row in measured.rows]
    assert true_circumferences(measured, task).tolist() == true
    for h in range(DECODERS):
        pairs = [p for p in zip(measured.circumferences[h], true, strict=True) if p[0] == p[0]]
        errors = [m - t for m, t in pairs]
        assert len(errors) == len(true) - h
        assert found["hc_mae_mm"].values[h] == pytest.approx(np.mean(np.abs(errors)))
        assert found["hc_bias_mm"].values[h] == pytest.approx(np.mean(errors))
        assert found["hc_missed"].values[h] == pytest.approx(h / len(true))
        days = [
            abs(gestational_age(np.array([m]))[0] - gestational_age(np.array([t]))[0])
            for m, t in pairs
            if 100 <= t <= 342
        ]
        assert found["age_mae_days"].values[h] == pytest.approx(np.mean(days))
    assert {"dsc/head", "hd95/head"} <= set(found)
    assert found["hc_mae_mm"].score.groups == len(
        {task.dataset.table["patient"][row] for row in measured.rows}
    )


def test_one_measurement_an_image_may_be_given(head_squares, measured):
    task = head_squares.task
    found = measured_scores(true_circumferences(measured, task) + 2, measured, task)
    assert found["hc_bias_mm"].values == pytest.approx([2])
    assert found["hc_mae_mm"].values == pytest.approx([2]) and found["age_bias_days"].values[0] > 0


def test_annotations_are_measured_at_their_own_size(head_squares, measured):
    task = head_squares.task
    turned = replace(measured, rows=measured.rows[::-1])
    found = annotated_circumferences(turned, task)
    for value, row in zip(found, turned.rows, strict=True):
        pixel_mm = task.dataset.table["pixel_mm"][row]
        axes = measurement.semi_axes(task.read(row)[0])
        assert value == pytest.approx(measurement.perimeter(*axes) * pixel_mm)
    np.testing.assert_allclose(found, true_circumferences(turned, task), rtol=0.01)


def test_patients_that_leak_are_left_out(squares, scored_outcome):
    """Those that the split tests are kept, of all that are tested."""
    table = squares.task.items.table
    patients = [table["patient"][row] for row in (scored_outcome.rows[0], scored_outcome.rows[-1])]

    def left(test):
        split = Split("official", tuple(test), ())
        study = Study(squares.task, {"official": split}, tuple(table["patient"]))
        assert study.leaks == (tuple(test) != study.tested)
        return without_leaks({("m", "abdomen"): scored_outcome}, {"abdomen": study})["m", "abdomen"]

    found = left([*patients, "nobody"])
    rows = [row for row in rows_by_hand(table, patients) if row in scored_outcome.rows]
    assert found.rows.tolist() == rows and 2 <= len(rows) < len(scored_outcome.rows)
    kept = [scored_outcome.rows.tolist().index(row) for row in rows]
    assert np.array_equal(found.counts, scored_outcome.counts[:, kept])
    assert np.array_equal(found.masks, scored_outcome.masks[:, kept])
    assert same(left(table["patient"]), scored_outcome)


def test_heads_are_measured_where_sizes_are_known(heads, trunks):
    assert is_measured(heads) and not is_measured(trunks)
    assert not is_measured(with_table(trunks, hc_mm=1.0))
    for column in ("pixel_mm", "hc_mm"):
        table = heads.dataset.table.drop(columns=column)
        assert not is_measured(replace(heads, dataset=replace(heads.dataset, table=table)))


def test_limits_are_unknown_where_too_few_heads_are_measured(head_squares, measured):
    task = head_squares.task
    heads = measured_heads(measured, task)
    known = limits(heads)
    scores = measured_scores(measured.circumferences[0], measured, task)
    assert [known[end] for end in known] == [scores[f"hc_{end}_mm"].score for end in known]
    unknown = limits(heads.assign(measured_mm=np.nan))
    assert list(unknown) == ["bias", "low", "high"]
    assert all(np.isnan(score.value) for score in unknown.values())


def test_strata_by_hand(head_squares, measured, monkeypatch):
    """Lower ends count, upper ones do not, but for the last: 342 mm is a head of 250-342 mm."""
    true = dict(zip(measured.rows, [99.9, 100, 149.9, 150, 250, 342, 342.1, 249], strict=True))
    table = head_squares.task.dataset.table
    task = with_table(
        head_squares.task,
        hc_mm=[true.get(row, hc) for row, hc in enumerate(table["hc_mm"])],
    )
    expected = {
        "100–150 mm": [1, 2],
        "150–200 mm": [3],
        "200–250 mm": [7],
        "250–342 mm": [4, 5],
        "smaller or larger": [0, 6],
    }
    assert strata_table(measured, task).empty  # fewer than five patients each
    monkeypatch.setattr(tables, "FEWEST_PATIENTS", 1)
    found = strata_table(measured, task)
    assert found.index.tolist() == list(expected)
    assert found.index.name == "true circumference"
    assert found.images.tolist() == [2, 1, 1, 2, 2]
    for name, places in expected.items():
        kept = np.isin(np.arange(8), places)
        alone = outcome_scores(measured.where(kept), task)
        assert found.loc[name, "DSC, pooled (%)"] == score_text(alone, "dsc/head")
        assert found.loc[name, "mean absolute error (mm)"] == score_text(alone, "hc_mae_mm")
        errors = abs(measured.circumferences[:, kept] - [true[measured.rows[i]] for i in places])
        mean = np.mean([np.nanmean(one) for one in errors if np.isfinite(one).any()])
        assert found.loc[name, "mean absolute error (mm)"].startswith(f"{mean:.2f} ")
    assert not set(found.loc[:, "DSC, pooled (%)"]) & {"", "–"}


def test_strata_without_images_are_left_out(head_squares, measured):
    task = with_table(head_squares.task, hc_mm=180.0)
    found = strata_table(measured, task)
    assert found.index.tolist() == ["150–200 mm"] and found.images.tolist() == [8]


def test_masks_made_small_in_two_ways_are_compared_on_tested_images(plans, tmp_path):
    plan = plans["phantomclip", "head"]
    task, side = plan.material.task, plan.material.side
    both = [
        task_squares(task, side, preparation=way, cache_dir=tmp_path)
        for way in ("published", "ours")
    ]
    one, other = (unpack(store.arrays["masks"][plan.rows], side) for store in both)
    assert (one != other).any()
    dsc = 200 * (one & other).sum() / (one.sum() + other.sum())
    sentence = tables.mask_facts(plan, tmp_path)["masks_sentence"]
    assert f"of {len(plan.rows)} tested images" in sentence and f"DSC of {dsc:.1f} (" in sentence
