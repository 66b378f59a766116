"""HC18: fetal heads with circumference and pixel size (Zenodo 10.5281/zenodo.1327317)."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset, build, read_csv, require_root, to_numbers
from fetalclip_nb.data.images import image_size
from fetalclip_nb.errors import ImageError, refuse

TABLE = "training_set_pixel_size_and_HC.csv"

COUNTED_HC_MM = (100.0, 342.0)
"""Heads that the paper counts for gestational age, both ends included."""

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

    Source: van den Heuvel et al., Zenodo record 1327317.
    """
    root = require_root(root, "HC18")
    where = root / TABLE
    raw = read_csv(where, _COLUMNS)
    names = raw["filename"]
    refuse(
        names[~names.str.match(_NAME)],
        "File names are not of the HC18 form",
        where=where,
        expected="NNN_HC.png or NNN_2HC.png",
    )
    table = pd.DataFrame(
        {
            "id": names.str.removesuffix(".png"),
            "path": "training_set/" + names,
            "patient": names.str.extract(_NAME, expand=False),
            "split": "",
            "hc_mm": to_numbers(raw[_COLUMNS[2]], column=_COLUMNS[2], where=where),
            "pixel_mm": to_numbers(raw[_COLUMNS[1]], column=_COLUMNS[1], where=where),
        }
    )
    table["annotation"] = [_annotation(root, name) for name in table["id"]]
    sizes = np.array([_size(root / path) for path in table["path"]])
    return build("hc18", root, table.assign(width=sizes[:, 0], height=sizes[:, 1]))


def counted(dataset: Dataset) -> np.ndarray:
    """Rows whose true circumference the paper counts (100 to 342 mm), boolean (N,)."""
    low, high = COUNTED_HC_MM
    return dataset.table["hc_mm"].between(low, high).to_numpy()


def _annotation(root: Path, name: str) -> str:
    path = f"training_set/{name}_Annotation.png"
    return path if (root / path).is_file() else ""


def _size(path: Path) -> tuple[int, int]:
    try:
        return image_size(path)
    except ImageError:  # named with all others that are missing or broken when the set is built
        return 0, 0
