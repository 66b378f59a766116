"""Every kind of data set, once: its reader and the layout by which it is known."""

from pathlib import Path

from fetalclip_nb.data import fass, fetal_planes, focus, hc18
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fass import read_fass
from fetalclip_nb.data.fetal_planes import read_fetal_planes
from fetalclip_nb.data.focus import read_focus
from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.data.manifest import read_manifest
from fetalclip_nb.errors import DataError

READERS = {
    "fetal_planes": read_fetal_planes,
    "hc18": read_hc18,
    "manifest": read_manifest,
    "fass": read_fass,
    "focus": read_focus,
}


def load_dataset(kind: str, root: Path | str) -> Dataset:
    """Read a data set by kind.

    Args:
        kind: "fetal_planes", "hc18", "manifest", "fass" or "focus".
        root: Its folder (a manifest: the CSV or its folder).

    Raises:
        DataError: Unknown kind, or whatever the reader finds wrong.
    """
    if kind not in READERS:
        raise DataError("Unknown kind of data set", expected=", ".join(READERS), found=kind)
    return READERS[kind](root)


_LAYOUTS = {
    "fetal_planes": (fetal_planes.TABLE,),
    "hc18": (hc18.TABLE,),
    "manifest": ("manifest.csv",),
    "fass": (fass.IMAGES, fass.ARRAYS),
    "focus": tuple(f"{split}/{focus.IMAGES}" for split in focus.SPLITS),
}
"""What a folder of each kind holds."""


def layout(root: Path) -> str:
    """The kind of data set in a folder, or an empty string where it is none that is known."""
    kinds = (k for k, parts in _LAYOUTS.items() if all((root / part).exists() for part in parts))
    return next(kinds, "")
