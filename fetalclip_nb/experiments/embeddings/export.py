"""Embeddings as files for other programs: one table with a vector a row, one set of arrays."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import DataError, listing
from fetalclip_nb.files import DAMAGE, whole
from fetalclip_nb.models.store import Embeddings

SUFFIXES = (".parquet", ".npz")

_VECTORS = {".parquet": "embedding", ".npz": "vectors"}

_META = "made_with"

_RESERVED = (*_VECTORS.values(), _META, "file", "allow_pickle")
"""Names of our own, and the parameters of NumPy's savez, which takes arrays by keyword."""

_NEEDED = ("id", "path", "patient")


@dataclass(frozen=True)
class Export:
    """What an exported file holds.

    Attributes:
        vectors: Un-normalised, float32 of shape (N, D).
        table: One row an image: id, path (relative to the data set's folder), patient, and
            what else the data set knows (label, plane, machine, operator, ...).
        meta: What the embeddings were computed with: model, its fingerprint, data set, ...
    """

    vectors: np.ndarray
    table: pd.DataFrame
    meta: dict


def export_embeddings(stem: Path | str, embedded: Embeddings, dataset: Dataset) -> list[Path]:
    """Write embeddings with everything that is known of their images, in two formats.

    The first is STEM.parquet with a column "embedding" (a list of float32) beside the columns
    of the table; the second is STEM.npz with the array "vectors" and an array for each column,
    which needs nothing but NumPy and holds no pickled objects.

    Args:
        stem: Path without suffix; its folder is made.
        embedded: Embeddings of a data set.
        dataset: That data set, or a subset of it, whose rows are written.

    Returns:
        Both files.

    Raises:
        CacheError: If an image was not embedded.
        DataError: If a column of the table has a name that the files or NumPy need.
    """
    taken = [name for name in _RESERVED if name in dataset.table]
    if taken:
        raise DataError(
            "Column names are reserved",
            where=dataset.root,
            found=listing(taken),
            fix="rename these columns",
        )
    vectors = np.ascontiguousarray(embedded.of(dataset), dtype=np.float32)
    table = dataset.table
    meta = json.dumps({key: embedded.meta[key] for key in sorted(embedded.meta)})
    arrays = {name: _plain(table[name]) for name in table}
    rows = table.assign(**{_VECTORS[".parquet"]: list(vectors)})
    rows.attrs[_META] = meta

    files = [Path(f"{stem}{suffix}") for suffix in SUFFIXES]
    with whole(files[0]) as table_file, whole(files[1]) as array_file:
        rows.to_parquet(table_file, index=False)
        np.savez_compressed(array_file, vectors=vectors, **arrays, **{_META: np.array(meta)})
    return files


def load_export(path: Path | str) -> Export:
    """Read a file that `export_embeddings` wrote.

    Args:
        path: A .parquet or .npz file.

    Raises:
        DataError: If the file is missing, damaged or of another kind, or its vectors are not
            finite, of one length, or as many as the ids, which occur once each.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise DataError(
            "No file of exported embeddings", where=path, expected=f"a {' or '.join(SUFFIXES)} file"
        )
    try:
        found = _READERS[path.suffix](path)
    except DAMAGE as error:
        raise DataError(
            "Exported embeddings cannot be read",
            where=path,
            expected="a file that export_embeddings has written",
            found=f"{type(error).__name__}: {error}",
            fix="export them again",
        ) from None
    _require_whole(found, path)
    return found


def _read_parquet(path: Path) -> Export:
    rows = pd.read_parquet(path)
    meta = json.loads(rows.attrs[_META])
    vectors = np.stack(rows[_VECTORS[path.suffix]].to_list())
    rows.attrs = {}
    return Export(vectors, rows.drop(columns=_VECTORS[path.suffix]), meta)


def _read_npz(path: Path) -> Export:
    with np.load(path, allow_pickle=False) as arrays:
        columns = {name: arrays[name] for name in arrays.files}
    vectors, meta = columns.pop(_VECTORS[path.suffix]), columns.pop(_META)
    return Export(vectors, pd.DataFrame(columns), json.loads(str(meta)))


_READERS = {".parquet": _read_parquet, ".npz": _read_npz}


def _require_whole(export: Export, path: Path) -> None:
    vectors, table = export.vectors, export.table
    wrong = [f"no column {name}" for name in _NEEDED if name not in table]
    if vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) != len(table):
        wrong.append(f"vectors {vectors.shape} {vectors.dtype} for {len(table)} images")
    elif not np.isfinite(vectors).all():
        wrong.append("vectors that are not finite")
    if "id" in table and table["id"].duplicated().any():
        wrong.append("ids that occur twice")
    if wrong:
        raise DataError(
            "Exported embeddings are not whole",
            where=path,
            expected="one finite float32 vector an image, each image once",
            found=listing(wrong),
            fix="export them again",
        )


def _plain(column: pd.Series) -> np.ndarray:
    """A column as NumPy stores it without pickling: numbers, or text of a fixed width."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    return column.fillna("").astype(str).to_numpy(dtype=np.str_)
