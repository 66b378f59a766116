"""Who is trained on and who is tested: splits by patient, the authors' official ones or own.

A patient's images look alike, so a patient who is on two sides makes a test easier than it is.
Every split here is a list of patients, never of images. Own splits depend on the seed and on
which patients have which labels, not on the order of the rows.

Whether a split can be trained and tested on: all that is wrong with it in one message.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import DataError, ParameterError, listing, refuse
from fetalclip_nb.stats.scores import Sets


@dataclass(frozen=True)
class Fold:
    """Patients that a probe or decoder is trained on, and those that choose the best epoch."""

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

    @property
    def sets(self) -> Sets:
        """The folds as support sets: how many, and how many patients two of them share.

        >>> Split("own", (), (Fold(("a", "b"), ()), Fold(("b", "c"), ()))).sets
        Sets(number=2, shared=0.5)
        """
        pairs = combinations([set(fold.train) for fold in self.folds], 2)
        shared = [len(one & other) / max(len(one), len(other), 1) for one, other in pairs]
        return Sets(len(self.folds), float(np.mean(shared)) if shared else 0.0)


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

    Patients that leak in one of ``others``, such as all support sizes, are dropped too, so that
    all are scored on the same test set.

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

    ``name`` is the parameter that a message names.

    >>> len(first_folds(Split("own", ("a",), (Fold(("b",), ("c",)),) * 5), 2).folds)
    2
    """
    require_range(name, n, 1)
    return replace(split, folds=split.folds[:n])


def rows_of(table: pd.DataFrame, patients: Collection[str]) -> np.ndarray:
    """Which rows of a table are these patients', boolean of shape (N,)."""
    return table["patient"].astype(str).isin(list(patients)).to_numpy()


def named(problem: str, names: Collection[object]) -> str:
    """A problem and whom it concerns, nothing where it concerns nobody.

    >>> named("frames without a number", ["a.png"]), named("clips of two patients", [])
    ('frames without a number: a.png', '')
    """
    return f"{problem}: {listing(names)}" if len(names) else ""


def require_range(name: str, value: int, least: int) -> None:
    if value < least:
        raise ParameterError("Out of range", where=name, expected=f"{least} or more", found=value)


def require_usable(
    split: Split,
    table: pd.DataFrame,
    classes: Sequence[str],
    dataset: Dataset,
    *,
    complete: bool = True,
) -> None:
    """Refuse a split that cannot be trained and tested on, before work starts.

    Args:
        split: The split.
        table: The task's images: one row each with the columns patient and label.
        classes: The task's classes.
        dataset: The whole data set, of which the task may use a part: the official brain split
            tests patients of whom there may be no brain image.
        complete: Whether train and validation of each fold need every class. Small support
            sets cannot have all; they need an image, and the test set needs every class.
    """
    known = set(dataset.table["patient"].astype(str))
    members = {patient for _, patients in _sides(split) for patient in patients}
    if members and not members & known:
        raise DataError(
            "Split and data set have no patient in common",
            where=dataset.root,
            expected=f"patients of the {split.source} split, such as {min(members)}",
            found=f"{listing(sorted(known), limit=3)}; it is another data set",
            fix="use the data set that the split was made for, or own splits",
        )
    problems = [
        named("patients of the split without images", sorted(members - known)),
        *_absences(split, table, classes, complete),
    ]
    sides = "on every side" if complete else "in test and of any class on the other sides"
    rest = table[~rows_of(table, split.test)].groupby("label")["patient"].nunique()
    most = min((int(rest.get(name, 0)) for name in classes), default=0)
    few = (
        f"take {most} folds at most"
        if 1 < most < len(split.folds)
        else "add patients of these classes"
    )
    refuse(
        filter(None, problems),
        "Split cannot be used",
        where=dataset.root,
        expected=f"images of {', '.join(classes)} {sides}",
        fix=f"correct patients, labels or split of the data set, or {few}",
    )


def _sides(split: Split) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "test", split.test
    for i, fold in enumerate(split.folds):
        yield f"train of fold {i}", fold.train
        yield f"validation of fold {i}", fold.validation


def _absences(
    split: Split, table: pd.DataFrame, classes: Sequence[str], complete: bool
) -> list[str]:
    """What is missing where, one text a class."""
    absent: dict[str, list[str]] = {}
    for side, patients in _sides(split):
        labels = set(table["label"].to_numpy()[rows_of(table, patients)])
        if not labels:
            absent.setdefault("image", []).append(side)
        elif complete or side == "test":
            for name in [name for name in classes if name not in labels]:
                absent.setdefault(f"image of {name}", []).append(side)
    return [f"no {what} in {listing(sides)}" for what, sides in absent.items()]


def fit_seed(seed: int, patients: Collection[str], run: int) -> int:
    """A fit's own seed, from 0 to 2^63 - 1, whatever else is trained beside it.

    It is made of the chapter's seed, the fit's training patients, in any order, and its number
    among the fits of these patients.
    """
    text = json.dumps([int(seed), run, sorted(patients)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
