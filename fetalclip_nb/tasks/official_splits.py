"""The FetalCLIP authors' official splits for probing and few-data training, by patient."""

import re
from pathlib import Path

import pandas as pd

from fetalclip_nb.data.released import ENTRY, malformed, of_task, read_json, released_file
from fetalclip_nb.downloads.registry import registered
from fetalclip_nb.errors import listing
from fetalclip_nb.tasks.splits import Fold, Split, leak_free, leaking

FOLDS = 5

_SPLIT_FOLDERS = {
    "six_planes": "classification_six_fetal_planes",
    "brain_subplanes": "classification_brain_subplanes",
    "head": "segmentation_hc",
}

_SUPPORT_SIZES = {
    "six_planes": (2, 4, 8, 16, 32, 64, 128),
    "brain_subplanes": (4, 8, 16, 32, 64, 128),
    "head": (1, 2, 4, 8, 16, 32),
}

_PATIENT = {"head": re.compile(r"\d{3}")}

_FETAL_PLANES_PATIENT = re.compile(r"Patient\d{5}")


def probing_split(folder: str | Path, task: str, *, check_hash: bool = True) -> dict:
    """The official split for linear and segmentation probing, by patient.

    Args:
        folder: Folder with the layout of the authors' repository.
        task: "six_planes", "brain_subplanes" or "head" (HC18).
        check_hash: Whether the files must be byte for byte the released ones.

    Returns:
        {"test": [patient, ...], "folds": [{"train": [...], "val": [...]}, ... five]}.
        HC18 patients have three digits, as in the file names: the authors' test list writes
        eighteen of them without leading zeros, and those are in train or val as well.

    Raises:
        DataError: Missing or malformed file.
        DownloadError: A file is not the released one.
    """
    path, content, test = _split("probing", folder, task, check_hash)
    if list(content) != [str(fold) for fold in range(FOLDS)]:
        raise malformed(path, f"folds 0 to {FOLDS - 1}", listing(content))
    return {"test": test, "folds": [_pair(path, task, pair) for pair in content.values()]}


def few_data_split(folder: str | Path, task: str, *, check_hash: bool = True) -> dict:
    """The official support sets for few-data training, by patient.

    Args:
        folder: Folder with the layout of the authors' repository.
        task: "six_planes", "brain_subplanes" or "head" (HC18).
        check_hash: Whether the files must be byte for byte the released ones.

    Returns:
        {"test": [patient, ...], "supports": {n patients: [{"train": [...], "val": [...]},
        ... five]}}; test patients as in `probing_split`.

    Raises:
        DataError: Missing or malformed file.
        DownloadError: A file is not the released one.
    """
    path, content, test = _split("few_data_training", folder, task, check_hash)
    if list(content) != [str(n) for n in _SUPPORT_SIZES[task]]:
        raise malformed(path, f"support sizes {_SUPPORT_SIZES[task]}", listing(content))
    supports = {int(n): [_pair(path, task, pair) for pair in sets] for n, sets in content.items()}
    for n, sets in supports.items():
        if len(sets) != FOLDS or any(len(ids) != n for pair in sets for ids in pair.values()):
            raise malformed(path, f"{FOLDS} sets of {n} and {n} patients", "other numbers")
    return {"test": test, "supports": supports}


def _split(kind: str, folder: str | Path, task: str, check: bool) -> tuple[Path, dict, list[str]]:
    place = f"{kind}/{of_task(_SPLIT_FOLDERS, task)}"
    name = "test_id.json" if task == "head" else "test_split.json"
    test_path = released_file(folder, f"{place}/{name}", check)
    listed = read_json(test_path)
    if not isinstance(listed, list | dict):
        raise malformed(test_path, "a list, or a dict with patients as keys", str(type(listed)))
    test = [str(patient).zfill(3) for patient in listed]
    _require_patients(test_path, task, test)
    path = released_file(folder, f"{place}/train_val_split.json", check)
    content = read_json(path)
    if not isinstance(content, dict):
        raise malformed(path, "a dict", type(content).__name__)
    return path, content, test


def _pair(path: Path, task: str, pair: object) -> dict[str, list[str]]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(p, list) for p in pair)):
        raise malformed(path, "pairs [train, val] of lists", repr(pair)[:80])
    train, val = pair
    _require_patients(path, task, train + val)
    return {"train": list(train), "val": list(val)}


def _require_patients(path: Path, task: str, patients: list) -> None:
    form = _PATIENT.get(task, _FETAL_PLANES_PATIENT)
    wrong = [p for p in patients if not (isinstance(p, str) and form.fullmatch(p))]
    if wrong or not patients or len(set(patients)) != len(patients):
        found = listing(wrong) or "an empty list or a patient named twice"
        raise malformed(path, f"distinct patients like {form.pattern}", found)


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


RELEASED_TASKS = ("six_planes", "brain_subplanes", "head")

_FOLDERS = ("probing/", "few_data_training/")

OFFICIAL = {"fetal_planes": ("FETAL_PLANES_DB", "six_planes"), "hc18": ("HC18", "head")}
"""Kinds of data set that the authors split: name, and task whose tested patients are all there."""


def splits_available(folder: Path | None) -> bool:
    """Whether the authors' split files are all there: those of each task and experiment.

    Args:
        folder: Folder in the layout of the authors' repository, as `fetalclip-nb download` makes
            it; None for none.
    """
    names = [file.path for file in registered(ENTRY).files if file.path.startswith(_FOLDERS)]
    return folder is not None and all((folder / name).is_file() for name in names)


def leak_table(released_root: Path) -> pd.DataFrame:
    """Tested patients of the authors' splits who are trained or validated on as well.

    Args:
        released_root: Folder in the layout of the authors' repository.

    Returns:
        One row a task and experiment: test patients, how many of them leak, how many stay.
    """
    rows = []
    for task in RELEASED_TASKS:
        given = {
            "probing": (official_folds(released_root, task),),
            "few-data": tuple(official_supports(released_root, task).values()),
        }
        for experiment, splits in given.items():
            free = leak_free(*splits)
            found = len(leaking(*splits)), len(free.test)
            rows.append((task, experiment, len(splits[0].test), *found))
    header = [
        "task",
        "experiment",
        "test patients",
        "trained or validated on as well",
        "left without them",
    ]
    return pd.DataFrame(rows, columns=header).set_index(["task", "experiment"])
