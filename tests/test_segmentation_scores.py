"""Scores of an outcome, against what its own unpacked masks give image by image."""

from dataclasses import replace

import numpy as np
import pytest
from segments import SIDE, rows_by_hand, same, with_table

from fetalclip_nb import head_measurement, overlap
from fetalclip_nb.decoder_cells import Outcome
from fetalclip_nb.growth import gestational_age
from fetalclip_nb.patient_sums import patient_weights
from fetalclip_nb.pictures import pack, unpack
from fetalclip_nb.segmentation_scores import (
    annotated_circumferences,
    is_measured,
    limits,
    measured_scores,
    on_patients,
    outcome_scores,
    strata_table,
    structure_scores,
    true_circumferences,
)
from fetalclip_nb.segmentation_tables import score_text

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
        np.ones(DECODERS, np.int64),
        np.zeros((DECODERS, 1)),
    )


@pytest.fixture(scope="module")
def outcome(squares):
    return outcome_of(squares, [1, 4, 5, 8, 9, 10, 11])


@pytest.fixture(scope="module")
def measured(head_squares):
    return outcome_of(head_squares, [0, 2, 3, 6, 7, 8, 11, 12])


def masks_of(material, outcome):
    """Predicted (H, n, C, S, S) and true (n, C, S, S) masks."""
    true = material.batch(np.stack([np.zeros_like(outcome.rows), outcome.rows], 1))[2].numpy() > 0
    return unpack(outcome.masks, SIDE), true


def slow_dice(predicted, true):
    both = sum(bool(a and b) for a, b in zip(predicted.flat, true.flat, strict=True))
    return 2 * both / (np.count_nonzero(predicted) + np.count_nonzero(true))


def slow_distance(predicted, true):
    """The 95th percentiles of the distances between boundaries, the larger direction, pixels."""
    edges = []
    for mask in (predicted, true):
        padded = np.pad(mask, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        edges.append(np.argwhere(mask & ~inner))
    between = np.hypot(*(edges[0][:, None] - edges[1][None]).transpose(2, 0, 1))
    return max(np.percentile(between.min(1), 95), np.percentile(between.min(0), 95))


def test_overlap_is_that_of_the_unpacked_masks(squares, outcome):
    found = outcome_scores(outcome, squares.task)
    predicted, true = masks_of(squares, outcome)
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


def test_distances_are_those_of_the_unpacked_masks_in_mm(squares, outcome):
    found = outcome_scores(outcome, squares.task)
    predicted, true = masks_of(squares, outcome)
    mm = squares.square_pixel_mm[outcome.rows]
    assert len(set(mm)) > 3
    for c, name in enumerate(squares.task.structures):
        for h in range(DECODERS):
            slow = [
                slow_distance(predicted[h, i, c], true[i, c]) * mm[i]
                for i in range(len(mm))
                if predicted[h, i, c].any()
            ]
            assert found[f"hd95/{name}"].values[h] == pytest.approx(np.mean(slow), rel=1e-6)


def test_intervals_are_over_patients(squares, outcome):
    """Patients drawn with replacement, all their images with them; two have two images here."""
    patients = squares.task.items.table["patient"].to_numpy()[outcome.rows]
    names = sorted(set(patients))
    assert len(names) < len(patients)
    predicted, true = masks_of(squares, outcome)
    hits = (predicted & true).sum((3, 4))[..., 0]
    whole = (predicted.sum((3, 4)) + true.sum((2, 3)))[..., 0]
    drawn = [
        np.mean([
            2 * sum(k * hits[h, patients == p].sum() for k, p in zip(row, names, strict=True))
            / sum(k * whole[h, patients == p].sum() for k, p in zip(row, names, strict=True))
            for h in range(DECODERS)
        ])
        for row in patient_weights(patients)[:10000]
    ]  # fmt: skip
    score = outcome_scores(outcome, squares.task)[f"dsc/{squares.task.structures[0]}"].score
    assert (score.low, score.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))
    assert (score.n, score.groups) == (len(patients), len(names))


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
        ellipse = head_measurement.fit_ellipse(task.read(row)[0])
        assert value == pytest.approx(head_measurement.circumference(ellipse) * pixel_mm)
    np.testing.assert_allclose(found, true_circumferences(turned, task), rtol=0.01)


def test_on_patients_picks_their_images_among_the_tested(squares, outcome):
    table = squares.task.items.table
    patients = [table["patient"][row] for row in (outcome.rows[0], outcome.rows[-1])]
    found = on_patients(outcome, squares.task, [*patients, "nobody"])
    rows = [row for row in rows_by_hand(table, patients) if row in outcome.rows]
    assert found.rows.tolist() == rows and 2 <= len(rows) < len(outcome.rows)
    kept = [outcome.rows.tolist().index(row) for row in rows]
    assert np.array_equal(found.counts, outcome.counts[:, kept])
    assert np.array_equal(found.masks, outcome.masks[:, kept])
    assert same(on_patients(outcome, squares.task, set(table["patient"])), outcome)


def test_heads_are_measured_where_sizes_are_known(heads, trunks):
    assert is_measured(heads) and not is_measured(trunks)
    assert not is_measured(with_table(trunks, hc_mm=1.0))
    for column in ("pixel_mm", "hc_mm"):
        table = heads.dataset.table.drop(columns=column)
        assert not is_measured(replace(heads, dataset=replace(heads.dataset, table=table)))


def test_limits_are_unknown_where_too_few_heads_are_measured(head_squares, measured):
    known = limits(measured_scores(measured.circumferences, measured, head_squares.task))
    assert all(np.isfinite(score.value) for score in known.values())
    none = np.full(len(measured.rows), np.nan)
    unknown = limits(measured_scores(none, measured, head_squares.task))
    assert list(unknown) == ["bias", "low", "high"]
    assert all(np.isnan(score.value) for score in unknown.values())


def test_strata_by_hand(head_squares, measured):
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
    found = strata_table(measured, task)
    assert found.index.tolist() == list(expected)
    assert found.index.name == "true circumference"
    assert found["images"].tolist() == [2, 1, 1, 2, 2]
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
    assert found.index.tolist() == ["150–200 mm"] and found["images"].tolist() == [8]


def test_structure_scores_are_the_pooled_ones_of_the_models_asked_for(squares, outcome):
    found = outcome_scores(outcome, squares.task)
    table = {("one", "abdomen"): found, ("two", "abdomen"): found, ("one", "head"): {}}
    table["one", "head"] = {"dsc": found["dsc"], "dsc/head": found["dsc/spine"]}
    picked = structure_scores(table, ["one"])
    assert list(picked) == ["one"]
    assert list(picked["one"]) == [
        *(f"abdomen: {name}" for name in squares.task.structures),
        "head: head",
    ]
    assert picked["one"]["abdomen: spine"] is found["dsc/spine"].score
    assert picked["one"]["head: head"] is found["dsc/spine"].score
    assert structure_scores(table, ["two", "none"])["none"] == {}
