"""Whether a split can be trained and tested on: all that is wrong with it in one message."""

from collections.abc import Iterator, Sequence

import pandas as pd

from fetalclip_nb.errors import DataError, listing
from fetalclip_nb.splits import Split, leaking, named, rows_of


def require_usable(
    split: Split,
    table: pd.DataFrame,
    classes: Sequence[str],
    *,
    where: object,
    cohort: pd.DataFrame | None = None,
    complete: bool = True,
) -> None:
    """Refuse a split that cannot be trained and tested on, before work starts.

    Args:
        split: The split.
        table: The task's images: one row each with the columns patient and label.
        classes: The task's classes.
        where: File or data set that the message names.
        cohort: Rows of the whole data set, where the task uses a part of it: the official brain
            split tests patients of whom there may be no brain image. None for ``table``.
        complete: Whether train and validation of each fold need every class. Small support
            sets cannot have all; they need an image, and the test set needs every class.

    Raises:
        DataError: All problems at once: patients on two sides, patients without images,
            classes without images, labels outside of the classes.
    """
    known = set((table if cohort is None else cohort)["patient"].astype(str))
    members = {patient for _, patients in _sides(split) for patient in patients}
    if members and not members & known:
        raise DataError(
            "Split and data set have no patient in common",
            where=where,
            expected=f"patients of the {split.source} split, such as {min(members)}",
            found=f"{listing(sorted(known), limit=3)}; it is another data set",
            fix="use the data set that the split was made for, or own splits",
        )
    problems = [
        named("patients on two sides", _crossing(split)),
        named("patients of the split without images", sorted(members - known)),
        named("labels outside of the task", sorted(set(table["label"]) - set(classes))),
        *_absences(split, table, classes, complete),
    ]
    problems = [problem for problem in problems if problem]
    if problems:
        sides = "on every side" if complete else "in test and of any class on the other sides"
        raise DataError(
            "Split cannot be used",
            where=where,
            expected=f"each patient on one side, images of {', '.join(classes)} {sides}",
            found="; ".join(problems),
            fix="correct patients, labels or split of the data set; take fewer folds if a class "
            "has few patients; drop tested patients that are trained on with splits.leak_free",
        )


def _sides(split: Split) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "test", split.test
    for i, fold in enumerate(split.folds):
        yield f"train of fold {i}", fold.train
        yield f"validation of fold {i}", fold.validation


def _crossing(split: Split) -> list[str]:
    within = {p for fold in split.folds for p in set(fold.train) & set(fold.validation)}
    return sorted(within | set(leaking(split)))


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
