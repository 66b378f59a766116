"""Arrays on disk that need not fit in memory: made in chunks, resumed, checked, memory-mapped.

Embeddings on disk: written whole or not at all, checked when read, one writer at a time.
"""

import errno
import hashlib
import json
import math
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
from numpy.lib.format import open_memmap
from tqdm import tqdm

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import CacheError, ParameterError, ShapeError, listing
from fetalclip_nb.files import slug

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
        meta: What the arrays depend on, as JSON; "model", or else "task", names the entry.
        rows: Number of rows N.
        compute: Row numbers to arrays; the first chunk decides on names, shapes and types.
        chunk: Rows that are computed, and held in memory, at a time.

    Returns:
        The arrays, whole and checked.

    Raises:
        ParameterError: If there is no row or the chunk has none.
        ShapeError: If a chunk does not fit its rows or the first one.
        CacheError: If the disk has too little room, or the entry is not whole or holds
            something else than its key promises.
    """
    if rows < 1 or chunk < 1:
        raise ParameterError(
            "Nothing to store",
            where=group,
            expected="at least one row, and one a chunk",
            found=f"{rows} rows in chunks of {chunk}",
        )
    meta = json.loads(json.dumps(meta))  # as it will be read: tuples are lists
    label = meta.get("model") or meta.get("task") or group
    folder = Path(cache_dir) / group / f"{slug(label)}-{_key(meta)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _compute(folder, meta, rows, compute, chunk, f"{label}, {group}")
        return _read(folder, meta, rows)


def _compute(folder: Path, meta: dict, rows: int, compute: Compute, chunk: int, label: str) -> None:
    parts = folder.with_name(f"{folder.name}.partial")
    journal = _begun(parts, rows) or {"meta": meta, "rows": rows, "arrays": {}, "chunks": []}
    done = journal["chunks"][-1]["stop"] if journal["chunks"] else 0
    for start in tqdm(range(done, rows, chunk), desc=label, unit="chunk", disable=None):
        stop = min(start + chunk, rows)
        arrays = {name: np.asarray(array) for name, array in compute(range(start, stop)).items()}
        _require_fit(arrays, journal["arrays"] or _described(arrays, rows), start, stop)
        if not journal["arrays"]:
            journal["arrays"] = _described(arrays, rows)
            _allocate(parts, journal["arrays"])
        for name, array in arrays.items():
            _write_rows(parts / f"{name}.npy", start, array)
        sums = {name: _crc32(array) for name, array in arrays.items()}
        journal["chunks"].append({"start": start, "stop": stop, "crc32": sums})
        _write_journal(parts, journal)
    parts.rename(folder)


def _begun(parts: Path, rows: int) -> dict | None:
    """The journal of an interrupted run, cut after its last whole chunk."""
    try:
        journal = json.loads((parts / "journal.json").read_text("utf-8"))
        if journal["rows"] != rows or _misshapen(parts, journal):
            return None
    except (OSError, ValueError):
        return None
    wrong = next(_damaged(parts, journal), None)
    chunks = journal["chunks"]
    return {**journal, "chunks": chunks[: chunks.index(wrong[1])] if wrong else chunks}


def _described(arrays: dict[str, np.ndarray], rows: int) -> dict:
    return {
        name: {"shape": [rows, *array.shape[1:]], "dtype": array.dtype.str}
        for name, array in arrays.items()
    }


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


def _require_fit(arrays: dict[str, np.ndarray], expected: dict, start: int, stop: int) -> None:
    found = _described(arrays, 0)
    fitting = {
        name: {**array, "shape": [0, *array["shape"][1:]]} for name, array in expected.items()
    }
    lengths = {name: len(array) for name, array in arrays.items()}
    if found != fitting or set(lengths.values()) != {stop - start}:
        raise ShapeError(
            "Computed chunk does not fit",
            where=f"rows {start} to {stop - 1}",
            expected=_words(fitting, dict.fromkeys(fitting, stop - start)),
            found=_words(found, lengths),
        )


def _words(arrays: dict, lengths: dict[str, int]) -> str:
    return listing(
        f"{name} {(lengths[name], *array['shape'][1:])} {np.dtype(array['dtype'])}"
        for name, array in arrays.items()
    )


def _write_rows(path: Path, start: int, array: np.ndarray) -> None:
    # Mapped anew for each chunk: written pages leave the process's memory.
    mapped = open_memmap(path, "r+")
    mapped[start : start + len(array)] = array
    mapped.flush()


def _write_journal(parts: Path, journal: dict) -> None:
    made = parts / "journal.tmp"
    made.write_text(json.dumps(journal, indent=1) + "\n", "utf-8")
    made.replace(parts / "journal.json")


def _read(folder: Path, expected: dict, rows: int) -> Store:
    try:
        journal = json.loads((folder / "journal.json").read_text("utf-8"))
        wrong = _differences(folder, journal, expected, rows)
    except (OSError, ValueError, LookupError) as error:
        wrong = [f"state: {type(error).__name__}, {error}"]
    if wrong:
        raise CacheError(
            "Stored arrays are not what their key promises",
            where=folder,
            found=f"another {listing(wrong)}",
            fix=f"delete the folder {folder.name} and run again",
        )
    return _opened(folder, journal["meta"], tuple(journal["arrays"]))


def _differences(folder: Path, journal: dict, expected: dict, rows: int) -> list[str]:
    wrong = [key for key, value in _keyed(expected).items() if journal["meta"].get(key) != value]
    done = journal["chunks"][-1]["stop"]
    if (done, journal["rows"]) != (rows, rows):
        wrong.append(f"number of rows ({done} of {journal['rows']} for {rows})")
    return (wrong + _misshapen(folder, journal)) or [
        f"content of {name}, rows {part['start']} to {part['stop'] - 1}"
        for name, part in _damaged(folder, journal)
    ]


def _opened(folder: Path, meta: dict, names: tuple[str, ...]) -> Store:
    return Store(folder, meta, {name: open_memmap(folder / f"{name}.npy", "r") for name in names})


def _misshapen(folder: Path, journal: dict) -> list[str]:
    """Files that are not the arrays of the journal; opening a cut one raises ValueError."""
    opened = _opened(folder, {}, tuple(journal["arrays"])).arrays
    found = _described(opened, journal["rows"])
    return [
        f"shape or type of {name}"
        for name, array in journal["arrays"].items()
        if found[name] != array or len(opened[name]) != journal["rows"]
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


def _keyed(meta: dict) -> dict:
    return {key: value for key, value in meta.items() if key not in _UNKEYED}


def _key(meta: dict) -> str:
    return hashlib.sha256(json.dumps(_keyed(meta), sort_keys=True).encode()).hexdigest()[:16]


CHUNK = 256

_UNKEYED_META = ("package", "model")
"""Recorded but not part of the key: a release must not throw every embedding away, and the
model's name stands beside the key."""

_FILES = ("embeddings.npy", "table.parquet", "meta.json")


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
        """Rows of a data set or of any subset of it, float32 of shape (len(dataset), D).

        Raises:
            CacheError: If an image was not embedded.
        """
        index = {name: row for row, name in enumerate(self.ids)}
        absent = [name for name in dataset.table["id"] if name not in index]
        if absent:
            raise CacheError("Images without embedding", found=listing(absent))
        return self.vectors[[index[name] for name in dataset.table["id"]]]


def cached_embeddings(
    cache_dir: Path, table: pd.DataFrame, meta: dict, embed: Callable[[range], np.ndarray]
) -> Embeddings:
    """Read an entry of the cache, or compute it in chunks and publish it.

    Args:
        cache_dir: Folder that all notebooks share.
        table: One row an image with the column id; it is kept beside the array.
        meta: What the embeddings depend on, as JSON; "model" and "dataset" name the entry.
        embed: Row numbers of up to 256 images to their embeddings, float32 of shape (n, D).

    Raises:
        CacheError: If the entry is not whole or holds something else than its key promises.
    """
    name = f"{slug(meta['model'])}-{meta['dataset']}-{_meta_key(meta)}"
    folder = Path(cache_dir) / "embeddings" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _compute_rows(folder, table, meta, embed)
        return _read_rows(folder, meta)


def _compute_rows(
    folder: Path, table: pd.DataFrame, meta: dict, embed: Callable[[range], np.ndarray]
) -> None:
    parts = folder.with_name(f"{folder.name}.partial")
    parts.mkdir(exist_ok=True)
    starts = range(0, len(table), CHUNK)
    chunks = {
        parts / f"{start:08d}.npy": range(start, min(start + CHUNK, len(table))) for start in starts
    }
    todo = [path for path, rows in chunks.items() if not _is_whole(path, len(rows))]
    label = f"{meta['model']} on {meta['dataset']}"
    for path in tqdm(todo, desc=label, unit="chunk", disable=None):
        _write_array(path, embed(chunks[path]))
    vectors = np.concatenate([np.load(path) for path in chunks])
    _publish(folder, vectors, table, meta)
    shutil.rmtree(parts)


def _publish(folder: Path, vectors: np.ndarray, table: pd.DataFrame, meta: dict) -> None:
    """Write array, table and meta to a temporary folder, then rename it."""
    made = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    np.save(made / "embeddings.npy", vectors)
    table.to_parquet(made / "table.parquet", index=False)
    content = {**meta, "shape": list(vectors.shape), "sha256": _sha256(made / "embeddings.npy")}
    (made / "meta.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    made.rename(folder)


def _read_rows(folder: Path, expected: dict) -> Embeddings:
    remedy = f"delete the folder {folder.name} and run again"
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise CacheError(
            "Cached embeddings are incomplete", where=folder, found=f"no {missing}", fix=remedy
        )
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    differing = [key for key, value in _keyed_meta(expected).items() if meta.get(key) != value]
    if differing or meta["sha256"] != _sha256(folder / "embeddings.npy"):
        raise CacheError(
            "Cached embeddings are not what their key promises",
            where=folder,
            found=f"another {listing(differing) or 'content of embeddings.npy'}",
            fix=remedy,
        )
    vectors = np.load(folder / "embeddings.npy", allow_pickle=False)
    ids = tuple(pd.read_parquet(folder / "table.parquet", columns=["id"])["id"])
    return Embeddings(vectors, ids, meta)


def _keyed_meta(meta: dict) -> dict:
    return {key: value for key, value in meta.items() if key not in _UNKEYED_META}


def _meta_key(meta: dict) -> str:
    return hashlib.sha256(json.dumps(_keyed_meta(meta), sort_keys=True).encode()).hexdigest()[:16]


def _write_array(path: Path, array: np.ndarray) -> None:
    made = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with made.open("wb") as file:
        np.save(file, array)
    made.replace(path)


def _read_array(path: Path) -> np.ndarray | None:
    """A cached array, or None when it is absent or not whole."""
    if not path.is_file():
        return None
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None


def _is_whole(path: Path, rows: int) -> bool:
    array = _read_array(path)
    return array is not None and len(array) == rows


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
