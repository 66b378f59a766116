"""One decoder: what its file's name covers, what is kept, and when it is read or made again."""

import multiprocessing
import os
import signal
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.segmentation import fit, measurement, overlap, training
from fetalclip_nb.experiments.segmentation.decoder import Decoder
from fetalclip_nb.experiments.segmentation.fit import (
    FIELDS,
    DecoderFit,
    Outcome,
    finished,
    fit_decoders,
    joined,
)
from fetalclip_nb.experiments.segmentation.material import Material, gather, trained_rows
from fetalclip_nb.experiments.segmentation.plans import Plan, Study
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe, as_they_are
from fetalclip_nb.experiments.segmentation.scores import (
    annotated_circumferences,
    outcome_scores,
    without_leaks,
)
from fetalclip_nb.experiments.segmentation.squares import pack, unpack
from fetalclip_nb.tasks.own_splits import own_folds, own_supports
from fetalclip_nb.tasks.splits import Fold, Split, fit_seed, leak_free, rows_of
from segments import (
    MEAN,
    RECIPE,
    SIDE,
    STD,
    empty_preparation,
    rows_by_hand,
    same,
    trained_patients,
)


def fit_of(material, folder, seed=3, tested=None, recipe=RECIPE):
    """A decoder of the first six rows, chosen by two more, tested on the others."""
    job = DecoderJob(material.pairs(np.arange(6)), np.array([6, 7]), seed)
    tested = np.arange(8, len(material.task.dataset)) if tested is None else tested
    return DecoderFit(material, job, tested, recipe, "cpu", "fp32", folder)


@pytest.fixture(scope="module")
def made(squares, tmp_path_factory):
    """A finished decoder and what is known of it."""
    decoder = fit_of(squares, tmp_path_factory.mktemp("decoders"))
    return decoder, finished(decoder)


@pytest.fixture
def trainings(monkeypatch):
    """Seeds of the decoders that are trained and not read."""
    seeds = []
    train = training.train_decoder

    def recorded(setup, job, **options):
        seeds.append(job.seed)
        return train(setup, job, **options)

    monkeypatch.setattr(fit, "train_decoder", recorded)
    return seeds


def logits_of(decoder):
    """What the kept weights give on the tested rows, one image at a time."""
    weights = {
        name.removeprefix("weights."): torch.from_numpy(value)
        for name, value in np.load(decoder.path).items()
        if name.startswith("weights.")
    }
    network = Decoder(*decoder.material.shape, decoder.recipe.filters).eval()
    network.load_state_dict(weights)
    with torch.no_grad():
        return torch.cat(
            [network(*decoder.material.batch(np.array([[0, row]]))[:2]) for row in decoder.tested]
        ).numpy()


def equal(one, other):
    return one.keys() >= set(FIELDS) <= other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True) for name in FIELDS
    )


def test_what_is_kept_is_what_the_kept_weights_give(made):
    decoder, found = made
    logits = logits_of(decoder)
    n = len(decoder.tested)
    assert found["masks"].shape == (n, 3, SIDE * SIDE // 8) and found["masks"].dtype == np.uint8
    assert 0.05 < (logits > 0).mean() < 0.95
    near = abs(logits) < 1e-4  # batches of another size round otherwise
    assert near.mean() < 1e-3
    predicted = unpack(found["masks"], SIDE)
    assert np.array_equal(predicted[~near], logits[~near] > 0)
    plain = decoder.material.preparations[0]
    for i, row in enumerate(decoder.tested):
        true = unpack(plain.masks[row], SIDE)
        for c in range(3):
            pairs = list(zip(predicted[i, c].ravel(), true[c].ravel(), strict=True))
            assert found["counts"][i, c].tolist() == [
                pairs.count((True, True)), pairs.count((True, False)), pairs.count((False, True))
            ]  # fmt: skip
    true = unpack(plain.masks[decoder.tested], SIDE)
    expected = overlap.hausdorff95(
        predicted, true, decoder.material.square_pixel_mm[decoder.tested]
    )
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(found["distances"], expected)
    assert np.isnan(found["circumferences"]).all() and found["circumferences"].shape == (n,)
    assert found["losses"].shape == (RECIPE.epochs,)


def test_heads_are_measured_from_the_logits(head_squares, tmp_path):
    decoder = fit_of(head_squares, tmp_path, recipe=replace(RECIPE, batch_size=2, epochs=12))
    found = finished(decoder)
    table = head_squares.task.dataset.table.iloc[decoder.tested]
    expected = measurement.head_circumferences(
        logits_of(decoder)[:, 0],
        table[["width", "height"]].to_numpy(),
        table["pixel_mm"].to_numpy(),
    )
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found["circumferences"], expected, rtol=1e-4)


def test_a_decoder_that_outlines_the_truth_measures_what_the_annotation_does(
    heads, encoder, tmp_path, monkeypatch
):
    fine = replace(RECIPE, side=128)
    found = gather(encoder, heads, trained_patients(heads), fine, cache_dir=tmp_path)

    def perfect(setup, weights, rows):
        for places in np.array_split(np.arange(len(rows)), 3):
            yield places, 20 * setup.batch(as_they_are(rows[places]))[2] - 10

    monkeypatch.setattr(fit, "predict", perfect)
    tested = np.array([9, 2, 11, 5, 0])
    outcome = joined(tested, [finished(fit_of(found, tmp_path, tested=tested))])
    annotated = annotated_circumferences(outcome, heads)
    assert len(set(annotated.round())) == 5
    np.testing.assert_allclose(outcome.circumferences[0], annotated, rtol=0.015)
    np.testing.assert_allclose(annotated, heads.dataset.table["hc_mm"][tested], rtol=0.01)
    assert not outcome.counts[..., 1:].any() and (outcome.counts[..., 0] > 100).all()
    assert not outcome.distances.any()


def test_finished_decoders_are_read(made, trainings):
    decoder, found = made
    assert equal(finished(decoder), found) and trainings == []
    others = [path for path in decoder.folder.iterdir() if path.suffix != ".lock"]
    assert others == [decoder.path]


@pytest.mark.parametrize("damage", ["cut", "bit", "without masks"])
def test_damaged_files_are_made_again(damage, made, squares, tmp_path, trainings):
    _, expected = made
    decoder = fit_of(squares, tmp_path)
    found = finished(decoder)
    whole = decoder.path.read_bytes()
    middle = whole.index(found["masks"].tobytes()) + found["masks"].size // 2
    if damage == "without masks":
        content = dict(np.load(decoder.path))
        del content["masks"]
        np.savez(decoder.path, **content)
    elif damage == "cut":
        decoder.path.write_bytes(whole[:-1])
    else:
        decoder.path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    assert equal(finished(decoder), expected) and equal(found, expected)
    assert trainings == [3, 3]
    assert decoder.path.read_bytes() == whole


def test_name_of_the_file_covers_all_that_it_depends_on(squares, tmp_path):
    decoder = fit_of(squares, tmp_path)
    job = decoder.job
    changed = {
        "filters": 4, "learning_rate": 0.2, "weight_decay": 0.2, "batch_size": 2, "epochs": 9,
        "patience": 1, "decay": True,
    }  # fmt: skip
    # These are in the rows and their material.
    of_rows = {"side", "blocks", "preparation", "copies", "runs"}
    assert set(changed) | of_rows == {field.name for field in fields(DecoderRecipe)}
    other = replace(RECIPE, side=48, blocks="even", preparation="ours", copies=9, runs=9)
    same_file = replace(decoder, recipe=other)
    assert same_file.path == decoder.path
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
        decoder,
        *(replace(decoder, recipe=recipe) for recipe in recipes),
        *(replace(decoder, job=job) for job in jobs),
        replace(decoder, tested=decoder.tested[:-1]),
        replace(decoder, tested=decoder.tested[::-1]),
        replace(decoder, precision="bf16"),
        replace(decoder, material=replace(squares, mean=(0.5,) * 3)),
        replace(decoder, material=replace(squares, task=replace(squares.task, fingerprint="0"))),
    ]
    assert len({other.path for other in others}) == len(others)
    assert fit_of(squares, tmp_path).path == decoder.path
    elsewhere = replace(decoder, device="cuda", folder=tmp_path / "b")
    assert (elsewhere.path.name, elsewhere.path.parent.name) == (decoder.path.name, "b")


@pytest.mark.parametrize("version", ["TRAINING", "SCORING"])
def test_name_of_the_file_changes_with_the_code(squares, tmp_path, monkeypatch, version):
    before = fit_of(squares, tmp_path).path
    monkeypatch.setattr(fit, version, getattr(fit, version) + 1)
    assert fit_of(squares, tmp_path).path != before


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
    assert np.array_equal(found.losses, outcome.losses)
    assert same(outcome.where(np.ones(5, bool)), outcome)
    assert not same(outcome.where(kept[::-1]), outcome)


def test_joined_takes_decoders_in_the_order_given():
    outcome = made_up()
    each = [{name: getattr(outcome, name)[i] for name in FIELDS} for i in range(3)]
    assert same(joined(outcome.rows, each), outcome)
    assert not same(joined(outcome.rows, each[::-1]), outcome)


SEED = 11


@pytest.fixture(scope="module")
def plan(squares):
    """Two splits, of two folds and one: with two runs, six decoders."""
    table = squares.task.items.table
    folds = own_folds(table, seed=0, folds=3)
    support = own_supports(table, [3], seed=1, sets=1)[3]
    splits = (replace(folds, folds=folds.folds[:2]), support)
    return Plan(squares, splits, folds.test, replace(RECIPE, batch_size=2, runs=2), SEED)


def with_runs(plan, runs):
    return replace(plan, recipe=replace(plan.recipe, runs=runs))


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """All decoders of the plan, trained without a break, one at a time."""
    return fit_decoders({"a": plan}, cache_dir=tmp_path_factory.mktemp("whole"), workers=1)["a"]


def test_decoders_come_in_the_order_of_splits_folds_and_runs(plan, whole, tmp_path):
    """Each of them equals the one that is trained alone, from a job written out by hand."""
    table = plan.material.task.items.table
    tested = np.array(rows_by_hand(table, plan.tested))
    alone = []
    for split in plan.splits:
        for fold in split.folds:
            for run in range(plan.recipe.runs):
                train = np.array([[0, row] for row in rows_by_hand(table, fold.train)])
                validation = np.array(rows_by_hand(table, fold.validation))
                job = DecoderJob(train, validation, fit_seed(SEED, fold.train, run))
                decoder = DecoderFit(
                    plan.material, job, tested, plan.recipe, "cpu", "fp32", tmp_path
                )
                alone.append(finished(decoder))
    assert len(alone) == 6 and len({one["losses"].tobytes() for one in alone}) == 6
    assert same(joined(tested, alone), whole)
    assert whole.rows.tolist() == tested.tolist()
    assert whole.counts.shape == (6, len(tested), 3, 3)


def test_jobs_have_seeds_of_their_own(plan):
    seeds = [job.seed for job in plan.jobs]
    assert len(set(seeds)) == len(seeds) == 6
    more_runs = [job.seed for job in with_runs(plan, 3).jobs]
    assert [seed for i, seed in enumerate(more_runs) if i % 3 < 2] == seeds
    assert not set(seeds) & {job.seed for job in replace(plan, seed=12).jobs}


@pytest.mark.parametrize("workers", [2, 5, None])
def test_decoders_are_the_same_whatever_is_trained_beside_them(plan, whole, workers, tmp_path):
    swapped = replace(plan, splits=plan.splits[::-1])
    plans = {"other": with_runs(replace(plan, seed=1), 1), "a": plan, ("b", 2): swapped}
    found = fit_decoders(plans, cache_dir=tmp_path, workers=workers)
    assert list(found) == ["other", "a", ("b", 2)]
    assert same(found["a"], whole)
    order = [4, 5, 0, 1, 2, 3]
    for name in FIELDS:
        assert np.array_equal(
            getattr(found["b", 2], name), getattr(whole, name)[order], equal_nan=True
        )
    assert len(found["other"].losses) == 3
    assert not np.array_equal(found["other"].losses[0], whole.losses[0])


def test_decoders_of_two_plans_that_are_the_same_are_trained_once(plan, trainings, tmp_path):
    one = with_runs(replace(plan, splits=plan.splits[:1]), 1)
    found = fit_decoders({"a": one, "b": one, "c": one}, cache_dir=tmp_path, workers=4)
    assert same(found["a"], found["b"]) and same(found["a"], found["c"])
    assert sorted(trainings) == sorted(job.seed for job in one.jobs)
    found = fit_decoders({"d": one}, cache_dir=tmp_path)
    assert same(found["d"], replace(found["d"])) and len(trainings) == 2


def test_an_error_cancels_what_has_not_begun(plan, tmp_path, monkeypatch):
    begun = []

    def breaks(decoder):
        begun.append(decoder.job.seed)
        if len(begun) == 3:
            raise ParameterError("Decoder diverged")
        return finished(decoder)

    monkeypatch.setattr(fit, "finished", breaks)
    many = with_runs(plan, 6)
    before = torch.get_num_threads()
    with pytest.raises(ParameterError, match="diverged"):
        fit_decoders({"a": many}, cache_dir=tmp_path, workers=1)
    # One more may have begun before the error was seen.
    assert 3 <= len(begun) <= 5 < len(many.jobs) == 18
    assert torch.get_num_threads() == before


def _killed_in_the_third(plan, folder):
    """Run in a process of its own: dies at the second epoch of its third decoder."""
    torch.set_num_threads(1)
    epochs, epoch = [], training._Run.epoch

    def counted(run):
        if len(epochs) == 2 * RECIPE.epochs + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        epochs.append(run)
        epoch(run)

    training.SAVE_EVERY = 0.0
    training._Run.epoch = counted
    fit_decoders({"a": plan}, cache_dir=folder, workers=1)


def test_a_killed_run_goes_on_where_it_was(plan, whole, trainings, tmp_path, monkeypatch):
    """Two decoders are read, the third goes on after its first epoch; nothing is different."""
    process = multiprocessing.get_context("spawn").Process(
        target=_killed_in_the_third, args=(plan, tmp_path)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    folder = tmp_path / "decoders"
    assert len(list(folder.glob("*.npz"))) == 2
    assert len(list(folder.glob("*.part"))) == 1
    epochs, epoch = [], training._Run.epoch
    monkeypatch.setattr(
        training._Run, "epoch", lambda run: (epochs.append(run.job.seed), epoch(run))
    )
    assert same(fit_decoders({"a": plan}, cache_dir=tmp_path, workers=1)["a"], whole)
    seeds = [job.seed for job in plan.jobs]
    assert trainings == seeds[2:]
    assert epochs == [seeds[2]] + [seed for seed in seeds[3:] for _ in range(RECIPE.epochs)]
    assert not list(folder.glob("*.part"))


def test_one_set_of_decoders_is_scored_with_and_without_patients_that_leak(
    squares, trainings, tmp_path
):
    """As released, a tested patient is trained on and another one validated on."""
    task = squares.task
    table = task.items.table
    names = sorted(set(table["patient"]))
    fold = Fold(tuple(names[:6]), tuple(names[6:8]))
    released = Split("official", (names[0], names[7], names[8], names[9]), (fold,))
    plan = Plan(squares, (released,), released.test, replace(RECIPE, batch_size=2, runs=2), 0)
    outcome = fit_decoders({"a": plan}, cache_dir=tmp_path)["a"]
    trained = len(trainings)
    free = leak_free(released)
    assert free.test == (names[8], names[9])
    studies = {"a": Study(task, {"a": free}, released.test)}
    left = without_leaks({("m", "a"): outcome}, studies)["m", "a"]
    assert left.rows.tolist() == rows_by_hand(table, names[8:])
    assert outcome.rows.tolist() == rows_by_hand(table, released.test)
    assert len(trainings) == trained == 2
    scores = {name: outcome_scores(one, task) for name, one in (("all", outcome), ("free", left))}
    for name, one in (("all", outcome), ("free", left)):
        for h in range(2):
            for c, structure in enumerate(task.structures):
                predicted = unpack(one.masks, SIDE)[h, :, c]
                true = unpack(squares.preparations[0].masks[one.rows], SIDE)[:, c]
                dice = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
                assert scores[name][f"dsc/{structure}"].values[h] == pytest.approx(dice)
        assert scores[name]["dsc"].score.groups == (4 if name == "all" else 2)
    assert not np.array_equal(scores["all"]["dsc"].values, scores["free"]["dsc"].values)


def material_of(task, trained, copies):
    """Only where rows lie: what jobs are made of."""
    place = np.full(len(trained), -1)
    place[trained] = np.arange(trained.sum())
    n = len(trained)
    parts = (empty_preparation(np.arange(n)), *[empty_preparation(place)] * copies)
    return Material(task, SIDE, MEAN, STD, np.ones((n, 2), np.int64), parts)


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_nobody_who_is_tested_or_validated_on_is_trained_on(trunks, copies):
    """Over many splits: own folds and support sets, with drawn test patients or named ones."""
    table = trunks.items.table
    drawn = table.assign(split="")
    for seed in range(12):
        for part in (table, drawn):
            sets = [own_folds(part, seed=seed, folds=2 + seed % 3)]
            sets += own_supports(part, [1, 3], seed=seed, sets=2).values()
            trained = trained_rows(trunks, *sets)
            assert not (trained & rows_of(table, sets[0].test)).any()
            material = material_of(trunks, trained, copies)
            plan = Plan(material, tuple(sets), sets[0].test, RECIPE, seed)
            assert plan.rows.tolist() == rows_by_hand(table, sets[0].test)
            folds = [fold for split in sets for fold in split.folds]
            assert len(plan.jobs) == len(folds)
            for job, fold in zip(plan.jobs, folds, strict=True):
                rows = rows_by_hand(table, fold.train)
                which = range(1, copies + 1) if copies else [0]
                assert sorted(map(tuple, job.train.tolist())) == [
                    (w, r) for w in which for r in rows
                ]
                assert job.validation.tolist() == rows_by_hand(table, fold.validation)
                people = [
                    set(table["patient"].iloc[list(each)])
                    for each in (job.train[:, 1], job.validation, plan.rows)
                ]
                assert not people[0] & people[1] and not people[2] & (people[0] | people[1])


def test_decoders_read_copies_in_training_and_images_as_they_are_elsewhere(
    trunks, encoder, tmp_path, monkeypatch
):
    table = trunks.items.table
    split = own_folds(table, seed=0, folds=2)
    kept = trained_patients(trunks)
    twice = replace(RECIPE, copies=2, epochs=4)
    material = gather(encoder, trunks, kept, twice, cache_dir=tmp_path)
    asked, batch = [], Material.batch

    def recorded(self, pairs, device="cpu"):
        asked.append(pairs.copy())
        return batch(self, pairs, device)

    monkeypatch.setattr(Material, "batch", recorded)
    one = replace(split, folds=split.folds[:1])
    plan = Plan(material, (one,), split.test, twice, 0)
    outcome = fit_decoders({"a": plan}, cache_dir=tmp_path)["a"]
    (fold,) = one.folds
    pairs = np.concatenate(asked)
    changed = pairs[pairs[:, 0] > 0]
    assert set(changed[:, 0]) == {1, 2}
    assert set(changed[:, 1]) == set(rows_by_hand(table, fold.train))
    plain = pairs[pairs[:, 0] == 0][:, 1]
    assert set(plain) == set(rows_by_hand(table, fold.validation + split.test))
    # Each tested image is looked at once, in the order of the rows.
    assert plain[-len(outcome.rows) :].tolist() == outcome.rows.tolist()


def test_threads_are_shared_among_workers_and_given_back(plan, tmp_path, monkeypatch):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(
        fit,
        "finished",
        lambda decoder: (seen.append(torch.get_num_threads()), finished(decoder))[1],
    )
    one = replace(plan, splits=plan.splits[1:])
    try:
        torch.set_num_threads(4)
        for workers, threads in ((2, 2), (3, 1), (8, 1), (None, 2)):
            seen.clear()
            fit_decoders({"a": one}, cache_dir=tmp_path, workers=workers)
            assert seen == [threads] * 2 and torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_no_plan_no_decoder(tmp_path):
    assert fit_decoders({}, cache_dir=tmp_path) == {}
