"""Arrays on disk that need not fit in memory: made in chunks, resumed, checked, memory-mapped."""

import errno
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from tqdm import tqdm

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import CacheError, refuse
from fetalclip_nb.files import key, lock, slug, write_text

_UNKEYED = ("package", "model", "task")
"""Recorded but not part of the key: fingerprints stand for the named things."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Compute = Callable[[range], dict[str, np.ndarray]]
"""Row numbers to named arrays with one entry a row."""


@dataclass(frozen=True)
class Store:
    """Arrays of N rows on disk.

    Another process that is handed a store opens the files itself: no array travels.

    Attributes:
        folder: Where the files lie.
        meta: What the arrays were computed with.
        arrays: Name to read-only memory map; the first axis has N rows.
    """

    folder: Path
    meta: dict
    arrays: dict[str, np.ndarray]

    def __reduce__(self) -> tuple:
        """Pickle as the place of the files: a memory map would be pickled with its content."""
        return _opened, (self.folder, self.meta, tuple(self.arrays))


@dataclass(frozen=True)
class Embeddings:
    """Un-normalised image embeddings of a data set.

    Attributes:
        vectors: float32 of shape (N, D).
        ids: Image ids, N of them, in the same order.
        meta: What they were computed with.
    """

    vectors: np.ndarray
    ids: tuple[str, ...]
    meta: dict

    def of(self, dataset: Dataset) -> np.ndarray:
        """Rows of a data set or of any subset of it, float32 of shape (len(dataset), D)."""
        index = {name: row for row, name in enumerate(self.ids)}
        return self.vectors[[index[name] for name in dataset.table["id"]]]


def stored_arrays(
    cache_dir: Path, group: str, meta: dict, rows: int, compute: Compute, *, chunk: int = 64
) -> Store:
    """Open an entry of the store, or compute it chunk by chunk and publish it.

    Each finished chunk is on disk before it is recorded with a checksum: an interrupted run
    goes on after the recorded ones, whatever the chunk of the next run is. One process
    computes at a time (a lock per key), others wait and read. What is read is checked.

    Args:
        cache_dir: Folder that all notebooks share.
        group: Kind of arrays, a folder below it.
        meta: What the arrays depend on, as JSON; "model" and "dataset", or "task", name the entry.
        rows: Number of rows N, at least 1.
        compute: Row numbers to arrays; the first chunk decides on names, shapes and types.
        chunk: Rows that are computed, and held in memory, at a time.
    """
    meta = json.loads(json.dumps(meta))  # as it will be read: tuples are lists
    label = " ".join(meta[name] for name in ("model", "dataset", "task") if name in meta) or group
    keyed = {name: value for name, value in meta.items() if name not in _UNKEYED}
    folder = Path(cache_dir) / group / f"{slug(label)}-{key(keyed)}"
    if not folder.exists():  # what is there is read without a lock: its place may be read-only
        with lock(folder):
            if not folder.exists():
                _compute(folder, meta, rows, compute, chunk, f"{label}, {group}")
    return _read(folder, rows)


def _compute(folder: Path, meta: dict, rows: int, compute: Compute, chunk: int, label: str) -> None:
    parts = folder.with_name(f"{folder.name}.partial")
    journal = _begun(parts, rows) or {"meta": meta, "arrays": {}, "chunks": []}
    done = journal["chunks"][-1]["stop"] if journal["chunks"] else 0
    for start in tqdm(range(done, rows, chunk), desc=label, unit="chunk", disable=None):
        stop = min(start + chunk, rows)
        arrays = compute(range(start, stop))
        if not journal["arrays"]:
            journal["arrays"] = {
                name: {"shape": [rows, *array.shape[1:]], "dtype": array.dtype.str}
                for name, array in arrays.items()
            }
            _allocate(parts, journal["arrays"])
        for name, array in arrays.items():
            # Mapped anew for each chunk: written pages leave the process's memory.
            mapped = open_memmap(parts / f"{name}.npy", "r+")
            mapped[start:stop] = array
            mapped.flush()
        sums = {name: _crc32(array) for name, array in arrays.items()}
        journal["chunks"].append({"start": start, "stop": stop, "crc32": sums})
        sealed = journal | {"sum": key(journal)}
        write_text(parts / "journal.json", json.dumps(sealed, indent=1) + "\n")
    parts.rename(folder)


def _begun(parts: Path, rows: int) -> dict | None:
    """The journal of an interrupted run, cut after its last whole chunk."""
    try:
        journal = json.loads((parts / "journal.json").read_text("utf-8"))
        if _misshapen(parts, journal, rows):
            return None
        wrong = next(_damaged(parts, journal), None)
    except Exception:  # whatever its damaged bytes say
        return None
    chunks = journal["chunks"]
    return {**journal, "chunks": chunks[: chunks.index(wrong[1])] if wrong else chunks}


def _allocate(parts: Path, arrays: dict) -> None:
    """Make files of the final size; without room for them, nothing is left behind."""
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    needed = sum(
        math.prod(array["shape"]) * np.dtype(array["dtype"]).itemsize for array in arrays.values()
    )
    free = shutil.disk_usage(parts).free
    try:
        if free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for name, array in arrays.items():
            path = parts / f"{name}.npy"
            open_memmap(path, "w+", np.dtype(array["dtype"]), tuple(array["shape"]))
            _claim(path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        shutil.rmtree(parts)
        raise CacheError(
            "Disk has too little room",
            where=parts.parent,
            expected=f"{needed:,} bytes for {parts.name.removesuffix('.partial')}",
            found=f"{free:,} bytes free",
            fix="make room or set cache_dir to a folder on a larger disk",
        ) from None


def _claim(path: Path) -> None:
    # A sparse file would break off the run later, by a signal, when the disk is full.
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno in _FULL:
                raise


def _read(folder: Path, rows: int) -> Store:
    try:
        journal = json.loads((folder / "journal.json").read_text("utf-8"))
        wrong = _misshapen(folder, journal, rows) or [
            f"another content of {name}, rows {part['start']} to {part['stop'] - 1}"
            for name, part in _damaged(folder, journal)
        ]
        if sum(part["stop"] - part["start"] for part in journal["chunks"]) != rows:
            wrong.append("rows that the journal does not tell of")
    except Exception as error:  # whatever its damaged bytes say
        wrong = [f"another state: {type(error).__name__}, {error}"]
    refuse(
        wrong,
        "Stored arrays are not what their key promises",
        error=CacheError,
        where=folder,
        fix=f"delete the folder {folder.name} and run again",
    )
    return _opened(folder, journal["meta"], tuple(journal["arrays"]))


def _opened(folder: Path, meta: dict, names: tuple[str, ...]) -> Store:
    return Store(folder, meta, {name: open_memmap(folder / f"{name}.npy", "r") for name in names})


def _misshapen(folder: Path, journal: dict, rows: int) -> list[str]:
    """What is not as it was written; opening a cut array raises ValueError."""
    if journal.pop("sum", None) not in (None, key(journal)):  # none in those of earlier releases
        return ["another content of journal.json"]
    opened = _opened(folder, {}, tuple(journal["arrays"])).arrays
    return [
        f"another shape or type of {name}"
        for name, array in journal["arrays"].items()
        if [*opened[name].shape] != [rows, *array["shape"][1:]]
        or opened[name].dtype.str != array["dtype"]
    ]


def _damaged(folder: Path, journal: dict) -> Iterator[tuple[str, dict]]:
    """Name and chunk of what no longer has its checksum, in the order of rows."""
    for part in journal["chunks"]:
        for name, expected in part["crc32"].items():
            rows = open_memmap(folder / f"{name}.npy", "r")[part["start"] : part["stop"]]
            if _crc32(rows) != expected:
                yield name, part


def _crc32(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
