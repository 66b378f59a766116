"""The FetalCLIP authors' official splits for probing and few-data training, by patient."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from fetalclip_nb.data.released import ENTRY, read_json
from fetalclip_nb.downloads.registry import registered
from fetalclip_nb.tasks.splits import Fold, Split, leak_free, leaking

_FOLDERS = {
    "six_planes": "classification_six_fetal_planes",
    "brain_subplanes": "classification_brain_subplanes",
    "head": "segmentation_hc",
}


def official_folds(folder: str | Path, task: str) -> Split:
    """The authors' five folds of "six_planes", "brain_subplanes" or "head" (HC18), as released.

    They are read from a folder with the layout of the authors' repository.

    Source: FetalCLIP repository, probing splits. "head" leaks (see `leaking`); the test
    patients of "brain_subplanes" are all of the six planes', with or without a brain image.
    """
    test, pairs = _released("probing", folder, task)
    return Split("official", test, _folds(pairs.values()))


def official_supports(folder: str | Path, task: str) -> dict[int, Split]:
    """The authors' five support sets of each size, as released, from where `official_folds` reads.

    Number of patients n to a split whose folds have n train and n validation patients.

    Source: FetalCLIP repository, few-data splits.
    """
    test, sets = _released("few_data_training", folder, task)
    return {int(n): Split("official", test, _folds(pairs)) for n, pairs in sets.items()}


def _released(experiment: str, folder: str | Path, task: str) -> tuple[tuple[str, ...], dict]:
    """Test patients, and pairs of train and validation patients as they are in the file.

    HC18's examinations have three digits, as in the file names: the authors' test list writes
    eighteen of them without leading zeros, and those are in train or validation as well.
    """
    place = f"{experiment}/{_FOLDERS[task]}"
    tested = read_json(folder, f"{place}/{'test_id' if task == 'head' else 'test_split'}.json")
    pairs = read_json(folder, f"{place}/train_val_split.json")
    return tuple(str(patient).zfill(3) for patient in tested), pairs


def _folds(pairs: Iterable[list[list[str]]]) -> tuple[Fold, ...]:
    return tuple(Fold(tuple(train), tuple(validation)) for train, validation in pairs)


OFFICIAL = {"fetal_planes": ("FETAL_PLANES_DB", "six_planes"), "hc18": ("HC18", "head")}
"""Kinds of data set that the authors split: name, and task whose tested patients are all there."""


def splits_available(folder: Path | None) -> bool:
    """Whether the authors' split files of each task and experiment are all in a folder."""
    experiments = ("probing/", "few_data_training/")
    names = [file.path for file in registered(ENTRY).files if file.path.startswith(experiments)]
    return folder is not None and all((folder / name).is_file() for name in names)


def leak_table(released_root: Path) -> pd.DataFrame:
    """Tested patients of the authors' splits who are trained or validated on as well.

    One row a task and experiment: test patients, how many of them leak, how many stay.
    """
    rows = []
    for task in _FOLDERS:
        supports = official_supports(released_root, task).values()
        experiments = {"probing": (official_folds(released_root, task),), "few-data": supports}
        for experiment, splits in experiments.items():
            split, free = next(iter(splits)), leak_free(*splits)
            rows.append(
                {
                    "task": task,
                    "experiment": experiment,
                    "test patients": len(split.test),
                    "trained or validated on as well": len(leaking(*splits)),
                    "left without them": len(free.test),
                }
            )
    return pd.DataFrame(rows).set_index(["task", "experiment"])
