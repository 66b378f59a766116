"""Which splits a probe uses: the authors' where they apply, else own ones."""

from collections.abc import Collection, Sequence
from pathlib import Path

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import DataError, ParameterError, listing, refuse
from fetalclip_nb.tasks.items import Items, Task
from fetalclip_nb.tasks.official_splits import (
    OFFICIAL,
    official_folds,
    official_supports,
    splits_available,
)
from fetalclip_nb.tasks.own_splits import own_folds, own_supports
from fetalclip_nb.tasks.splits import Split, leak_free, require_usable

CHOICES = ("auto", "official", "own")


def choose_folds(
    choice: str,
    items: Items,
    dataset: Dataset,
    released_root: Path | None,
    *,
    seed: int,
    folds: int = 5,
) -> Split:
    """The folds of a probing task, checked.

    Args:
        choice: "official", "own", or "auto": official for real FETAL_PLANES_DB or HC18 images
            where the authors' files are in ``released_root`` and the data set has all patients
            whom they test.
        items: The task.
        dataset: The whole data set that the items are from.
        released_root: Folder in the layout of the authors' repository; None for own splits.
        seed: Seed of own folds.
        folds: Number of own folds.

    Raises:
        DataError: The split cannot be used with these items, or official splits are asked for
            and the data set is another one or a file is missing.
    """
    if is_official(choice, dataset, released_root):
        split = leak_free(official_folds(released_root, items.name))
    else:
        where = f"{dataset.root}, column split"
        split = own_folds(items.table, seed=seed, folds=folds, where=where)
    require_usable(split, items.table, items.classes, dataset)
    return split


def choose_supports(
    choice: str,
    items: Items,
    dataset: Dataset,
    released_root: Path | None,
    *,
    sizes: Sequence[int],
    seed: int,
    sets: int = 5,
) -> dict[int, Split]:
    """The support sets of a few-data task, checked: number of patients to split.

    Own sets are ``sets`` of each of the ``sizes``, which are numbers of training patients; the
    other arguments are those of `choose_folds`.
    """
    if is_official(choice, dataset, released_root):
        found = official_supports(released_root, items.name)
        refuse(
            [n for n in sizes if n not in found],
            "Official support sets have other sizes",
            error=ParameterError,
            where=items.name,
            expected=listing(found),
            fix="leave these sizes out or take own splits",
        )
        supports = {n: leak_free(found[n], *found.values()) for n in sizes}
    else:
        where = f"{dataset.root}, column split"
        supports = own_supports(items.table, sizes, seed=seed, sets=sets, where=where)
    for split in supports.values():
        require_usable(split, items.table, items.classes, dataset, complete=False)
    return supports


def never_trained(tasks: Collection[Task]) -> list[str]:
    """Patients of a data set whom no task trains on: their images need no augmented copies.

    Where a data set names its test patients, these are they. Where each task draws its own, a
    patient may be tested in one and trained on in another.
    """
    tested = {patient for task in tasks for patient in task.split.test}
    trained = {
        patient
        for task in tasks
        for patient in set(task.items.table["patient"]) - set(task.split.test)
    }
    return sorted(tested - trained)


def is_official(choice: str, dataset: Dataset, released_root: Path | None) -> bool:
    """Whether the authors' split files are to be used; arguments as for `choose_folds`."""
    if choice not in CHOICES:
        what = "Unknown choice of splits"
        raise ParameterError(what, where="splits", expected=", ".join(CHOICES), found=choice)
    if choice == "official" and dataset.name not in OFFICIAL:
        raise DataError(
            "Official splits name patients of another data set",
            where=dataset.root,
            expected=" or ".join(name for name, _ in OFFICIAL.values()),
            found=f"a data set of the kind {dataset.name}",
            fix="set splits to own or auto",
        )
    real = dataset.name in OFFICIAL and not dataset.synthetic
    if choice == "auto" and real and splits_available(released_root):
        # Another clinic's images may lie in the same layout, or a part of the real ones.
        tested = official_folds(released_root, OFFICIAL[dataset.name][1]).test
        return set(tested) <= set(dataset.table["patient"])
    return choice == "official"
