"""A user's own images: a CSV that names them, their labels and their patients."""

from pathlib import Path

from fetalclip_nb.data.dataset import (
    Dataset,
    build,
    read_csv,
    require_disjoint,
    require_known,
    to_numbers,
)
from fetalclip_nb.errors import DataError, listing, refuse

SPLITS = ("train", "validation", "test", "")

_REQUIRED = ["image", "label", "patient"]

_NUMBERS = ("pixel_mm", "hc_mm")

MASK_PREFIX = "mask_"
"""Columns ``mask_STRUCTURE`` name one mask a structure."""


def read_manifest(path: Path | str) -> Dataset:
    """Read a manifest.

    Args:
        path: A CSV with the columns image (path relative to the CSV's folder), label,
            patient and, where known, split ("train", "validation" or "test"), mask (path of
            a segmentation), mask_STRUCTURE (paths of the masks of each structure, as
            `masks.structure_task` reads them), pixel_mm and hc_mm (in mm, for every image
            or none); or a folder that holds a ``manifest.csv``.

    Returns:
        A data set with the columns id, path, patient, split, label and what else the CSV
        holds.
    """
    path = Path(path).expanduser()
    path = path / "manifest.csv" if path.is_dir() else path
    if not path.is_file():
        raise DataError(
            "Manifest is missing",
            where=path,
            expected=f"a CSV with the columns {', '.join(_REQUIRED)}",
            fix="name the folder that holds manifest.csv, or the CSV itself",
        )
    raw = read_csv(path, _REQUIRED)
    reserved = [column for column in ("id", "path") if column in raw]
    refuse(reserved, "Column names are reserved", where=path, fix="rename them")
    for column in _REQUIRED:
        lines = [f"line {number + 2}" for number in raw.index[raw[column] == ""]]
        refuse(lines, "Empty value", where=f"{path}, column {column}")
    _require_inside(raw["image"], path, "image")
    if "split" in raw:
        require_known(raw["split"], SPLITS, column="split", where=path)
    table = raw.rename(columns={"image": "path"})
    table.insert(0, "id", table["path"])
    if "split" not in table:
        table["split"] = ""
    require_disjoint(table, path)
    _require_masks(table, path)
    for column in _NUMBERS:
        if column in table:
            table[column] = to_numbers(table[column], column=column, where=path)
    return build("manifest", path.parent.resolve(), table)


def _require_inside(paths, manifest: Path, column: str) -> None:
    refuse(
        [p for p in paths if Path(p).is_absolute() or ".." in Path(p).parts],
        "Paths lead out of the manifest's folder",
        where=f"{manifest}, column {column}",
        expected="paths relative to the folder of the manifest, without '..'",
    )


def _require_masks(table, path: Path) -> None:
    columns = [c for c in table if c == "mask" or c.startswith(MASK_PREFIX)]
    for column in columns:
        _require_inside(table[column], path, column)
    given = [mask for column in columns for mask in table[column] if mask]
    missing = [mask for mask in given if not (path.parent / mask).is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(given)} masks are missing",
            where=path,
            found=f"no {listing(missing)}",
            fix="put them there or correct their paths",
        )
