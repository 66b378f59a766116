"""Embeddings as files for other programs: one table with a vector a row, one set of arrays."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import DataError, reading, refuse
from fetalclip_nb.files import key, whole
from fetalclip_nb.models.store import Embeddings

SUFFIXES = (".parquet", ".npz")

_META = "made_with"

_RESERVED = ("embedding", "vectors", _META, "file", "allow_pickle")
"""Names of our own, and the parameters of NumPy's savez, which takes arrays by keyword."""


@dataclass(frozen=True)
class Export:
    """What an exported file holds.

    Attributes:
        vectors: Un-normalised, float32 of shape (N, D).
        table: One row an image: id, path (relative to the data set's folder), patient, label, ...
        meta: What the embeddings were computed with: model, its fingerprint, data set, ...
    """

    vectors: np.ndarray
    table: pd.DataFrame
    meta: dict


def export_embeddings(stem: Path, embedded: Embeddings, dataset: Dataset) -> None:
    """Write embeddings with everything that is known of their images, in two formats.

    STEM.parquet has a column "embedding" (a list of float32) beside the columns of the table.
    STEM.npz has the array "vectors" and an array for each column, needs nothing but NumPy and
    holds no pickled objects.

    Args:
        stem: Path without suffix; its folder is made.
        embedded: Embeddings of a data set.
        dataset: That data set, or a subset of it, whose rows are written.

    Raises:
        DataError: If a column of the table has a name that the files or NumPy need.
    """
    table = dataset.table
    taken = [name for name in _RESERVED if name in table]
    refuse(taken, "Column names are reserved", where=dataset.root, fix="rename these columns")
    vectors = embedded.of(dataset)
    columns = {name: _plain(table[name]) for name in table}
    arrays = columns | {_META: _made_with(embedded.meta, vectors, pd.DataFrame(columns))}
    rows = table.assign(embedding=list(vectors))
    rows.attrs[_META] = _made_with(embedded.meta, vectors, table)
    parquet, npz = (Path(f"{stem}{suffix}") for suffix in SUFFIXES)
    with whole(parquet) as table_file, whole(npz) as array_file:
        rows.to_parquet(table_file, index=False)
        np.savez_compressed(array_file, vectors=vectors, **arrays)


def load_export(path: Path | str) -> Export:
    """Read a .parquet or .npz file that `export_embeddings` wrote.

    Raises:
        DataError: If the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise DataError("No .parquet or .npz file of exported embeddings", where=path)
    with reading(path, "Exported embeddings cannot be read", fix="export them again"):
        export = _read_parquet(path) if path.suffix == ".parquet" else _read_npz(path)
        if export.vectors.ndim != 2 or not np.isfinite(export.vectors).all():
            raise ValueError(f"vectors of shape {export.vectors.shape}, or not finite")
        if export.table[["id", "path", "patient"]]["id"].duplicated().any():
            raise ValueError("ids that occur twice")
        if export.meta.pop("sum", None) not in (None, _sum(**vars(export))):  # None: old files
            raise ValueError("another content than was written")
    return export


def _sum(vectors: np.ndarray, table: pd.DataFrame, meta: dict) -> str:
    return key([meta, table.to_csv(index=False)], vectors)


def _made_with(meta: dict, vectors: np.ndarray, table: pd.DataFrame) -> str:
    return json.dumps({**meta, "sum": _sum(vectors, table, meta)}, sort_keys=True)


def _read_parquet(path: Path) -> Export:
    rows = pd.read_parquet(path)
    vectors, meta = np.stack(rows.pop("embedding")), json.loads(rows.attrs.pop(_META))
    return Export(vectors, rows, meta)


def _read_npz(path: Path) -> Export:
    with np.load(path, allow_pickle=False) as arrays:
        columns = dict(arrays)
    vectors, meta = columns.pop("vectors"), json.loads(str(columns.pop(_META)))
    return Export(vectors, pd.DataFrame(columns, index=range(len(vectors))), meta)


def _plain(column: pd.Series) -> np.ndarray:
    """A column as NumPy stores it without pickling: numbers, or text of a fixed width."""
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy()
    return column.fillna("").astype(str).to_numpy(dtype=np.str_)
