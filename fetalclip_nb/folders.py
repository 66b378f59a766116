"""A folder as a data set: in a layout that is known, or images alone."""

from pathlib import Path

import pandas as pd

from fetalclip_nb.datasets import fass, fetal_planes, focus, hc18, load_dataset
from fetalclip_nb.datasets.table import Dataset, build, require_root
from fetalclip_nb.inputs import image_files

_LAYOUTS = {
    "fetal_planes": (fetal_planes.TABLE,),
    "hc18": (hc18.TABLE,),
    "manifest": ("manifest.csv",),
    "fass": (fass.IMAGES, fass.ARRAYS),
    "focus": tuple(f"{split}/{focus.IMAGES}" for split in focus.SPLITS),
}
"""What a folder of each kind holds."""


def open_folder(folder: Path | str) -> Dataset:
    """Read a data set in any layout that is known, or a plain folder of images.

    Args:
        folder: FETAL_PLANES_DB, HC18, FASS, FOCUS, a folder with a ``manifest.csv``, or one with
            images alone, in it and in its folders; each of those counts as a patient of its own
            and has no label.

    Raises:
        DataError: If the folder is missing or holds no image, or what its reader finds wrong.
        ImageError: If images are damaged; all are named.
    """
    root = require_root(folder, "FETAL_PLANES_DB, HC18, FASS, FOCUS or manifest")
    kind = layout(root)
    return load_dataset(kind, root) if kind else _plain(root)


def layout(root: Path) -> str:
    """The kind of data set in a folder, or an empty string where it is none that is known."""
    kinds = (k for k, parts in _LAYOUTS.items() if all((root / part).exists() for part in parts))
    return next(kinds, "")


def _plain(root: Path) -> Dataset:
    names = [path.relative_to(root).as_posix() for path in image_files([str(root)])]
    table = pd.DataFrame({"id": names, "path": names, "patient": names, "label": ""})
    return build("folder", root, table)
