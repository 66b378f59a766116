"""One decoder: what its file's name covers, what is kept, and when it is read or made again."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from segments import RECIPE, SIDE, same, trained_patients

from fetalclip_nb import decoder_cells as cells
from fetalclip_nb import head_measurement, overlap
from fetalclip_nb.decoder import Decoder
from fetalclip_nb.decoder_cells import Cell, Outcome, finished, joined
from fetalclip_nb.decoder_data import DecoderJob, DecoderRecipe
from fetalclip_nb.pictures import pack, unpack
from fetalclip_nb.segmentation_data import gather
from fetalclip_nb.segmentation_scores import annotated_circumferences


def cell_of(material, folder, seed=3, tested=None, recipe=RECIPE):
    """A decoder of the first six rows, chosen by two more, tested on the others."""
    job = DecoderJob(material.pairs(np.arange(6)), np.array([6, 7]), seed)
    tested = np.arange(8, len(material.task.dataset)) if tested is None else tested
    return Cell(material, job, tested, recipe, "cpu", "fp32", folder)


@pytest.fixture(scope="module")
def made(squares, tmp_path_factory):
    """A finished cell and what is known of it."""
    cell = cell_of(squares, tmp_path_factory.mktemp("decoders"))
    return cell, finished(cell)


@pytest.fixture
def trainings(monkeypatch):
    """Seeds of the decoders that are trained and not read."""
    seeds = []
    train = cells.train_decoder

    def recorded(batch, job, *args, **options):
        seeds.append(job.seed)
        return train(batch, job, *args, **options)

    monkeypatch.setattr(cells, "train_decoder", recorded)
    return seeds


def logits_of(cell):
    """What the kept weights give on the tested rows, one image at a time."""
    weights = {
        name.removeprefix("weights."): torch.from_numpy(value)
        for name, value in load_file(cell.path).items()
        if name.startswith("weights.")
    }
    decoder = Decoder(*cell.material.shape, cell.recipe.filters).eval()
    decoder.load_state_dict(weights)
    with torch.no_grad():
        return torch.cat(
            [decoder(*cell.material.batch(np.array([[0, row]]))[:2]) for row in cell.tested]
        ).numpy()


def equal(one, other):
    return one.keys() >= set(cells._FIELDS) <= other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True)
        for name in ("counts", "distances", "circumferences", "masks", "epochs", "losses")
    )


def test_what_is_kept_is_what_the_kept_weights_give(made):
    cell, found = made
    logits = logits_of(cell)
    n = len(cell.tested)
    assert found["masks"].shape == (n, 3, SIDE * SIDE // 8) and found["masks"].dtype == np.uint8
    assert 0.05 < (logits > 0).mean() < 0.95
    near = abs(logits) < 1e-4  # batches of another size round otherwise
    assert near.mean() < 1e-3
    predicted = unpack(found["masks"], SIDE)
    assert np.array_equal(predicted[~near], logits[~near] > 0)
    plain = cell.material.preparations[0]
    for i, row in enumerate(cell.tested):
        true = unpack(plain.masks[row], SIDE)
        for c in range(3):
            pairs = list(zip(predicted[i, c].ravel(), true[c].ravel(), strict=True))
            assert found["counts"][i, c].tolist() == [
                pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
            ]  # fmt: skip
    true = unpack(plain.masks[cell.tested], SIDE)
    expected = overlap.hausdorff95(predicted, true, cell.material.square_pixel_mm[cell.tested])
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(found["distances"], expected)
    assert np.isnan(found["circumferences"]).all() and found["circumferences"].shape == (n,)
    assert found["losses"].shape == (RECIPE.epochs,)
    assert found["epochs"].tolist() == [np.argmin(found["losses"]) + 1]


def test_heads_are_measured_from_the_logits(head_squares, tmp_path):
    cell = cell_of(head_squares, tmp_path, recipe=replace(RECIPE, batch_size=2, epochs=12))
    found = finished(cell)
    table = head_squares.task.dataset.table.iloc[cell.tested]
    expected = head_measurement.head_circumferences(
        logits_of(cell)[:, 0], table[["width", "height"]].to_numpy(), table["pixel_mm"].to_numpy()
    )
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found["circumferences"], expected, rtol=1e-4)


def test_a_decoder_that_outlines_the_truth_measures_what_the_annotation_does(
    heads, encoder, tmp_path, monkeypatch
):
    found = gather(encoder, heads, trained_patients(heads), side=128, copies=0, cache_dir=tmp_path)

    def perfect(weights, batch, rows, recipe, shape, **_):
        for places in np.array_split(np.arange(len(rows)), 3):
            masks = batch(np.stack([np.zeros_like(places), rows[places]], 1))[2]
            yield places, 20 * masks - 10, masks

    monkeypatch.setattr(cells, "predict", perfect)
    tested = np.array([9, 2, 11, 5, 0])
    outcome = joined(tested, [finished(cell_of(found, tmp_path, tested=tested))])
    annotated = annotated_circumferences(outcome, heads)
    assert len(set(annotated.round())) == 5
    np.testing.assert_allclose(outcome.circumferences[0], annotated, rtol=0.015)
    np.testing.assert_allclose(annotated, heads.dataset.table["hc_mm"][tested], rtol=0.01)
    assert not outcome.counts[..., 1:].any() and (outcome.counts[..., 0] > 100).all()
    assert not outcome.distances.any()


def test_finished_decoders_are_read(made, trainings):
    cell, found = made
    assert equal(finished(cell), found) and trainings == []
    others = [path for path in cell.folder.iterdir() if path.suffix != ".lock"]
    assert others == [cell.path]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "header", "bit", "without masks"])
def test_damaged_files_are_made_again(damage, made, squares, tmp_path, trainings):
    _, expected = made
    cell = cell_of(squares, tmp_path)
    found = finished(cell)
    whole = cell.path.read_bytes()
    if damage == "without masks":
        content = load_file(cell.path)
        del content["masks"]
        save_file(content, cell.path)
    else:
        cell.path.write_bytes(
            {
                "empty": b"",
                "cut": whole[: len(whole) - 1],
                "noise": np.random.default_rng(0).bytes(len(whole)),
                "bit": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
                "header": whole[:8] + b"}" + whole[9:],
            }[damage]
        )
    assert equal(finished(cell), expected) and equal(found, expected)
    assert trainings == [3, 3]
    assert cell.path.read_bytes() == whole


def test_name_of_the_file_covers_all_that_it_depends_on(squares, tmp_path):
    cell = cell_of(squares, tmp_path)
    job = cell.job
    changed = {
        "filters": 4, "learning_rate": 0.2, "weight_decay": 0.2, "batch_size": 2, "epochs": 9,
        "patience": 1, "decay": True,
    }  # fmt: skip
    assert set(changed) == {field.name for field in fields(DecoderRecipe)}
    recipes = [replace(RECIPE, **{name: value}) for name, value in changed.items()]
    jobs = [
        replace(job, seed=4),
        replace(job, train=job.train[::-1]),
        replace(job, train=job.train[:-1]),
        replace(job, train=job.train + np.array([1, 0])),
        replace(job, validation=np.array([6])),
        replace(job, validation=np.array([6, 8])),
        # The same rows in a row, cut elsewhere.
        DecoderJob(job.train[:-1], np.concatenate([job.train[-1], job.validation]), job.seed),
    ]
    others = [
        cell,
        *(replace(cell, recipe=recipe) for recipe in recipes),
        *(replace(cell, job=job) for job in jobs),
        replace(cell, tested=cell.tested[:-1]),
        replace(cell, tested=cell.tested[::-1]),
        replace(cell, precision="bf16"),
        replace(cell, material=replace(squares, mean=(0.5,) * 3)),
        replace(cell, material=replace(squares, task=replace(squares.task, fingerprint="0"))),
    ]
    assert len({other.path for other in others}) == len(others)
    assert cell_of(squares, tmp_path).path == cell.path
    elsewhere = replace(cell, device="cuda", folder=tmp_path / "b")
    assert (elsewhere.path.name, elsewhere.path.parent.name) == (cell.path.name, "b")


@pytest.mark.parametrize("version", ["TRAINING", "SCORING"])
def test_name_of_the_file_changes_with_the_code(squares, tmp_path, monkeypatch, version):
    before = cell_of(squares, tmp_path).path
    monkeypatch.setattr(cells, version, getattr(cells, version) + 1)
    assert cell_of(squares, tmp_path).path != before


def made_up(decoders=3, images=5):
    """An outcome in which no two numbers are equal."""
    rng = np.random.default_rng(0)
    rows = np.array([3, 4, 7, 9, 12])[:images]
    return Outcome(
        rows,
        rng.integers(0, 10**6, (decoders, images, 2, 3)),
        rng.random((decoders, images, 2)),
        rng.random((decoders, images)),
        pack(rng.random((decoders, images, 2, 16, 16)) > 0.5),
        np.arange(decoders) + 1,
        rng.random((decoders, 4)),
    )


def test_where_keeps_decoders_and_picks_images():
    outcome = made_up()
    kept = np.array([True, False, True, False, True])
    found = outcome.where(kept)
    assert found.rows.tolist() == [3, 7, 12]
    for name in ("counts", "distances", "circumferences", "masks"):
        slow = [[one[i] for i in (0, 2, 4)] for one in getattr(outcome, name)]
        assert np.array_equal(getattr(found, name), slow)
    assert np.array_equal(found.epochs, outcome.epochs)
    assert np.array_equal(found.losses, outcome.losses)
    assert same(outcome.where(np.ones(5, bool)), outcome)
    assert not same(outcome.where(kept[::-1]), outcome)


def test_joined_takes_decoders_in_the_order_given():
    outcome = made_up()
    names = ("counts", "distances", "circumferences", "masks", "losses")
    each = [
        {name: getattr(outcome, name)[i] for name in names} | {"epochs": outcome.epochs[i : i + 1]}
        for i in range(3)
    ]
    found = joined(outcome.rows, each)
    assert same(found, outcome) and found.epochs.shape == (3,)
    assert not same(joined(outcome.rows, each[::-1]), outcome)
