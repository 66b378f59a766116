"""HC18: fetal heads with circumference and pixel size (Zenodo 10.5281/zenodo.1327317)."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import (
    Dataset,
    build,
    image_sizes,
    read_csv,
    require_root,
    to_numbers,
)
from fetalclip_nb.data.mask_files import Flaw, decode_outline
from fetalclip_nb.errors import refuse
from fetalclip_nb.growth import perimeter
from fetalclip_nb.memory import remembered

TABLE = "training_set_pixel_size_and_HC.csv"

COUNTED_HC_MM = (100.0, 342.0)
"""Heads that the paper counts for gestational age, both ends included."""

PIXEL_MM, HC_MM = (0.02, 5.0), (30.0, 500.0)
"""What sides of pixels and circumferences can be: others are of another unit or column."""

_COLUMNS = ["filename", "pixel size(mm)", "head circumference (mm)"]

_NAME = re.compile(r"^(\d+)_\d*HC\.png$")

_FEWEST = 6  # boundary pixels: an ellipse has five unknowns


def read_hc18(root: Path | str) -> Dataset:
    """Read the HC18 training set, or anything in its layout.

    Args:
        root: Folder with ``training_set/NNN_HC.png`` (``NNN_2HC.png``, ... are further
            images of examination NNN), ``NNN_HC_Annotation.png`` and the table of pixel sizes.

    Returns:
        A data set with the columns id, path, patient (NNN), split (""), hc_mm, pixel_mm, width,
        height (pixels), annotation (path, "" where the file is missing).

    Source: van den Heuvel et al., Zenodo record 1327317.
    """
    root = require_root(root, "HC18")
    where = root / TABLE
    raw = read_csv(where, _COLUMNS)
    names = raw["filename"]
    wrong, form = names[~names.str.match(_NAME)], "NNN_HC.png or NNN_2HC.png"
    refuse(wrong, "File names are not of the HC18 form", where=where, expected=form)
    table = pd.DataFrame(
        {
            "id": names.str.removesuffix(".png"),
            "path": "training_set/" + names,
            "patient": names.str.extract(_NAME, expand=False),
            "split": "",
            "hc_mm": to_numbers(raw[_COLUMNS[2]], where=where, within=HC_MM),
            "pixel_mm": to_numbers(raw[_COLUMNS[1]], where=where, within=PIXEL_MM),
        }
    )
    table["annotation"] = [_annotation(root, name) for name in table["id"]]
    width, height = image_sizes(root, table["path"]).T
    dataset = build("hc18", root, table.assign(width=width, height=height))
    require_agreement(dataset, "annotation", decode_outline, within=0.05)  # real ones: 0.011
    return dataset


def require_agreement(dataset: Dataset, column: str, decode: Callable, *, within: float) -> None:
    """Refuse heads whose outlines x pixel_mm are not the table's hc_mm.

    Args:
        dataset: With both columns, in mm.
        column: Names each head's outline or mask, or is "". One that has no ellipse or cannot be
            read is left to those who need it.
        decode: Turns a file's bytes into regions (see `mask_files.MaskReader`).
        within: Largest share by which they may differ.
    """
    heads = dataset.table[dataset.table[column] != ""]
    files = [*heads[[column, "path"]].itertuples(index=False, name=None)]
    areas = image_sizes(dataset.root, heads["path"]).prod(axis=1)

    def length(row: int) -> list[str | float | None]:
        data = (dataset.root / files[row][0]).read_bytes()
        (region,) = decode(data, ("head",))
        pixels = np.nan
        if not isinstance(region, Flaw):  # images may be resized without their outlines
            pixels = perimeter(*semi_axes(region)) * np.sqrt(areas[row] / region.size)
        return [hashlib.sha256(data).hexdigest(), None if np.isnan(pixels) else float(pixels)]

    found = remembered(f"length {decode.__name__}", dataset.root, files, length)
    pixels = np.array([pixels for _, pixels in found], float)
    heads = heads.assign(outline_mm=pixels * heads["pixel_mm"])
    ratio = heads["hc_mm"] / heads["outline_mm"]
    wrong = (ratio - 1).abs() > within  # never true of NaN
    rows = heads.loc[wrong, ["id", "hc_mm", "outline_mm"]].itertuples(index=False)
    refuse(
        ["{} (table {:.1f} mm, outline {:.1f} mm)".format(*row) for row in rows],
        f"Table and outlines x pixel size contradict each other in {wrong.sum()} heads",
        where=dataset.root,
        expected=f"the same circumference within {within:.0%}",
        fix=f"multiply pixel sizes by {ratio[wrong].median():.3g} if pictures were resized, "
        "write both columns in mm, or correct these rows and outlines",
    )


def semi_axes(mask: np.ndarray) -> tuple[float, float]:
    """Semi-axes of the ellipse through the boundary of the largest region.

    Least squares through the centres of its outermost pixels, where the outline was drawn; the
    region's edge lies half a pixel farther out. Pixels at the image's own border are left out:
    there the picture ends, not the head.

    Args:
        mask: Boolean, shape (height, width); holes and smaller regions do not matter.

    Returns:
        The longer and the shorter one in pixels; NaN where the mask is empty, or the ellipse
        would be thinner than two pixels or longer than the image's diagonal.

    Source: Fitzgibbon, Pilu and Fisher, 10.1109/34.765658 (``cv2.fitEllipseDirect``).
    """
    outline = _outline(mask)
    if len(outline) < _FEWEST:
        return np.nan, np.nan
    axes = cv2.fitEllipseDirect(outline)[1]
    # Not a number fails these comparisons too.
    if min(axes) >= 2 and max(axes) <= np.hypot(*mask.shape):
        return max(axes) / 2, min(axes) / 2
    return np.nan, np.nan


def counted(dataset: Dataset) -> np.ndarray:
    """Rows whose true circumference the paper counts (100 to 342 mm), boolean (N,)."""
    low, high = COUNTED_HC_MM
    return dataset.table["hc_mm"].between(low, high).to_numpy()


def _annotation(root: Path, name: str) -> str:
    path = f"training_set/{name}_Annotation.png"
    return path if os.path.isfile(root / path) else ""  # noqa: PTH113 (names too long, too)


def _outline(mask: np.ndarray) -> np.ndarray:
    """Boundary pixels of the largest region, but for those at the border, int (k, 2) as x, y."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not found:
        return np.empty((0, 2), np.int32)
    points = max(found, key=cv2.contourArea)[:, 0]
    last = np.array(mask.shape[::-1]) - 1
    return np.ascontiguousarray(points[((points > 0) & (points < last)).all(1)])
