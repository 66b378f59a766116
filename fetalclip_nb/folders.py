"""A folder as a data set: in a layout that is known, or images alone."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fetalclip_nb.datasets import fass, fetal_planes, focus, hc18, load_dataset
from fetalclip_nb.datasets.table import Dataset, build
from fetalclip_nb.errors import DataError
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
    root = _require_folder(Path(folder).expanduser())
    kind = layout(root)
    return load_dataset(kind, root) if kind else unlabelled("folder", root, image_files([root]))


def _require_folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(
            "Not a folder" if path.exists() else "Data folder is missing",
            where=path,
            expected="a folder: FETAL_PLANES_DB, HC18, FASS, FOCUS, one with a manifest.csv, or a "
            "plain folder of images",
            found="a file" if path.exists() else "",
            fix="name the folder that the images lie in",
        )
    return path.resolve()


def layout(root: Path) -> str:
    """The kind of data set in a folder, or an empty string where it is none that is known."""
    kinds = (k for k, parts in _LAYOUTS.items() if all((root / part).exists() for part in parts))
    return next(kinds, "")


def unlabelled(name: str, root: Path, files: Sequence[Path]) -> Dataset:
    """Images alone as a data set: none has a label, each counts as a patient of its own.

    Args:
        name: Kind of data set, one of `datasets.table.PLAIN`.
        root: Folder that all of them lie in.
        files: The images; their paths below ``root`` become their ids.

    Raises:
        DataError: If there is none, or some are missing.
        ImageError: If images are damaged; all are named.
    """
    names = [file.relative_to(root).as_posix() for file in files]
    table = pd.DataFrame({"id": names, "path": names, "patient": names, "label": ""})
    return build(name, root, table)
