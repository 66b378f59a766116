"""HC18: fetal heads with circumference and pixel size (Zenodo 10.5281/zenodo.1327317)."""

import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from fetalclip_nb.datasets.table import Dataset, build, read_csv, require_root, to_numbers
from fetalclip_nb.errors import DataError, ImageError, listing
from fetalclip_nb.images import image_size, read_mask

TABLE = "training_set_pixel_size_and_HC.csv"
COUNTED_HC_MM = (100.0, 342.0)
"""Heads that the paper counts for gestational age, both ends included."""

CLOSED = 0.8
"""Share of its convex hull that a closed outline has inside, at least."""

_COLUMNS = ["filename", "pixel size(mm)", "head circumference (mm)"]
_NAME = re.compile(r"^(\d+)_\d*HC\.png$")


def read_hc18(root: Path | str) -> Dataset:
    """Read the HC18 training set, or anything in its layout.

    Args:
        root: Folder with ``training_set/NNN_HC.png`` (``NNN_2HC.png``, ... are further
            images of patient NNN), ``NNN_HC_Annotation.png`` and the table of pixel sizes.

    Returns:
        A data set with the columns id, path, patient, split (""), hc_mm, pixel_mm, width,
        height (pixels), annotation (path, "" where the file is missing).

    Raises:
        DataError: Missing folder, table, column or image; a name or number out of form.

    Source: van den Heuvel et al., Zenodo record 1327317.
    """
    root = require_root(root, "HC18")
    where = root / TABLE
    raw = read_csv(where, _COLUMNS)
    wrong = ~raw["filename"].str.match(_NAME)
    if wrong.any():
        raise DataError(
            "File names are not of the HC18 form",
            where=where,
            expected="NNN_HC.png or NNN_2HC.png",
            found=listing(raw.loc[wrong, "filename"]),
        )
    table = pd.DataFrame(
        {
            "id": raw["filename"].str.removesuffix(".png"),
            "path": "training_set/" + raw["filename"],
            "patient": raw["filename"].str.extract(_NAME, expand=False),
            "split": "",
            "hc_mm": to_numbers(raw[_COLUMNS[2]], column=_COLUMNS[2], where=where),
            "pixel_mm": to_numbers(raw[_COLUMNS[1]], column=_COLUMNS[1], where=where),
        }
    )
    table["annotation"] = [_annotation(root, name) for name in table["id"]]
    sizes = _sizes(root, table["path"])
    return build("hc18", root, table.assign(width=sizes[:, 0], height=sizes[:, 1]))


def counted(dataset: Dataset) -> np.ndarray:
    """Rows whose true circumference the paper counts (100 to 342 mm), boolean (N,)."""
    low, high = COUNTED_HC_MM
    return dataset.table["hc_mm"].between(low, high).to_numpy()


def fill_outline(mask: np.ndarray) -> np.ndarray:
    """Turn an outline into a filled region; a filled annotation comes back unchanged.

    An outline with a gap, or one that the picture's edge cuts, has no inside: it is closed by
    straight lines, as the convex hull of its pixels. Heads are drawn as ellipses, which are
    convex.

    Args:
        mask: Boolean array (height, width).

    Returns:
        Boolean array of the same shape, with everything inside the outermost contours.

    Raises:
        DataError: If the mask is empty.
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not contours:
        raise DataError("Annotation is empty", expected="an outline or a filled region")
    closed, hull = _drawn(contours, mask.shape), _hull(contours)
    if closed.sum() < CLOSED * cv2.contourArea(hull):
        closed = _drawn([hull], mask.shape)
    return closed


def read_head_mask(dataset: Dataset, row: int) -> np.ndarray:
    """Filled head of one image: boolean (height, width).

    Args:
        dataset: As given by `read_hc18`.
        row: Position in the table.

    Raises:
        DataError: If the annotation is missing, empty or of another size than its image.
    """
    record = dataset.table.iloc[row]
    if not record["annotation"]:
        raise DataError("Annotation is missing", where=record["path"])
    path = dataset.root / record["annotation"]
    mask = read_mask(path)
    if mask.shape != (record["height"], record["width"]):
        raise DataError(
            "Annotation and image differ in size",
            where=path,
            expected=f"{record['width']}x{record['height']}",
            found=f"{mask.shape[1]}x{mask.shape[0]}",
        )
    return fill_outline(mask)


def _drawn(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The inside of contours, boolean of a shape."""
    filled = np.zeros(shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, thickness=cv2.FILLED)
    return filled.astype(bool)


def _hull(contours: Sequence[np.ndarray]) -> np.ndarray:
    return cv2.convexHull(np.concatenate(contours))


def _annotation(root: Path, name: str) -> str:
    path = f"training_set/{name}_Annotation.png"
    return path if (root / path).is_file() else ""


def _sizes(root: Path, paths: pd.Series) -> np.ndarray:
    sizes, missing = [], []
    for path in paths:
        try:
            sizes.append(image_size(root / path))
        except ImageError:
            missing.append(path)
            sizes.append((0, 0))
    absent = [path for path in missing if not (root / path).is_file()]
    if absent:
        raise DataError(
            f"{len(absent)} of {len(paths)} image files are missing",
            where=root,
            found=f"no {listing(absent)}",
            fix="unpack the data set again or drop these rows from the table",
        )
    # An unreadable header is reported with all broken images when the data set is built.
    return np.array(sizes)
