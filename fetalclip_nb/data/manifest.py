"""A user's own images: a CSV that names them, their labels and their patients."""

import os
import posixpath
from pathlib import Path

from fetalclip_nb.data.dataset import (
    Dataset,
    build,
    read_csv,
    require_disjoint,
    require_known,
    to_numbers,
)
from fetalclip_nb.data.hc18 import HC_MM, PIXEL_MM, require_agreement
from fetalclip_nb.data.mask_files import decode_image
from fetalclip_nb.errors import refuse

SPLITS = ("train", "validation", "test", "")

_REQUIRED = ["image", "label", "patient"]

_NUMBERS = {"pixel_mm": PIXEL_MM, "hc_mm": HC_MM}

MASK_PREFIX = "mask_"
"""Columns ``mask_STRUCTURE`` name one mask a structure."""


def read_manifest(path: Path | str) -> Dataset:
    """Read a manifest.

    Args:
        path: A CSV with the columns image (path relative to the CSV's folder), label,
            patient and, where known, split ("train", "validation" or "test"), mask (path of
            a segmentation), mask_STRUCTURE (paths of the masks of each structure, as
            `masks.structure_task` reads them), pixel_mm and hc_mm (in mm, for every image
            or none; a mask_head must be of that size within 15 %, as a circumference may
            have been measured in another image); or a folder that holds a ``manifest.csv``.

    Returns:
        A data set with the columns id, path, patient, split, label and what else the CSV
        holds.
    """
    path = Path(path).expanduser()
    path = path / "manifest.csv" if path.is_dir() else path
    raw = read_csv(path, _REQUIRED)
    reserved = [column for column in ("id", "path") if column in raw]
    refuse(reserved, "Column names are reserved", where=path, fix="rename them")
    for column in _REQUIRED:
        lines = [f"line {number}" for number in raw.index[raw[column] == ""]]
        refuse(lines, "Empty value", where=f"{path}, column {column}", fix="fill it in")
    for column in ("label", "patient"):
        names = raw[column].drop_duplicates()
        twice = names[names.str.casefold().duplicated(keep=False)]
        at = f"{path}, column {column}"
        refuse(twice, "Names differ only in capitals", where=at, fix="write each in one way")
    _require_inside(raw["image"], path, "image")
    raw["image"] = raw["image"].map(posixpath.normpath)  # ./a.png is a.png
    if "split" not in raw:
        raw["split"] = ""
    require_known(raw["split"], SPLITS, column="split", where=path)
    table = raw.rename(columns={"image": "path"})
    table.insert(0, "id", table["path"])
    require_disjoint(table, path)
    _require_masks(table, path)
    for column in _NUMBERS.keys() & table:
        table[column] = to_numbers(table[column], where=path, within=_NUMBERS[column])
    dataset = build("manifest", path.parent.resolve(), table)
    if {*_NUMBERS, "mask_head"} <= set(table):
        require_agreement(dataset, "mask_head", decode_image, within=0.15)
    return dataset


def _require_inside(paths, manifest: Path, column: str) -> None:
    wrong = [p for p in paths if Path(p).is_absolute() or ".." in Path(p).parts]
    what, form = "Paths lead out of the manifest's folder", "paths relative to it, without '..'"
    refuse(wrong, what, where=f"{manifest}, column {column}", expected=form)


def _require_masks(table, path: Path) -> None:
    columns = [c for c in table if c == "mask" or c.startswith(MASK_PREFIX)]
    for column in columns:
        _require_inside(table[column], path, column)
    given = [mask for column in columns for mask in table[column] if mask]
    missing = [mask for mask in given if not os.path.isfile(path.parent / mask)]  # noqa: PTH113
    what = f"{len(missing)} of {len(given)} masks are missing"
    refuse(missing, what, where=path, fix="put them there or correct their paths")
