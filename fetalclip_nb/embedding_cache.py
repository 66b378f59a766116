"""Embeddings on disk: written whole or not at all, checked when read, one writer at a time."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
from tqdm import tqdm

from fetalclip_nb.datasets.table import Dataset
from fetalclip_nb.errors import CacheError, listing

CHUNK = 256
_UNKEYED = ("package", "model")
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
    name = f"{slug(meta['model'])}-{meta['dataset']}-{_key(meta)}"
    folder = Path(cache_dir) / "embeddings" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            _compute(folder, table, meta, embed)
        return _read(folder, meta)


def cached_array(path: Path, *, rows: int, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Read an array of a known length, or compute and keep it; a damaged file is replaced.

    Args:
        path: File (.npy).
        rows: Length of the array.
        compute: Gives the array where there is no whole one.

    Raises:
        CacheError: If the file holds an array of another length.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        array = _read_array(path)
        if array is None:
            array = compute()
            _write_array(path, array)
    if len(array) != rows:
        raise CacheError(
            "Cached array has another length", where=path, expected=rows, found=len(array)
        )
    return array


def slug(name: str) -> str:
    """A name as it may stand in a file name.

    >>> slug("FetalCLIP (paper)")
    'FetalCLIP-paper-'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "-", name)


def _compute(
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


def _read(folder: Path, expected: dict) -> Embeddings:
    remedy = f"delete the folder {folder.name} and run again"
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise CacheError(
            "Cached embeddings are incomplete", where=folder, found=f"no {missing}", fix=remedy
        )
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    differing = [key for key, value in _keyed(expected).items() if meta.get(key) != value]
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


def _keyed(meta: dict) -> dict:
    return {key: value for key, value in meta.items() if key not in _UNKEYED}


def _key(meta: dict) -> str:
    return hashlib.sha256(json.dumps(_keyed(meta), sort_keys=True).encode()).hexdigest()[:16]


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
