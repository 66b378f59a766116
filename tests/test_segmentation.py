"""Decoders of a chapter: their order, who is trained on, and that interrupted work goes on."""

import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
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

from fetalclip_nb import decoder_cells, decoder_training, overlap, segmentation
from fetalclip_nb.decoder_cells import Cell, finished, joined
from fetalclip_nb.decoder_data import DecoderJob
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.pictures import unpack
from fetalclip_nb.probing import head_seed
from fetalclip_nb.segmentation import Plan, fit_decoders
from fetalclip_nb.segmentation_data import Material, gather, trained_rows
from fetalclip_nb.segmentation_scores import on_patients, outcome_scores
from fetalclip_nb.splits import Fold, Split, leak_free, own_folds, own_supports, rows_of

SEED = 11


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Sums over several threads are rounded otherwise: here, equal means equal."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def plan(squares):
    """Two splits, of two folds and one: with two runs, six decoders."""
    table = squares.task.items.table
    folds = own_folds(table, seed=0, folds=3)
    support = own_supports(table, [3], seed=1, sets=1)[3]
    splits = (replace(folds, folds=folds.folds[:2]), support)
    recipe = replace(RECIPE, batch_size=2)
    return Plan(squares, splits, folds.test, runs=2, seed=SEED, recipe=recipe)


@pytest.fixture(scope="module")
def whole(plan, tmp_path_factory):
    """All decoders of the plan, trained without a break, one at a time."""
    return fit_decoders({"a": plan}, cache_dir=tmp_path_factory.mktemp("whole"), workers=1)["a"]


@pytest.fixture
def trainings(monkeypatch):
    """Seeds of the decoders that are trained and not read."""
    seeds = []
    train = decoder_cells.train_decoder

    def recorded(batch, job, *args, **options):
        seeds.append(job.seed)
        return train(batch, job, *args, **options)

    monkeypatch.setattr(decoder_cells, "train_decoder", recorded)
    return seeds


def test_decoders_come_in_the_order_of_splits_folds_and_runs(plan, whole, tmp_path):
    """Each of them equals the one that is trained alone, from a job written out by hand."""
    table = plan.material.task.items.table
    tested = np.array(rows_by_hand(table, plan.tested))
    alone = []
    for split in plan.splits:
        for fold in split.folds:
            for run in range(plan.runs):
                train = np.array([[0, row] for row in rows_by_hand(table, fold.train)])
                validation = np.array(rows_by_hand(table, fold.validation))
                job = DecoderJob(train, validation, head_seed(SEED, fold.train, run))
                cell = Cell(plan.material, job, tested, plan.recipe, "cpu", "fp32", tmp_path)
                alone.append(finished(cell))
    assert len(alone) == 6 and len({one["losses"].tobytes() for one in alone}) == 6
    assert same(joined(tested, alone), whole)
    assert whole.rows.tolist() == tested.tolist()
    assert whole.counts.shape == (6, len(tested), 3, 3)


def test_jobs_have_seeds_of_their_own(plan):
    seeds = [job.seed for job in plan.jobs]
    assert len(set(seeds)) == len(seeds) == 6
    more_runs = [job.seed for job in replace(plan, runs=3).jobs]
    assert [seed for i, seed in enumerate(more_runs) if i % 3 < 2] == seeds
    assert not set(seeds) & {job.seed for job in replace(plan, seed=12).jobs}


@pytest.mark.parametrize("workers", [2, 5, None])
def test_decoders_are_the_same_whatever_is_trained_beside_them(plan, whole, workers, tmp_path):
    swapped = replace(plan, splits=plan.splits[::-1])
    plans = {"other": replace(plan, seed=1, runs=1), "a": plan, ("b", 2): swapped}
    found = fit_decoders(plans, cache_dir=tmp_path, workers=workers)
    assert list(found) == ["other", "a", ("b", 2)]
    assert same(found["a"], whole)
    order = [4, 5, 0, 1, 2, 3]
    for name in ("counts", "circumferences", "masks", "losses", "epochs"):
        assert np.array_equal(
            getattr(found["b", 2], name), getattr(whole, name)[order], equal_nan=True
        )
    assert len(found["other"].losses) == 3
    assert not np.array_equal(found["other"].losses[0], whole.losses[0])


def test_decoders_of_two_plans_that_are_the_same_are_trained_once(plan, trainings, tmp_path):
    one = replace(plan, splits=plan.splits[:1], runs=1)
    found = fit_decoders({"a": one, "b": one, "c": one}, cache_dir=tmp_path, workers=4)
    assert same(found["a"], found["b"]) and same(found["a"], found["c"])
    assert sorted(trainings) == sorted(job.seed for job in one.jobs)
    found = fit_decoders({"d": one}, cache_dir=tmp_path)
    assert same(found["d"], replace(found["d"])) and len(trainings) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_finished_decoders_are_kept_when_a_later_one_fails(
    plan, whole, workers, tmp_path, monkeypatch
):
    jobs = [job.seed for job in plan.jobs]
    train, begun = decoder_cells.train_decoder, []

    def breaks(batch, job, *args, **options):
        begun.append(job.seed)
        if job.seed == jobs[2]:
            raise KeyboardInterrupt
        return train(batch, job, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(decoder_cells, "train_decoder", breaks)
        with pytest.raises(KeyboardInterrupt):
            fit_decoders({"a": plan}, cache_dir=tmp_path, workers=workers)
    kept = len(list((tmp_path / "decoders").glob("*.safetensors")))
    assert kept == len(begun) - 1 >= 2
    again = []

    def counted(batch, job, *args, **options):
        again.append(job.seed)
        return train(batch, job, *args, **options)

    monkeypatch.setattr(decoder_cells, "train_decoder", counted)
    assert same(fit_decoders({"a": plan}, cache_dir=tmp_path, workers=workers)["a"], whole)
    assert sorted(again) == sorted(set(jobs) - (set(begun) - {jobs[2]}))


def test_an_error_cancels_what_has_not_begun(plan, tmp_path, monkeypatch):
    begun = []

    def breaks(cell):
        begun.append(cell.job.seed)
        if len(begun) == 3:
            raise ParameterError("Decoder diverged")
        return finished(cell)

    monkeypatch.setattr(segmentation, "finished", breaks)
    many = replace(plan, runs=6)
    before = torch.get_num_threads()
    with pytest.raises(ParameterError, match="diverged"):
        fit_decoders({"a": many}, cache_dir=tmp_path, workers=1)
    # One more may have begun before the error was seen.
    assert 3 <= len(begun) <= 5 < len(many.jobs) == 18
    assert torch.get_num_threads() == before


def _killed_in_the_third(plan, folder):
    """Run in a process of its own: dies at the second epoch of its third decoder."""
    torch.set_num_threads(1)
    epochs, epoch = [], decoder_training._Run.epoch

    def counted(run):
        if len(epochs) == 2 * RECIPE.epochs + 1:
            os.kill(os.getpid(), signal.SIGKILL)
        epochs.append(run)
        epoch(run)

    decoder_training.SAVE_EVERY = 0.0
    decoder_training._Run.epoch = counted
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
    assert len(list(folder.glob("*.safetensors"))) == 2
    assert len(list(folder.glob("*.part"))) == 1
    epochs, epoch = [], decoder_training._Run.epoch
    monkeypatch.setattr(
        decoder_training._Run, "epoch", lambda run: (epochs.append(run.job.seed), epoch(run))
    )
    assert same(fit_decoders({"a": plan}, cache_dir=tmp_path, workers=1)["a"], whole)
    seeds = [job.seed for job in plan.jobs]
    assert trainings == seeds[2:]
    assert epochs == [seeds[2]] + [seed for seed in seeds[3:] for _ in range(RECIPE.epochs)]
    assert not list(folder.glob("*.part"))


def test_a_damaged_decoder_alone_is_trained_again(plan, whole, trainings, tmp_path):
    fit_decoders({"a": plan}, cache_dir=tmp_path)
    trainings.clear()
    cells = [
        Cell(plan.material, job, plan.rows, plan.recipe, "cpu", "fp32", tmp_path / "decoders")
        for job in plan.jobs
    ]
    path = cells[3].path
    path.write_bytes(path.read_bytes()[:-100])
    assert same(fit_decoders({"a": plan}, cache_dir=tmp_path)["a"], whole)
    assert trainings == [cells[3].job.seed]


def test_one_set_of_decoders_is_scored_with_and_without_patients_that_leak(
    squares, trainings, tmp_path
):
    """As released, a tested patient is trained on and another one validated on."""
    task = squares.task
    table = task.items.table
    names = sorted(set(table["patient"]))
    fold = Fold(tuple(names[:6]), tuple(names[6:8]))
    released = Split("official", (names[0], names[7], names[8], names[9]), (fold,))
    plan = Plan(squares, (released,), released.test, 2, 0, replace(RECIPE, batch_size=2))
    outcome = fit_decoders({"a": plan}, cache_dir=tmp_path)["a"]
    trained = len(trainings)
    free = leak_free(released)
    assert free.test == (names[8], names[9])
    left = on_patients(outcome, task, free.test)
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
    return Material(task, "none", SIDE, MEAN, STD, np.ones((n, 2), np.int64), parts)


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
            plan = Plan(material, tuple(sets), sets[0].test, 1, seed, RECIPE)
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
                assert job.checked.tolist() == [[0, row] for row in job.validation]
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
    material = gather(encoder, trunks, kept, side=SIDE, copies=2, cache_dir=tmp_path)
    asked, batch = [], Material.batch

    def recorded(self, pairs, device="cpu"):
        asked.append(pairs.copy())
        return batch(self, pairs, device)

    monkeypatch.setattr(Material, "batch", recorded)
    one = replace(split, folds=split.folds[:1])
    plan = Plan(material, (one,), split.test, 1, 0, replace(RECIPE, epochs=4))
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
        segmentation,
        "finished",
        lambda cell: (seen.append(torch.get_num_threads()), finished(cell))[1],
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


def test_too_few_training_images_are_told(plan, tmp_path):
    with pytest.raises(ParameterError, match="smaller batch"):
        fit_decoders(
            {"a": replace(plan, recipe=replace(RECIPE, batch_size=16))}, cache_dir=tmp_path
        )


def test_no_plan_no_decoder(tmp_path):
    assert fit_decoders({}, cache_dir=tmp_path) == {}


def test_perfect_masks_have_perfect_scores(whole, plan):
    """The outcome's counts are those of its own masks against the task's."""
    true = unpack(plan.material.preparations[0].masks[whole.rows], SIDE)
    for h, masks in enumerate(unpack(whole.masks, SIDE)):
        assert np.array_equal(overlap.counts(masks, true), whole.counts[h])
