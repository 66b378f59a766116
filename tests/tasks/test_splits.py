"""Splits that are refused: each problem alone, all at once, and what a task may lack."""

import json
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.tasks.official_splits import official_folds, official_supports
from fetalclip_nb.tasks.own_splits import own_folds, own_supports
from fetalclip_nb.tasks.splits import Fold, Split, leak_free, leaking, require_usable, rows_of


def patient_table(rows, split=""):
    """Rows of (patient, label), or (patient, label, split)."""
    rows = [row if len(row) == 3 else (*row, split) for row in rows]
    return pd.DataFrame(rows, columns=["patient", "label", "split"])


USABLE = Split("own", ("t1", "t2"), (Fold(("1", "2"), ("3", "4")), Fold(("3", "4"), ("1", "2"))))
ROWS = [(name, "ab"[i % 2]) for i, name in enumerate(["t1", "t2", "1", "2", "3", "4"])]


def check(split, rows, cohort=None, **options):
    table = patient_table(rows)
    data = Dataset("manifest", "m.csv", table if cohort is None else cohort, False, "")
    require_usable(split, table, ("a", "b"), data, **options)


def refused(split, rows, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        check(split, rows, **options)
    assert "Where: m.csv" in str(caught.value)
    return str(caught.value)


def test_class_missing_from_folds_is_named_with_its_places():
    rows = [row for row in ROWS if row != ("4", "b")] + [("4", "a")]
    message = "Found: no image of b in validation of fold 0, train of fold 1. What"
    assert message in refused(USABLE, rows, "Split cannot be used")
    rows = [row for row in ROWS if row[0] != "t2"] + [("t2", "a")]
    refused(USABLE, rows, "no image of b in test")
    rows = [row for row in ROWS if row[0] != "2"] + [("2", "a")]
    refused(USABLE, rows, "no image of b in train of fold 0, validation of fold 1")


def test_unknown_patients_are_named_but_another_data_set_is_said():
    others = [(f"x{patient}", label) for patient, label in ROWS]
    message = refused(USABLE, others, "no patient in common.*another data set")
    assert "such as 1" in message
    assert "x1, x2, x3 (first 3 of 6)" in message


def test_patients_may_lack_images_of_a_task_but_not_of_the_data_set():
    split = Split("official", ("t1", "t2", "t3"), USABLE.folds)
    check(split, ROWS, cohort=patient_table([*ROWS, ("t3", "")]))
    refused(split, ROWS, r"without images: t3\. ")


def test_support_sets_may_lack_classes_but_not_images():
    split = Split("own", ("t1", "t2"), (Fold(("1",), ("4",)),))
    refused(split, ROWS, "no image of b in train of fold 0, no image of a in validation of fold 0")
    check(split, ROWS, complete=False)
    rows = [row for row in ROWS if row[0] not in ("1", "t2")]
    cohort = patient_table(ROWS)
    message = "no image of b in test, no image in train of fold 0"
    text = refused(split, rows, message, complete=False, cohort=cohort)
    assert "images of a, b in test and of any class on the other sides. Found" in text
    assert "images of a, b on every side. Found" in refused(split, rows, message, cohort=cohort)


def test_empty_sides_are_refused():
    refused(Split("own", (), (Fold((), ()),)), ROWS, "no image in test, train of fold 0, valid")


SEEDS = range(8)


def random_table(seed, split=""):
    """Uneven classes, patients with one to three of them and one to twelve images."""
    rng = np.random.default_rng(seed)
    n_patients, n_classes = rng.integers(25, 70), rng.integers(2, 7)
    share = rng.dirichlet(np.full(n_classes, 0.7))
    rows = [
        (f"P{patient:03d}", f"c{label}")
        for patient in range(n_patients)
        for label in rng.choice(n_classes, size=rng.integers(1, 4), p=share)
        for _ in range(rng.integers(1, 5))
    ]
    table = patient_table([rows[i] for i in rng.permutation(len(rows))])
    if split == "test":
        tested = rng.choice(table["patient"].unique(), size=5, replace=False)
        table["split"] = np.where(table["patient"].isin(tested), "test", "train")
    return table


def everyone(table):
    return set(table["patient"])


def missing(table, patients, classes):
    return set(classes) - set(table.loc[table["patient"].isin(patients), "label"])


def classes_of(table, at_least):
    patients = table.groupby("label")["patient"].nunique()
    return set(patients[patients >= at_least].index)


# The authors' splits


@pytest.mark.parametrize(("task", "patients"), [("six_planes", 896), ("brain_subplanes", 524)])
def test_official_planes_are_disjoint_and_validate_each_patient_once(released, task, patients):
    split = official_folds(released, task)
    validated = [patient for fold in split.folds for patient in fold.validation]
    assert leaking(split) == ()
    assert leak_free(split) is split
    assert len(validated) == len(set(validated)) == patients
    for fold in split.folds:
        assert not set(fold.train) & set(fold.validation)
        assert set(fold.train) | set(fold.validation) == set(validated)
        assert not set(split.test) & {*fold.train, *fold.validation}


@pytest.mark.parametrize("task", ["six_planes", "brain_subplanes"])
def test_official_support_sets_are_disjoint_and_have_the_folds_test_patients(released, task):
    split, supports = official_folds(released, task), official_supports(released, task)
    assert leaking(*supports.values()) == ()
    for n, support in supports.items():
        assert set(support.test) == set(split.test)
        assert [(len(f.train), len(f.validation)) for f in support.folds] == [(n, n)] * 5
        assert not any(set(f.train) & set(f.validation) for f in support.folds)


def test_official_head_split_leaks_patients_of_short_numbers(released):
    split = official_folds(released, "head")
    raw = json.loads((released / "probing/segmentation_hc/test_id.json").read_text())
    assert {*leaking(split)} == {patient.zfill(3) for patient in raw if len(patient) < 3}
    assert leaking(leak_free(split)) == ()
    named = {p for fold in split.folds for p in fold.train + fold.validation} | {*split.test}
    assert named == {f"{i:03d}" for i in range(806)}


# Own folds


@pytest.mark.parametrize("given", ["", "test"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_patient_is_on_two_sides_and_each_is_validated_once(seed, given):
    table = random_table(seed, given)
    split = own_folds(table, seed=seed)
    validated = [patient for fold in split.folds for patient in fold.validation]
    assert leaking(split) == ()
    assert sorted([*split.test, *validated]) == sorted(everyone(table))
    assert len(split.folds) == 5
    for fold in split.folds:
        assert sorted([*fold.train, *fold.validation]) == sorted(validated)
        assert not set(fold.train) & set(fold.validation)
        masks = [rows_of(table, p) for p in (split.test, fold.train, fold.validation)]
        assert (np.sum(masks, axis=0) == 1).all()
    if given:
        assert set(split.test) == set(table.loc[table["split"] == "test", "patient"])


@pytest.mark.parametrize("seed", range(40))
def test_classes_with_enough_patients_are_in_every_part(seed):
    table = random_table(seed)
    split = own_folds(table, seed=seed)
    rest = table[~rows_of(table, split.test)]
    # The random tables of these seeds can all be cut so; a bad cut would be visible.
    assert not missing(table, split.test, classes_of(table, at_least=5))
    for fold in split.folds:
        assert not missing(table, fold.validation, classes_of(rest, at_least=5))
        assert not missing(table, fold.train, classes_of(rest, at_least=2))


def test_shares_of_images_follow_the_whole():
    rng = np.random.default_rng(0)
    rows = [
        (f"P{i:04d}", label)
        for i in range(600)
        for label in rng.choice(["a", "b", "c"], p=[0.7, 0.2, 0.1], size=rng.integers(1, 9))
    ]
    table = patient_table(rows)
    split = own_folds(table, seed=3)
    whole = table["label"].value_counts(normalize=True)
    for patients in (split.test, *(fold.validation for fold in split.folds)):
        part = table.loc[rows_of(table, patients), "label"].value_counts(normalize=True)
        assert (part - whole).abs().max() < 0.01
    assert len(split.test) == pytest.approx(120, abs=8)


@pytest.mark.parametrize("seed", SEEDS)
def test_same_seed_same_split_whatever_the_row_order(seed):
    table = random_table(seed)
    shuffled = table.sample(frac=1, random_state=seed)
    split = own_folds(table, seed=seed)
    assert own_folds(shuffled, seed=seed) == split
    assert own_supports(shuffled, [3], seed=seed) == own_supports(table, [3], seed=seed)
    other = own_folds(table, seed=seed + 1)
    assert other.test != split.test and other.folds != split.folds
    assert own_folds(table.assign(split="train"), seed=seed) == split
    given = random_table(seed, "test")
    first, second = (own_folds(given, seed=seed) for seed in (0, 1))
    assert first.test == second.test and first.folds != second.folds


def test_given_train_validation_and_test_are_one_fold():
    table = patient_table([("1", "a", "train"), ("2", "b", "validation"), ("3", "a", "test")])
    table = pd.concat([table, patient_table([("4", "b", "train")])])
    fold = Fold(train=("1", "4"), validation=("2",))
    assert own_folds(table, seed=0) == Split("own", ("3",), (fold,))


def test_number_of_folds_is_free_and_leaves_the_test_set_alone():
    table = random_table(4)
    splits = [own_folds(table, seed=0, folds=folds) for folds in (2, 3, 7)]
    assert [len(split.folds) for split in splits] == [2, 3, 7]
    assert len({split.test for split in splits}) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("1", "a", ""), ("2", "a", "test")], "split empty for 1 of 2 items"),
        ([("1", "a", "train"), ("2", "a", "validation")], "validation without train or test"),
        ([("1", "a", "test"), ("2", "a", "validation")], "validation without train or test"),
        ([("1", "a", "test"), ("2", "a", "test")], "Found: test alone"),
        (
            [("1", "a", "test"), ("2", "a", ""), ("3", "b", "validation")],
            "split empty for 1 of 3 items, validation without train or test",
        ),
    ],
)
def test_splits_of_a_table_that_cannot_be_used(rows, message):
    for draw in (own_folds, lambda table, seed: own_supports(table, [1], seed=seed)):
        with pytest.raises(DataError, match=f"Where: column split.*{message}"):
            draw(patient_table(rows), seed=0)


def test_too_few_patients_for_folds():
    rows = [(str(i), "ab"[i % 2], "test" if i > 3 else "train") for i in range(20)]
    message = "Too few patients for 5 parts.*Found: 4 patients, 24 images"
    with pytest.raises(DataError, match=message):
        own_folds(patient_table(rows + 5 * rows[:4]), seed=0)
    assert len(own_folds(patient_table(rows), seed=0, folds=2).folds) == 2
    rows = [(str(i), "abc"[i % 3], "train") for i in range(12)] + [("T", "a", "test")]
    with pytest.raises(DataError, match="5 images of a class.*Found: 12 patients, 12 images"):
        own_folds(patient_table(rows), seed=0)
    with pytest.raises(ParameterError, match=r"folds\. Expected: 2 or more\. Found: 1"):
        own_folds(patient_table(rows), seed=0, folds=1)


# Own support sets


@pytest.mark.parametrize("seed", SEEDS)
def test_support_sets_have_their_size_and_no_patient_on_two_sides(seed):
    table = random_table(seed)
    sizes = [n for n in (1, 2, 4, 8, 16) if 2 * n <= len(everyone(table)) * 0.7]
    supports = own_supports(table, sizes, seed=seed)
    assert list(supports) == sizes
    assert leaking(*supports.values()) == ()
    for n, split in supports.items():
        assert split.test == own_folds(table, seed=seed).test
        assert [(len(f.train), len(f.validation)) for f in split.folds] == [(n, n)] * 5
        for fold in split.folds:
            assert len({*fold.train, *fold.validation}) == 2 * n
            assert {*fold.train, *fold.validation} <= everyone(table)


@pytest.mark.parametrize("seed", range(25))
def test_every_class_is_on_both_sides_where_n_allows(seed):
    table = random_table(seed)
    n = 2 * table["label"].nunique()
    supports = own_supports(table, [min(n, len(everyone(table)) * 2 // 5)], seed=seed)
    (split,) = supports.values()
    rest = table[~rows_of(table, split.test)]
    for fold in split.folds:
        assert not missing(table, fold.train, classes_of(rest, at_least=1))
        assert not missing(table, fold.validation, classes_of(rest, at_least=2))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n", [1, 2, 3])
def test_small_sets_miss_no_more_classes_than_the_best_of_all_sets(seed, n):
    rng = np.random.default_rng(seed)
    labels = [rng.choice(list("abcd"), size=rng.integers(1, 3)) for _ in range(8)]
    rows = [(f"P{i}", label, "train") for i, found in enumerate(labels) for label in found]
    table = patient_table([*rows, ("T", "a", "test")])
    classes = {label for _, label, _ in rows}

    def cost(train, validation):
        return len(missing(table, train, classes)), len(missing(table, validation, classes))

    patients = sorted({patient for patient, _, _ in rows})
    lowest = min(
        cost(train, validation)
        for train in combinations(patients, n)
        for validation in combinations(sorted(set(patients) - set(train)), n)
    )
    split = own_supports(table, [n], seed=seed)[n]
    assert [cost(fold.train, fold.validation) for fold in split.folds] == [lowest] * 5


def test_a_set_is_drawn_evenly_where_no_class_is_missing():
    table = patient_table([(f"P{i:02d}", "a", "train") for i in range(20)] + [("T", "a", "test")])
    folds = own_supports(table, [5], seed=0, sets=200)[5].folds
    for side in ("train", "validation"):
        drawn = pd.Series([patient for fold in folds for patient in getattr(fold, side)])
        # Expected 50 of 200 sets, standard deviation 6.1; four of these for all 20 patients.
        assert drawn.value_counts().between(25, 75).all()
        assert drawn.nunique() == 20


def test_a_set_does_not_depend_on_the_other_sizes_and_sets():
    table = random_table(3)
    whole = own_supports(table, [2, 4, 8], seed=1)
    assert own_supports(table, [4], seed=1, sets=2)[4].folds == whole[4].folds[:2]
    assert own_supports(table, [4], seed=2)[4].folds != whole[4].folds
    assert len({fold.train for fold in whole[8].folds}) == 5


def test_validation_patients_of_a_manifest_may_fall_on_either_side():
    rows = [(f"P{i}", "ab"[i % 2], ("train", "validation", "test")[i % 3]) for i in range(30)]
    split = own_supports(patient_table(rows), [10], seed=0)[10]
    given = {patient for patient, _, side in rows if side == "validation"}
    assert set(split.test) == {patient for patient, _, side in rows if side == "test"}
    assert given & {*split.folds[0].train} and given & {*split.folds[0].validation}


def test_too_few_patients_for_support_sets_name_all_sizes():
    table = patient_table(
        [(f"P{i}", "ab"[i % 2], "train") for i in range(9)] + [("T", "a", "test")]
    )
    with pytest.raises(DataError, match=r"Expected: 4 .* 9 patients.*Found: 5, 8\."):
        own_supports(table, [2, 5, 8, 4], seed=0)
    with pytest.raises(ParameterError, match="sizes"):
        own_supports(table, [2, 0], seed=0)
    with pytest.raises(ParameterError, match="sets"):
        own_supports(table, [2], seed=0, sets=0)


def test_rows_of_takes_any_index_and_numbers_as_patients():
    table = pd.DataFrame({"patient": [1, 2, 1]}, index=[7, 7, 9])
    assert rows_of(table, ("1",)).tolist() == [True, False, True]
    assert rows_of(table, ()).tolist() == [False] * 3
