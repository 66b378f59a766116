"""Items of a task: which rows they are, what they are called, and labels that are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb import phantoms
from fetalclip_nb.datasets import Dataset
from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.probe_items import CHD_CLASSES, clip_items, image_items
from fetalclip_nb.splits import Fold, Split

SPLIT = Split("own", ("q", "not here"), (Fold(("p",), ("r",)),))


def dataset(rows, *columns):
    table = pd.DataFrame(rows, columns=[*columns]).astype(str)
    table.insert(0, "id", [f"i{number}" for number in range(len(table))])
    return Dataset("manifest", Path("somewhere"), table, False, "0")


def images(labels, patients):
    rows = list(zip(patients, labels, strict=True))
    return dataset([(*row, "") for row in rows], "patient", "label", "split")


def clips(*rows):
    return dataset(rows, "machine", "clip", "frame", "patient", "label", "split")


def test_images_of_a_subset_know_their_rows_in_the_whole():
    whole = images("abcba", "pqqrq")
    items = image_items("letters", whole.where(np.array([0, 1, 0, 1, 1])), ("a", "b"))
    assert items.rows.tolist() == [1, 3, 4]
    assert items.rows.dtype == np.int64
    assert items.table.index.tolist() == [0, 1, 2]
    assert items.table["id"].tolist() == ["i1", "i3", "i4"]
    assert (len(items), items.name, items.classes, items.clips) == (3, "letters", ("a", "b"), None)


def test_targets_follow_the_order_of_the_classes_not_of_the_labels():
    items = image_items("letters", images("abcba", "ppppp"), ["c", "a", "b"])
    assert items.targets.tolist() == [1, 2, 0, 2, 1]
    assert items.targets.dtype == np.int64
    assert items.classes == ("c", "a", "b")


def test_truth_is_that_of_the_test_patients_items():
    items = image_items("letters", images("abba", "qpqr"), ("a", "b"))
    assert items.tested(SPLIT).tolist() == [True, False, True, False]
    targets, patients, classes = items.truth(SPLIT)
    assert (targets.tolist(), patients.tolist(), classes) == ([0, 1], ["q", "q"], ("a", "b"))


def test_clips_are_items_with_the_columns_of_their_first_frame():
    data = clips(
        ("m1", "x", "2", "p", "CHD", "train"),
        ("m2", "y", "0", "q", "normal", "test"),
        ("m3", "x", "1", "p", "CHD", "train"),
        ("m4", "y", "1", "q", "normal", "test"),
    )
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
    assert items.truth(SPLIT)[0].tolist() == [0]


def test_without_clip_names_each_image_is_an_item():
    data = images(["normal", "CHD"], "pq")
    items = clip_items("chd", data, CHD_CLASSES, frames=1)
    assert items.table.columns.tolist() == ["clip", "patient", "label", "split", "id"]
    assert items.table["clip"].tolist() == items.table["id"].tolist() == ["i0", "i1"]
    assert items.targets.tolist() == [0, 1]


def test_phantom_clips_are_labelled_as_the_task_expects():
    assert CHD_CLASSES == (phantoms.chd.NORMAL, phantoms.chd.DEFECT)


def test_labels_outside_of_the_task_are_refused_by_name():
    text = "Unknown label in 2 of 3 rows.*somewhere, column label.*normal, CHD.*'chd', 'VSD'"
    data = images(["chd", "normal", "VSD"], "pqr")
    with pytest.raises(DataError, match=text):
        image_items("chd", data, CHD_CLASSES)
    with pytest.raises(DataError, match=text):
        clip_items("chd", data, CHD_CLASSES, frames=1)


def test_clips_that_cannot_be_gathered_are_refused():
    data = clips(("m", "x", "0", "p", "CHD", ""), ("m", "x", "1", "q", "CHD", ""))
    with pytest.raises(DataError, match="more than one patient: x"):
        clip_items("chd", data, CHD_CLASSES, frames=2)
    with pytest.raises(ParameterError, match="frames"):
        clip_items("chd", data, CHD_CLASSES, frames=0)
