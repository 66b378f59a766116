"""Who is trained on and who is tested: splits by patient, the authors' official ones or own.

A patient's images look alike, so a patient who is on two sides makes a test easier than it is.
Every split here is a list of patients, never of images. Own splits depend on the seed and on
which patients have which labels, not on the order of the rows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.errors import DataError, ParameterError, listing
from fetalclip_nb.patient_draws import stratified_parts, support_patients
from fetalclip_nb.released_splits import few_data_split, probing_split

SIDES = ("train", "validation", "test")
_TEST_PARTS = 5  # one of these many parts of the patients is the test set, if none is named
_TEST, _FOLDS, _SUPPORTS = range(3)  # separate random streams of one seed


@dataclass(frozen=True)
class Fold:
    """Patients that heads are trained on, and those that choose the best epoch."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """One test set and the folds (or support sets) that are scored on it.

    Attributes:
        source: "official" or "own", with ", leak-free" where test patients were dropped.
        test: Patients of the test set.
        folds: Train and validation patients.
    """

    source: str
    test: tuple[str, ...]
    folds: tuple[Fold, ...]


def official_folds(folder: str | Path, task: str) -> Split:
    """The authors' five folds of a task, as released.

    Args:
        folder: Folder with the layout of the authors' repository.
        task: "six_planes", "brain_subplanes" or "head".

    Raises:
        DataError: Unknown task, or a missing or malformed file.
        DownloadError: A file is not the released one.

    Source: FetalCLIP repository, probing splits. "head" leaks (see `leaking`); the test
    patients of "brain_subplanes" are all of the six planes', with or without a brain image.
    """
    released = probing_split(folder, task)
    return Split("official", tuple(released["test"]), _released_folds(released["folds"]))


def official_supports(folder: str | Path, task: str) -> dict[int, Split]:
    """The authors' five support sets of each size, as released.

    Args:
        folder: Folder with the layout of the authors' repository.
        task: "six_planes", "brain_subplanes" or "head".

    Returns:
        Number of patients n to a split whose folds have n train and n validation patients.

    Raises:
        DataError: Unknown task, or a missing or malformed file.
        DownloadError: A file is not the released one.

    Source: FetalCLIP repository, few-data splits.
    """
    released = few_data_split(folder, task)
    test = tuple(released["test"])
    supports = released["supports"]
    return {n: Split("official", test, _released_folds(sets)) for n, sets in supports.items()}


def _released_folds(pairs: list[dict]) -> tuple[Fold, ...]:
    return tuple(Fold(tuple(pair["train"]), tuple(pair["val"])) for pair in pairs)


def own_folds(
    table: pd.DataFrame, *, seed: int, folds: int = 5, where: object = "column split"
) -> Split:
    """Seeded folds: each patient who is not tested is validation exactly once.

    Patients are cut so that each part has about the same share of every class's images
    (scikit-learn's StratifiedGroupKFold). That suits patients with images of several classes:
    cutting by a patient's most frequent label loses classes that are nobody's most frequent.

    Args:
        table: One row an item with the columns patient, label and split. Patients with split
            "test" are the test set; where there are none, a stratified fifth of all patients
            is drawn. With split "validation" there is one fold, as given. Split may be empty
            in every row, not only in some.
        seed: Seed, 0 or more.
        folds: Number of folds, 2 or more.
        where: File or data set that a message on the column split names.

    Raises:
        DataError: Splits that cannot be used (all problems at once), or too few patients.
        ParameterError: Seed or number of folds out of range.

    Source: FetalCLIP (arXiv 2502.14807), linear probing: five folds by patient.

    >>> rows = [(f"P{i}", "ab"[i % 2], "") for i in range(20)]
    >>> split = own_folds(pd.DataFrame(rows, columns=["patient", "label", "split"]), seed=0)
    >>> len(split.test), sum(len(fold.validation) for fold in split.folds)
    (4, 16)
    """
    _require_range("folds", folds, 2)
    test, rest = _test_and_rest(table, seed, where)
    validation = rest["split"] == "validation"
    if validation.any():
        parts = [_patients(rest[validation])]
    else:
        parts = stratified_parts(rest, folds, np.random.default_rng([seed, _FOLDS]))
    cut = [Fold(_patients(rest[~rows_of(rest, part)]), part) for part in parts]
    return Split("own", test, tuple(cut))


def own_supports(
    table: pd.DataFrame,
    sizes: Sequence[int],
    *,
    seed: int,
    sets: int = 5,
    where: object = "column split",
) -> dict[int, Split]:
    """Seeded support sets: n train and n validation patients who are not tested.

    Like the authors' sets, each is drawn anew: sets of a size overlap as chance has it, and
    larger sets do not contain smaller ones. Unlike a bare draw, patients are exchanged until
    every class is in train, then in validation, as far as n patients allow.

    Args:
        table: As in `own_folds`; patients with split "validation" may fall on either side.
        sizes: Patients n of each support set.
        seed: Seed, 0 or more; `own_folds` with the same seed has the same test patients.
        sets: Support sets of each size.
        where: As in `own_folds`.

    Returns:
        n to a split with ``sets`` folds; other sizes or more sets do not change a set.

    Raises:
        DataError: Splits that cannot be used, or too few patients (all such sizes are named).
        ParameterError: A size, the number of sets or the seed is out of range.

    Source: FetalCLIP (arXiv 2502.14807), few-data training.
    """
    _require_range("sets", sets, 1)
    for n in sizes:
        _require_range("sizes", n, 1)
    test, rest = _test_and_rest(table, seed, where)
    patients = len(set(rest["patient"]))
    large = [n for n in sizes if 2 * n > patients]
    if large:
        raise DataError(
            "Too few patients for support sets",
            where=f"support sizes {listing(large)}",
            expected=f"{2 * max(large)} patients outside of the test set (n train, n validation)",
            found=f"{patients} patients",
            fix="leave these sizes out or add patients",
        )

    def drawn(n: int, number: int) -> Fold:
        rng = np.random.default_rng([seed, _SUPPORTS, n, number])
        return Fold(*support_patients(rest, n, rng))

    return {n: Split("own", test, tuple(drawn(n, i) for i in range(sets))) for n in sizes}


def leaking(*splits: Split) -> tuple[str, ...]:
    """Patients that are tested and trained or validated on in any of some splits.

    >>> leaking(Split("own", ("a", "b"), (Fold(("a",), ("c",)),)))
    ('a',)
    """
    test = {patient for split in splits for patient in split.test}
    seen = {p for split in splits for fold in split.folds for p in fold.train + fold.validation}
    return tuple(sorted(test & seen))


def leak_free(split: Split, *others: Split) -> Split:
    """The split without leaking patients in its test set; unchanged where there are none.

    Args:
        split: The split.
        others: Splits to be compared with it, such as all support sizes: patients that leak in
            one of them are dropped too, so that all are scored on the same test set.

    >>> leak_free(Split("official", ("a", "b"), (Fold(("a",), ("c",)),)))
    Split(source='official, leak-free', test=('b',), folds=(Fold(train=('a',), validation=('c',)),))
    """
    dropped = set(leaking(split, *others))
    if not dropped:
        return split
    test = tuple(patient for patient in split.test if patient not in dropped)
    return replace(split, source=f"{split.source}, leak-free", test=test)


def first_folds(split: Split, n: int, *, name: str = "folds") -> Split:
    """The split with its first n folds, or with all where it has fewer.

    Args:
        split: The split.
        n: Number of folds, 1 or more.
        name: Parameter that a message names.

    Raises:
        ParameterError: If n is less than 1.

    >>> len(first_folds(Split("own", ("a",), (Fold(("b",), ("c",)),) * 5), 2).folds)
    2
    """
    _require_range(name, n, 1)
    return replace(split, folds=split.folds[:n])


def rows_of(table: pd.DataFrame, patients: Collection[str]) -> np.ndarray:
    """Which rows of a table are these patients', boolean of shape (N,)."""
    return table["patient"].astype(str).isin(list(patients)).to_numpy()


def named(problem: str, names: Collection[object]) -> str:
    """A problem and whom it concerns, nothing where it concerns nobody.

    >>> named("labels outside of the task", ["toe"]), named("patients on two sides", [])
    ('labels outside of the task: toe', '')
    """
    return f"{problem}: {listing(names)}" if len(names) else ""


def _require_range(name: str, value: int, least: int) -> None:
    if value < least:
        raise ParameterError("Out of range", where=name, expected=f"{least} or more", found=value)


def _test_and_rest(
    table: pd.DataFrame, seed: int, where: object
) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Test patients, and the rows of all others."""
    _require_range("seed", seed, 0)
    table = table[["patient", "label", "split"]].astype(str)
    _require_splits(table, where)
    test = _patients(table[table["split"] == "test"])
    if not test:
        test = stratified_parts(table, _TEST_PARTS, np.random.default_rng([seed, _TEST]))[0]
    return test, table[~rows_of(table, test)]


def _require_splits(table: pd.DataFrame, where: object) -> None:
    found = set(table["split"])
    unknown = sorted(found - {*SIDES, ""})
    splits = table.groupby("patient")["split"].nunique()
    crossing = list(splits[splits > 1].index)
    empty = int((table["split"] == "").sum())
    alone = "validation" in found and not {"train", "test"} <= found
    problems = [
        named("unknown splits", unknown),
        named("patients in two splits", crossing),
        f"split empty for {empty} of {len(table)} items" if 0 < empty < len(table) else "",
        "validation without train or test" if alone else "",
        "test alone" if found == {"test"} else "",
    ]
    problems = [problem for problem in problems if problem]
    if problems:
        raise DataError(
            "Splits in the table cannot be used",
            where=where,
            expected="train and test; or train, validation and test; or empty for every item",
            found="; ".join(problems),
            fix="name a split for every image or clip, or for none to have patients drawn",
        )


def _patients(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted(set(table["patient"])))
