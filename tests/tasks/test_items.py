"""Clips against hand-made tables and a slow, obvious joining of frames."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.phantoms import chd
from fetalclip_nb.tasks.items import (
    CHD_CLASSES,
    Task,
    clip_features,
    clip_items,
    gather_clips,
    image_items,
    require_enough_rows,
)
from fetalclip_nb.tasks.splits import Fold, Split


def dataset(rows, columns=("clip", "frame", "patient", "label", "split")):
    table = pd.DataFrame(rows, columns=list(columns)).astype(str)
    table.insert(0, "id", [f"i{number}" for number in range(len(table))])
    return Dataset("manifest", Path("somewhere"), table, False, "0")


def clip(name, numbers, patient="1", label="normal", split="train"):
    return [(name, number, patient, label, split) for number in numbers]


def test_frames_are_ordered_by_number_not_by_row_or_text():
    data = dataset(clip("a", [10, 9, 100]) + clip("b", [2, 0, 1], patient="2", label="defect"))
    clips = gather_clips(data, frames=3)
    assert clips.frames.tolist() == [[1, 0, 2], [4, 5, 3]]
    assert clips.frames.dtype == np.int64
    assert clips.table.to_dict("list") == {
        "clip": ["a", "b"],
        "patient": ["1", "2"],
        "label": ["normal", "defect"],
        "split": ["train", "train"],
    }


@pytest.mark.parametrize(
    ("frames", "picked"),
    [(1, [3]), (2, [1, 5]), (3, [1, 3, 5]), (4, [0, 2, 4, 6]), (7, [0, 1, 2, 3, 4, 5, 6])],
)
def test_picked_frames_are_evenly_spaced(frames, picked):
    clips = gather_clips(dataset(clip("a", range(7))), frames=frames)
    assert clips.frames.tolist() == [picked]


@pytest.mark.parametrize("n", [5, 12, 31])
def test_picked_frames_are_distinct_ordered_and_symmetrical_within_one(n):
    for frames in range(1, n + 1):
        (rows,) = gather_clips(dataset(clip("a", range(n))), frames=frames).frames
        steps = np.diff(rows)
        assert (steps > 0).all()
        assert np.ptp(steps) <= 1 if len(steps) else True
        assert abs(rows[0] - (n - 1 - rows[-1])) <= 1


def test_rows_are_positions_whatever_the_index():
    data = dataset(clip("a", [1, 2]) + clip("b", [1, 2], patient="2") + clip("c", [2, 1]))
    part = data.where(np.array([False, False, True, True, True, True]))
    clips = gather_clips(part, frames=2)
    assert clips.frames.tolist() == [[0, 1], [3, 2]]


def test_clips_come_in_the_order_of_their_first_rows():
    rows = [("b", 0), ("a", 1), ("b", 1), ("a", 0)]
    data = dataset([(name, number, name, "x", "") for name, number in rows])
    clips = gather_clips(data, frames=2)
    assert clips.table["clip"].tolist() == ["b", "a"]
    assert clips.frames.tolist() == [[0, 2], [3, 1]]


def test_without_clip_names_each_image_is_a_clip():
    items = clip_items("chd", images(["normal", "CHD", "normal"], "pqq"), CHD_CLASSES, frames=1)
    assert items.clips.frames.tolist() == [[0], [1], [2]]
    assert items.table.columns.tolist() == ["clip", "patient", "label", "split", "id"]
    assert items.table["clip"].tolist() == items.table["id"].tolist() == ["i0", "i1", "i2"]
    assert items.targets.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match=r"fewer than 2 frames: i0 \(1\).*column clip"):
        gather_clips(images("x", "p"), frames=2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("copies", [None, 0, 3])
def test_features_equal_a_loop_over_clips(seed, copies):
    rng = np.random.default_rng(seed)
    rows = [row for i in range(7) for row in clip(f"c{i}", range(rng.integers(3, 9)), str(i))]
    data = dataset([rows[i] for i in rng.permutation(len(rows))])
    clips = gather_clips(data, frames=3)
    shape = (len(rows), 5) if copies is None else (copies, len(rows), 5)
    vectors = rng.normal(size=shape).astype(np.float32)
    found = clip_features(vectors, clips)
    assert found.dtype == np.float32
    assert found.shape == (*shape[:-2], 7, 15)
    for i, frames in enumerate(clips.frames):
        joined = np.concatenate([vectors[..., row, :] for row in frames], axis=-1)
        assert (found[..., i, :] == joined).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (clip("a", [0, 1, 2]) + clip("b", [0]), r"fewer than 2 frames: b \(1\)\. "),
        (clip("a", [0]) + clip("a", [1], label="defect"), "more than one label: a"),
        (clip("a", [0]) + clip("a", [1], patient="2"), "more than one patient: a"),
        (clip("a", [0]) + clip("a", [1], split="test"), "more than one split: a"),
        (clip("a", [3, 1, 3]), r"frame numbered twice in its clip: i2\. "),
        (clip("a", [0, 1, "two"]), r"frame is no whole number: i2\. "),
        (clip("a", [0, 1, ""]), "frame is no whole number: i2"),
        (clip("a", ["", 1, ""]), r"Found: frame is no whole number: i0, i2\. What"),
        (clip("a", [0, 1, -1]), "frame is no whole number: i2"),
        (clip("a", [0, "1.5", 2]), "frame is no whole number: i1"),
        (clip("a", [0, 1]) + clip("", [1], "2"), r"Found: rows without a clip's name: i2\. What"),
        (
            clip("a", [0, 0, "x"]) + clip("b", [1], label="CHD") + clip("a", [2], label="CHD"),
            r"no whole number: i2, .*twice.*: i1, .*b \(1\).*label: a",
        ),
    ],
)
def test_clips_that_cannot_be_used(rows, message):
    with pytest.raises(DataError, match=message):
        gather_clips(dataset(rows), frames=2)


def test_columns_and_parameters_are_checked():
    with pytest.raises(ParameterError, match=r"frames\. Expected: 1 or more\. Found: 0"):
        gather_clips(dataset(clip("a", [0])), frames=0)
    unnumbered = dataset([("a", "1", "x", "")], ("clip", "patient", "label", "split"))
    with pytest.raises(DataError, match="no column frame"):
        gather_clips(unnumbered, frames=1)


SPLIT = Split("own", ("q", "not here"), (Fold(("p",), ("r",)),))


def images(labels, patients):
    rows = list(zip(patients, labels, strict=True))
    return dataset([(*row, "") for row in rows], ("patient", "label", "split"))


def test_images_of_a_subset_know_their_rows_in_the_whole():
    whole = images("abcba", "pqqrq")
    items = image_items("letters", whole.where(np.array([0, 1, 0, 1, 1])), ("a", "b"))
    assert items.rows.tolist() == [1, 3, 4]
    assert items.rows.dtype == np.int64
    assert items.table.index.tolist() == [0, 1, 2]
    assert items.table["id"].tolist() == ["i1", "i3", "i4"]
    assert (len(items), items.name, items.classes, items.clips) == (3, "letters", ("a", "b"), None)


def test_targets_follow_the_order_of_the_classes_not_of_the_labels():
    items = image_items("letters", images("abcba", "qpqrp"), ["c", "a", "b"])
    assert items.targets.tolist() == [1, 2, 0, 2, 1] and items.targets.dtype == np.int64
    assert items.classes == ("c", "a", "b")
    task = Task(None, items, {"folds": SPLIT})
    assert task.tested.tolist() == [True, False, True, False, False]
    targets, patients, classes = task.truth
    assert (targets.tolist(), patients.tolist(), classes) == ([1, 0], ["q", "q"], ("c", "a", "b"))


def test_clips_are_items_with_the_columns_of_their_first_frame():
    rows = [
        ("m1", "x", "2", "p", "CHD", "train"),
        ("m2", "y", "0", "q", "normal", "test"),
        ("m3", "x", "1", "p", "CHD", "train"),
        ("m4", "y", "1", "q", "normal", "test"),
    ]
    data = dataset(rows, ("machine", "clip", "frame", "patient", "label", "split"))
    items = clip_items("chd", data, CHD_CLASSES, frames=2)
    assert items.clips.frames.tolist() == [[2, 0], [1, 3]]
    assert items.rows.tolist() == [2, 1]
    assert items.targets.tolist() == [1, 0]
    assert items.table.columns.is_unique
    assert items.table.to_dict("list") == {
        "clip": ["x", "y"],
        "patient": ["p", "q"],
        "label": ["CHD", "normal"],
        "split": ["train", "test"],
        "id": ["i2", "i1"],
        "machine": ["m3", "m2"],
        "frame": ["1", "0"],
    }


def test_phantom_clips_are_labelled_as_the_task_expects():
    assert CHD_CLASSES == (chd.NORMAL, chd.DEFECT)


def test_labels_outside_of_the_task_are_refused_by_name():
    text = "Unknown label in 2 of 3 rows.*somewhere, column label.*normal, CHD.*'chd', 'VSD'"
    data = images(["chd", "normal", "VSD"], "pqr")
    for items in (image_items, partial(clip_items, frames=1)):
        with pytest.raises(DataError, match=text):
            items("chd", data, CHD_CLASSES)


def letters(*sets, name=0):
    """A task whose folds train on the given patients, one set a word and one item a letter."""
    data = dataset([(patient, "a") for patient in "".join(sets)], ("patient", "label"))
    split = Split("own", (), tuple(Fold(tuple(word), ()) for word in sets))
    return Task(data, image_items("letters", data, ("a",)), {name: split})


def test_fits_are_cut_by_split_in_the_order_of_training():
    def sized(*sets):
        splits = {2**i: Split("own", (), (Fold((), ()),) * n) for i, n in enumerate(sets)}
        parts = replace(letters("p"), splits=splits).by_split(np.arange(12).reshape(12, 1))
        return [part.ravel().tolist() for part in parts.values()]

    assert sized(2, 2) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    # Other numbers of sets: two runs for each of one, three and two sets.
    assert sized(1, 3, 2) == [[0, 1], [2, 3, 4, 5, 6, 7], [8, 9, 10, 11]]


@pytest.mark.parametrize(("copies", "batch"), [(2, 4), (1, 2), (0, 2)])
def test_training_sets_may_be_as_small_as_a_batch(copies, batch):
    tasks = {"letters": letters("pp", "qq", name="folds"), "more": letters("rrr")}
    require_enough_rows(tasks, copies=copies, batch=batch, parameter="probe_batch")
    said = rf"{batch + 1} rows or more \(probe_batch\).*set 0.*to {batch} at most, take 2 times the"
    with pytest.raises(ParameterError, match=said):
        require_enough_rows(tasks, copies=copies, batch=batch + 1, parameter="probe_batch")


def test_sets_that_do_not_fill_a_batch_are_named_with_their_rows():
    tasks = {"letters": letters("pp", "qqq", "r", name=4), "fine": letters("tttt")}
    tasks["more"] = letters("u", name="folds")
    both = {2: Split("own", (), (Fold(("t",), ()),)), 4: Split("own", (), (Fold((), ()),))}
    tasks["split"] = replace(tasks["fine"], splits=both)
    with pytest.raises(ParameterError) as caught:
        require_enough_rows(tasks, copies=2, batch=6, parameter="probe_batch")
    assert (
        "Found: set 0 of letters (4 patients): 4 training rows, set 2 of letters (4 patients): 2 "
        "training rows, set 0 of more: 2 training rows, set 0 of split (4 patients): 0 training "
        "rows. What to do: take larger sets."
    ) in str(caught.value)
