"""Probes against explicit loops, and who is ever trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.augmentation import Augmentation, augmented
from fetalclip_nb.data.dataset import build
from fetalclip_nb.data.images import read_square, resize_cubic
from fetalclip_nb.errors import DataError, ParameterError, ShapeError
from fetalclip_nb.experiments.linear_probing import probe as probing
from fetalclip_nb.experiments.linear_probing.fit import train_probes
from fetalclip_nb.experiments.linear_probing.probe import (
    Encoded,
    baseline_logits,
    embed,
    fit_probes,
    majority_logits,
    probe_logits,
    rival_logits,
    twin_logits,
)
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows, Problem
from fetalclip_nb.experiments.linear_probing.rivals import logistic_regression, nearest_neighbours
from fetalclip_nb.models.pixels import PixelEncoder
from fetalclip_nb.tasks.items import Task, clip_items, image_items
from fetalclip_nb.tasks.own_splits import own_folds, own_supports
from fetalclip_nb.tasks.splits import Fold, Split, fit_seed
from helpers import images_of, write_image

RECIPE = ProbeRecipe(learning_rate=0.01, batch_size=4, epochs=4, runs=2)


def random_items(seed, n=60):
    """Images of 20 patients; every third image is not of the task."""
    rng = np.random.default_rng(seed)
    patients = [f"p{i:02d}" for i in rng.integers(20, size=n)]
    whole = images_of(patients, rng.choice(["a", "b", "c"], size=n))
    return image_items("letters", whole.where(rng.random(n) > 1 / 3), ("c", "a", "b"))


def random_features(items, copies, *, unchanged=(), width=5, images=60, seed=0):
    """Features that say a bit about the class; NaN where patients have no augmented copies."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(copies + 1, images, width)).astype(np.float32)
    features[:, items.rows, 0] += items.targets
    features[1:, items.rows[items.table["patient"].isin(list(unchanged))]] = np.nan
    return Encoded(features[0], features[1:])


def numbered(items, copies, images, unchanged=()):
    """Features that are the image's row and the copy (-1: as it is); NaN as from `encode`."""
    features = np.empty((copies + 1, images, 2), dtype=np.float32)
    features[..., 0] = np.arange(images)
    features[..., 1] = np.arange(-1, copies)[:, None]
    features[1:, items.rows[items.table["patient"].isin(list(unchanged))]] = np.nan
    return Encoded(features[0], features[1:])


# Features


@pytest.mark.parametrize("preparation", ["published", "ours"])
def test_images_are_encoded_as_they_are_and_in_copies_unless_tested(tmp_path, preparation):
    resized = resize_cubic if preparation == "published" else lambda image: image
    for i in range(5):
        write_image(tmp_path / f"{i}.png", seed=i)
    names = [f"{i}.png" for i in range(5)]
    table = pd.DataFrame({"id": names, "path": names, "patient": list("pqrqp"), "label": "a"})
    data = build("manifest", tmp_path, table)
    model = PixelEncoder(side=4)
    own = {"cache_dir": tmp_path / "cache", "seed": 3, "preparation": preparation}

    def embedded(*tested, **settings):
        split = Split("own", tested, (Fold((), ()),))
        tasks = {name: Task(data, items, {name: split}) for name, items in both.items()}
        return embed([model], tasks, **settings, **own)

    both = {"all": image_items("all", data, ["a"])}
    both["last"] = image_items("last", data.where(np.arange(5) > 2), ["a"])
    features = embedded("q", "x", copies=2)
    found, last = features["pixels", "all"], features["pixels", "last"]
    assert np.array_equal(last.copies, found.copies[:, 3:], equal_nan=True)
    assert (found.plain.shape, found.copies.shape) == ((5, 16), (2, 5, 16))
    assert found.plain.dtype == found.copies.dtype == np.float32
    for row, name in enumerate(names):
        image = read_square(tmp_path / name)
        assert np.array_equal(found.plain[row], model.preprocess(resized(image)).flatten())
        for copy in range(2):
            changed = augmented(image, Augmentation(seed=3), name=name, copy=copy)
            expected = model.preprocess(resized(changed)).flatten()
            expected = np.full(16, np.nan) if row in (1, 3) else expected
            assert np.array_equal(found.copies[copy, row], expected, equal_nan=True)
    bare = embedded("q", copies=0)["pixels", "all"]
    assert bare.copies.shape == (0, 5, 16)
    assert np.array_equal(bare.plain, found.plain)
    with pytest.raises(ParameterError, match="2 copies of 0 images"):
        embedded("p", "q", "r", copies=2)
    # What no task uses is not augmented.
    del both["all"]
    [few] = embedded("q", copies=1).values()
    assert np.isnan(few.copies[0, 0]).all() and np.isfinite(few.copies[0, 1]).all()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ("CHD normal", ("normal", "CHD")),
        ("benign CHD", ("CHD", "benign")),
        ("x normal", ("normal", "x")),
    ],
)
def test_clips_have_the_two_labels_of_their_table(labels, classes):
    data = images_of("pqrstuvwxyzabcde", labels.split() * 8)
    assert probing.clip_task(data, frames=1, folds=2, seed=0).items.classes == classes
    with pytest.raises(DataError, match=r"Unknown label.*normal, CHD.*other"):
        data = images_of("pqr", [*labels.split(), "other"])
        probing.clip_task(data, frames=1, folds=2, seed=0)


@pytest.mark.parametrize("copies", [0, 2])
def test_a_clips_features_are_its_frames_side_by_side(copies):
    data = images_of("ppqq", "aabb", clip=list("xxyy"), frame=list("1001"))
    items = clip_items("clips", data, ("a", "b"), frames=2)
    found = numbered(items, copies=copies, images=4).of(items)
    assert found.plain.tolist() == [[1, -1, 0, -1], [2, -1, 3, -1]]
    assert found.copies.shape == (copies, 2, 4)
    assert found.copies.tolist() == [[[1, k, 0, k], [2, k, 3, k]] for k in range(copies)]


# Probes


def task_of(items, splits):
    return Task(images_of([], []), items, dict(enumerate(splits)))


def one_by_one(encoded, items, splits, *, seed, recipe):
    """Each probe alone, on arrays that hold its training and validation items and no more."""
    probes, patients = [], items.table["patient"]
    labels = np.array([items.classes.index(label) for label in items.table["label"]])
    pictures = encoded.copies if len(encoded.copies) else encoded.plain[None]
    for fold in [fold for split in splits for fold in split.folds]:
        train, validation = patients.isin(fold.train), patients.isin(fold.validation)
        features = np.concatenate([*pictures[:, train], encoded.plain[validation]])
        targets = np.concatenate([*[labels[train]] * len(pictures), labels[validation]])
        sides = np.split(np.arange(len(features)), [len(pictures) * train.sum()])
        for run in range(recipe.runs):
            data = ProbeRows(*sides, (fit_seed(seed, fold.train, run),))
            probes.append(train_probes(Problem(features, targets, [data], 3, recipe)))
    return probes


@pytest.mark.parametrize("copies", [0, 3])
@pytest.mark.parametrize("few_data", [False, True])
def test_probes_are_those_of_a_loop_over_folds_and_runs(copies, few_data, tmp_path):
    items = random_items(seed=1)
    if few_data:
        splits = list(own_supports(items.table, [3, 6], seed=0, sets=2).values())
    else:
        splits = [own_folds(items.table, seed=0, folds=3)]
    encoded = random_features(items, copies, unchanged=splits[0].test).of(items)
    together = fit_probes(encoded, task_of(items, splits), RECIPE, 7, tmp_path, "cpu")
    alone = one_by_one(encoded, items, splits, seed=7, recipe=RECIPE)
    assert len(together.weight) == len(alone) == (8 if few_data else 6)
    for number, one in enumerate(alone):
        assert together.weight[number] == pytest.approx(one.weight[0], abs=1e-5)
        assert together.bias[number] == pytest.approx(one.bias[0], abs=1e-5)
        assert together.losses[number] == pytest.approx(one.losses[0], abs=1e-5)
    assert np.ptp(together.weight, axis=0).min() > 1e-3  # no two probes are the same


@pytest.fixture
def asked(monkeypatch):
    """What was to be trained, in place of a training."""
    calls = []
    monkeypatch.setattr(probing, "cached_probes", lambda problem, **_: calls.append(problem))
    return calls


@pytest.mark.parametrize("copies", [0, 1, 3])
@pytest.mark.parametrize("seed", range(12))
def test_no_test_item_is_ever_trained_or_validated_on(seed, copies, asked):
    items = random_items(seed)
    supports = own_supports(items.table, [2, 5], seed=seed, sets=3)
    for splits in ([own_folds(items.table, seed=seed)], list(supports.values())):
        encoded = numbered(items, copies, images=60, unchanged=splits[0].test).of(items)
        fit_probes(encoded, task_of(items, splits), RECIPE, 0, Path("none"), "cpu")
        problem = asked.pop()
        features, targets, groups = problem.features, problem.targets, problem.groups
        assert (problem.n_classes, problem.recipe) == (3, RECIPE)
        folds = [(split, fold) for split in splits for fold in split.folds]
        assert len(groups) == len(folds)
        for (split, fold), data in zip(folds, groups, strict=True):
            learnt = features[data.train]
            chosen = features[data.validation]
            assert np.isfinite(learnt).all() and np.isfinite(chosen).all()
            owner = dict(zip(items.rows, items.table["patient"], strict=True))
            patients = {owner[row] for row in [*learnt[:, 0], *chosen[:, 0]]}
            assert not patients & set(split.test)
            # Each item of the fold once a copy, each validation item once as it is.
            own = {side: items.table["patient"].isin(getattr(fold, side)) for side in vars(fold)}
            pictures = range(copies) if copies else [-1]
            expected = [[row, k] for k in pictures for row in items.rows[own["train"]]]
            assert learnt.tolist() == expected
            assert chosen.tolist() == [[row, -1] for row in items.rows[own["validation"]]]
            label = dict(zip(items.rows, items.targets, strict=True))
            assert targets[data.train].tolist() == [label[row] for row, _ in expected]
            assert targets[data.validation].tolist() == [label[row] for row in chosen[:, 0]]


def test_a_probes_seed_is_made_of_seed_patients_and_run_alone():
    found = {fit_seed(s, p, run) for s in (0, 1) for p in ("pq", "pr", "p") for run in (0, 1)}
    assert len(found) == 12
    assert all(0 <= seed < 2**63 for seed in found) and max(found) > 2**60
    assert fit_seed(np.int64(3), ("q", "p"), 1) == fit_seed(3, ["p", "q"], 1)
    assert fit_seed(0, ("ab", "c"), 0) != fit_seed(0, ("a", "bc"), 0)


def test_no_two_probes_share_a_seed_and_what_is_left_out_changes_no_other(asked):
    items = random_items(seed=0)
    supports = own_supports(items.table, [2, 4, 5], seed=0, sets=3)
    encoded = numbered(items, 0, images=60).of(items)

    def seeds(splits, seed=0):
        fit_probes(encoded, task_of(items, splits), RECIPE, seed, Path(), "cpu")
        return [data.seeds for data in asked.pop().groups]

    every = seeds(supports.values())
    drawn = np.concatenate([every, seeds(supports.values(), seed=1)])
    assert len(np.unique(drawn)) == drawn.size == 2 * 9 * 2
    assert seeds([supports[5], supports[4]]) == every[6:] + every[3:6]
    assert seeds([replace(supports[4], folds=supports[4].folds[1:])]) == every[4:6]


def test_items_without_augmented_copies_are_refused_in_training(tmp_path):
    items = random_items(seed=2)
    split = own_folds(items.table, seed=0)
    encoded = random_features(items, 2, unchanged=[*split.test, split.folds[0].train[0]])
    with pytest.raises(ShapeError, match="Features are not finite"):
        fit_probes(encoded.of(items), task_of(items, [split]), RECIPE, 0, tmp_path, "cpu")
    assert not list(tmp_path.rglob("*.npz"))


def test_clips_of_test_patients_are_not_trained_on(asked):
    patients = np.repeat([f"p{i}" for i in range(10)], 4)
    clips = [f"{patient}-{i // 2 % 2}" for i, patient in enumerate(patients)]
    data = images_of(patients, ["a", "a", "b", "b"] * 10, clip=clips, frame=list("10" * 20))
    items = clip_items("clips", data, ("a", "b"), frames=2)
    split = own_folds(items.table, seed=0, folds=4)
    rows = np.stack([np.arange(40.0)] * 2, 1).astype(np.float32)
    copies = np.where(np.isin(patients, split.test)[:, None], np.nan, 100 + rows)
    encoded = Encoded(rows, copies[None].astype(np.float32)).of(items)
    fit_probes(encoded, task_of(items, [split]), RECIPE, seed=0, cache_dir=Path(), device="cpu")
    (problem,) = asked
    for fold, group in zip(split.folds, problem.groups, strict=True):
        # A clip is its second row, then its first: they are numbered backwards.
        frames = problem.features[group.train][:, [2, 0]] - 100
        assert (frames[:, 1] - frames[:, 0] == 1).all()
        assert set(patients[frames[:, 0].astype(int)]) == set(fold.train)
        validated = problem.features[group.validation][:, 0].astype(int)
        assert set(patients[validated]) == set(fold.validation)


# Probe and rivals


def test_logits_of_probes_rivals_and_baselines_are_of_the_tested_items(tmp_path):
    items = random_items(seed=3)
    split = own_folds(items.table, seed=1, folds=3)
    encoded = random_features(items, 2, unchanged=split.test).of(items)
    tasks, features = {"letters": task_of(items, [split])}, {("clip", "letters"): encoded}
    tested = np.flatnonzero(items.table["patient"].isin(split.test))
    probes = fit_probes(encoded, tasks["letters"], RECIPE, 0, tmp_path, "cpu")
    logits = probe_logits(features, tasks, {"letters": RECIPE}, seed=0, cache_dir=tmp_path)
    assert list(logits) == [("clip", "linear probe", "letters")]
    expected = probes.logits(encoded.plain)[:, tested]
    assert logits["clip", "linear probe", "letters"] == pytest.approx(expected, abs=1e-5)
    rivals = rival_logits(features, tasks)
    fits = {"logistic regression": logistic_regression, "nearest neighbours": nearest_neighbours}
    assert list(rivals) == [("clip", name, "letters") for name in fits]
    for name, fit in fits.items():
        for fold, found in zip(split.folds, rivals["clip", name, "letters"], strict=True):
            sides = [items.table["patient"].isin(side) for side in (fold.train, fold.validation)]
            rows = ProbeRows(*(np.flatnonzero(side) for side in sides), (0,))
            alone = fit(encoded.plain, items.targets, rows, 3)
            assert np.array_equal(found, alone.logits(encoded.plain[tested]))


@pytest.fixture
def task(tmp_path):
    """Twenty pictures of twenty patients."""
    names = [f"{i}.png" for i in range(20)]
    for i, name in enumerate(names):
        write_image(tmp_path / name, seed=i)
    table = pd.DataFrame({"id": names, "path": names, "patient": names, "label": list("ab") * 10})
    data = build("manifest", tmp_path, table.assign(split=""))
    items = image_items("letters", data, ("a", "b"))
    return Task(data, items, {"letters": own_folds(items.table, seed=0, folds=2)})


def test_the_twin_is_a_probe_of_the_chapter_with_the_other_preparation(task, tmp_path):
    model, cache = PixelEncoder(side=4), {"cache_dir": tmp_path / "cache", "seed": 0}
    tasks, chapter = {"letters": task}, replace(RECIPE, copies=1)
    probes = {
        each: probe_logits(
            embed([model], tasks, copies=1, preparation=each, **cache),
            tasks,
            {"letters": chapter},
            **cache,
        )["pixels", "linear probe", "letters"]
        for each in ("published", "ours")
    }
    for own, other, images in (
        ("published", "ours", "smoothed images"),
        ("ours", "published", "unsmoothed images"),
    ):
        found = twin_logits(model, tasks, replace(chapter, preparation=own), **cache)
        assert list(found) == [("pixels", images, "letters")]
        assert np.array_equal(found["pixels", images, "letters"], probes[other])
    assert np.abs(probes["ours"] - probes["published"]).max() > 1e-4
    clips = replace(task, items=replace(task.items, clips=np.zeros(20)))
    alone = twin_logits(model, tasks | {"clips": clips}, chapter, **cache)
    assert [name for _, _, name in alone] == ["letters"]


def test_baselines_need_no_encoder(task, tmp_path):
    logits = baseline_logits({"letters": task}, cache_dir=tmp_path / "cache")
    assert list(logits) == [
        ("pixels", "logistic regression", "letters"),
        ("majority class", "", "letters"),
    ]
    pixels, majority = logits.values()
    assert pixels.shape == majority.shape == (2, task.tested.sum(), 2)
    assert np.array_equal(majority, majority_logits(task))


def test_majority_is_the_logarithm_of_class_shares():
    items = image_items("letters", images_of("pppqrst", "aabbaab"), ("a", "b", "c"))
    folds = (Fold(("p", "q"), ("r",)), Fold(("r",), ("p",)))
    found = majority_logits(task_of(items, [Split("own", ("s", "t"), folds)]))
    assert found.shape == (2, 2, 3)
    assert np.exp(found[0]) == pytest.approx(np.array([[0.5, 0.5, 0]] * 2), abs=1e-5)
    assert np.exp(found[1]) == pytest.approx(np.array([[1, 0, 0]] * 2), abs=1e-5)
    assert np.isfinite(found).all()
