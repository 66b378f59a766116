"""Splits that are refused: each problem alone, all at once, and what a task may lack."""

import pandas as pd
import pytest

from fetalclip_nb.errors import DataError
from fetalclip_nb.split_checks import require_usable
from fetalclip_nb.splits import Fold, Split, official_folds


def make_table(rows):
    """Rows of (patient, label)."""
    return pd.DataFrame(rows, columns=["patient", "label"])


USABLE = Split("own", ("t1", "t2"), (Fold(("1", "2"), ("3", "4")), Fold(("3", "4"), ("1", "2"))))
ROWS = [(name, "ab"[i % 2]) for i, name in enumerate(["t1", "t2", "1", "2", "3", "4"])]


def refused(split, rows, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        require_usable(split, make_table(rows), ("a", "b"), where="m.csv", **options)
    assert "Where: m.csv" in str(caught.value)
    return str(caught.value)


def test_a_usable_split_passes():
    require_usable(USABLE, make_table(ROWS), ("a", "b"), where="m.csv")


def test_class_missing_from_folds_is_named_with_its_places():
    rows = [row for row in ROWS if row != ("4", "b")] + [("4", "a")]
    message = "Found: no image of b in validation of fold 0, train of fold 1. What"
    assert message in refused(USABLE, rows, "Split cannot be used")
    rows = [row for row in ROWS if row[0] != "t2"] + [("t2", "a")]
    refused(USABLE, rows, "no image of b in test")
    rows = [row for row in ROWS if row[0] != "2"] + [("2", "a")]
    refused(USABLE, rows, "no image of b in train of fold 0, validation of fold 1")


def test_patients_on_two_sides_are_named():
    split = Split("own", ("t1", "t2", "1"), (Fold(("1", "2"), ("3", "4")),))
    refused(split, ROWS, r"two sides: 1\. .*leak_free")
    split = Split("own", ("t1", "t2"), (Fold(("1", "2", "3"), ("3", "4")),))
    refused(split, ROWS, r"two sides: 3\. ")


def test_unknown_patients_are_named_but_another_data_set_is_said():
    split = Split("official", ("t1", "t2", "t3"), USABLE.folds)
    refused(split, ROWS, r"without images: t3\. ")
    others = [(f"x{patient}", label) for patient, label in ROWS]
    message = refused(USABLE, others, "no patient in common.*another data set")
    assert "such as 1" in message
    assert "x1, x2, x3 (first 3 of 6)" in message


def test_patients_may_lack_images_of_a_task_but_not_of_the_data_set():
    split = Split("official", ("t1", "t2", "t3"), USABLE.folds)
    cohort = make_table([*ROWS, ("t3", "")])
    table = make_table(ROWS)
    require_usable(split, table, ("a", "b"), where="m.csv", cohort=cohort)
    refused(split, ROWS, r"without images: t3\. ", cohort=table)


def test_support_sets_may_lack_classes_but_not_images():
    split = Split("own", ("t1", "t2"), (Fold(("1",), ("4",)),))
    refused(split, ROWS, "no image of b in train of fold 0; no image of a in validation of fold 0")
    require_usable(split, make_table(ROWS), ("a", "b"), where="m.csv", complete=False)
    rows = [row for row in ROWS if row[0] not in ("1", "t2")]
    cohort = make_table(ROWS)
    message = "no image of b in test; no image in train of fold 0"
    text = refused(split, rows, message, complete=False, cohort=cohort)
    assert "images of a, b in test and of any class on the other sides. Found" in text
    assert "images of a, b on every side. Found" in refused(split, rows, message, cohort=cohort)


def test_labels_outside_of_the_task_are_named():
    refused(USABLE, [*ROWS, ("1", "toe")], r"labels outside of the task: toe\. ")


def test_all_problems_are_in_one_message():
    split = Split("own", ("t1", "1", "who"), (Fold(("1", "2"), ("3", "3")),))
    rows = [*ROWS, ("2", "toe")]
    found = "two sides: 1; .*without images: who; .*task: toe; no image of b in test, validation"
    refused(split, rows, found)


def test_empty_sides_are_refused():
    refused(Split("own", (), (Fold((), ()),)), ROWS, "no image in test, train of fold 0, valid")


def test_official_brain_split_on_a_data_set_with_brains_of_some_test_patients(shared_data):
    split = official_folds(shared_data / "fetalclip", "brain_subplanes")
    trained = [p for fold in split.folds for p in fold.validation]
    table = make_table([(p, label) for p in [*trained, *split.test[:400]] for label in "ab"])
    cohort = make_table([(patient, "") for patient in [*trained, *split.test]])
    require_usable(split, table, ("a", "b"), where="planes", cohort=cohort)
    with pytest.raises(DataError, match=r"without images: .*first 10 of 496"):
        require_usable(split, table, ("a", "b"), where="planes")
