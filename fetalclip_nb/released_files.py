"""Finding and checking the files that the FetalCLIP authors released."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from fetalclip_nb.downloads import require_registered
from fetalclip_nb.errors import DataError
from fetalclip_nb.registry import registered

ENTRY = "fetalclip-released"
_T = TypeVar("_T")


def released_file(folder: str | Path, relative: str, check_hash: bool) -> Path:
    """The path of a released file that is there and, if asked, byte for byte the registered one.

    Args:
        folder: Folder with the layout of the authors' repository.
        relative: Path below it, as registered.
        check_hash: Whether to compare size and SHA-256.

    Raises:
        DataError: The file is missing.
        DownloadError: It is not the registered one.
    """
    path = Path(folder).expanduser() / relative
    if not path.is_file():
        raise DataError(
            "Released file is missing",
            where=path,
            fix=f"run fetalclip-nb download {ENTRY}, or name the folder that holds zero_shot_hc18 "
            "and zero_shot_planes_db",
        )
    if check_hash:
        require_registered(registered(ENTRY).file(relative), path)
    return path


def read_json(path: Path) -> object:
    """Content of a released JSON file.

    Raises:
        DataError: It is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise malformed(path, "JSON", str(error)) from None


def of_task(table: Mapping[str, _T], task: str) -> _T:
    """What a table holds for a task.

    Raises:
        DataError: The task is unknown; the message lists the known ones.
    """
    if task not in table:
        raise DataError("Unknown task", expected=", ".join(table), found=task)
    return table[task]


def malformed(path: Path, expected: str, found: str, what: str = "unexpected form") -> DataError:
    """The error for a released file with other content than expected."""
    return DataError(
        f"Released file is not what it should be: {what}",
        where=path,
        expected=expected,
        found=found,
        fix=f"delete it and run fetalclip-nb download {ENTRY}",
    )
