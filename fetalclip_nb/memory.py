"""What files were found to hold, remembered until they change, so that none is read twice."""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path

from fetalclip_nb.errors import CacheError, refuse
from fetalclip_nb.files import keep, kept, key, lock

VERSION = 1
"""Raised when files of the same bytes are found to hold something else."""

_TICK_S = 3.0
"""A file that changed so shortly before it was read may change again and keep its times."""


@dataclass
class _Place:
    folder: Path | None = None
    verify: bool = False
    known: dict[str, dict] = field(default_factory=dict)


_HERE = _Place()


def remember_in(cache_dir: Path, *, verify: bool = False) -> None:
    """From now on, remember between runs; before, only this process does.

    Args:
        cache_dir: Folder that all notebooks share; where it cannot be written to, nothing is kept.
        verify: Whether `remembered` reads all files again, and refuses those that have changed.
    """
    _HERE.folder, _HERE.verify = Path(cache_dir) / "files", verify
    _HERE.known.clear()


def add_verify(parser: argparse.ArgumentParser) -> None:
    """Add ``--verify`` to a command that opens data."""
    says = "read all files again, and name those that changed while their times did not"
    parser.add_argument("--verify", action="store_true", help=says)


def remembered(
    about: str, root: Path, files: Sequence[tuple[str, ...]], find: Callable[[int], object]
) -> list:
    """What is found in files, which are read only if they may have changed since the last time.

    Size, place and both times of a file count: a modification time can be put back, the time of
    the last change (ctime) cannot.

    Args:
        about: What is looked for, with all that it depends on beside the files.
        root: Folder that the files are relative to.
        files: The files of each item, one at least.
        find: Gives what an item's files hold. Lists of numbers and texts are remembered, which
            hold a digest where all bytes count; anything else, such as an error, is not.

    Raises:
        DataError: With ``verify``, if files hold something else with their times unchanged.
    """
    name = key([VERSION, about, str(root)])
    path = _HERE.folder / f"{name}.json" if _HERE.folder else None
    if name not in _HERE.known:
        _HERE.known[name] = _read(path) if path else {}
    old = _HERE.known[name]

    def look(item: int) -> tuple[list | None, object]:
        began, known = time.time(), old.get("\n".join(files[item]))
        facts = _facts(root, files[item])
        if known and known[0] == facts and not _HERE.verify:
            return known, known[1]
        value = find(item)
        new = [facts, value] if isinstance(value, list) and facts else None
        if known and known[0] == facts and new != known:
            return known, changed.append(", ".join(files[item]))
        settled = facts and began - max(max(each[2:]) for each in facts) / 1e9 > _TICK_S
        return (new if settled else None), value

    changed: list[str] = []
    with ThreadPool() as pool:  # not of futures: a million of these would take 2 GB
        found = pool.map(look, range(len(files)))
    what = f"{len(changed)} of {len(files)} files have changed without a changed time"
    fix = "put them back as they were, or `touch` them if they are right: the disk may be failing"
    refuse(sorted(changed), what, where=root, fix=fix)
    labels = map("\n".join, files)
    new = {k: e for k, (e, _) in zip(labels, found, strict=True) if e and old.get(k) != e}
    old.update(new)
    if path and new:
        with suppress(OSError), lock(path):  # what another process has found meanwhile stays
            keep(path, lambda file: file.write(json.dumps(_read(path) | new).encode()))
    return [value for _, value in found]


def _read(path: Path) -> dict:
    with suppress(OSError, CacheError):
        return json.load(kept(path))
    return {}


def _facts(root: Path, files: Sequence[str]) -> list[list[int]] | None:
    """Place, size and times of files; None where one is not there."""
    with suppress(OSError, ValueError):  # a ValueError: no disk has such a name
        seen = [os.stat(root / file) for file in files]  # noqa: PTH116 (names too long, too)
        return [[now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns] for now in seen]
    return None
