"""Data sets: readers that turn a folder into a checked table of images."""

from pathlib import Path

from fetalclip_nb.datasets.fass import read_fass
from fetalclip_nb.datasets.fetal_planes import (
    BRAIN_SUBPLANES,
    FIVE_PLANES,
    SIX_PLANES,
    brain_subplanes,
    five_planes,
    read_fetal_planes,
    six_planes,
)
from fetalclip_nb.datasets.focus import read_focus
from fetalclip_nb.datasets.hc18 import counted, fill_outline, read_hc18, read_head_mask
from fetalclip_nb.datasets.manifest import read_manifest
from fetalclip_nb.datasets.table import Dataset
from fetalclip_nb.errors import DataError

READERS = {
    "fetal_planes": read_fetal_planes,
    "hc18": read_hc18,
    "manifest": read_manifest,
    "fass": read_fass,
    "focus": read_focus,
}

__all__ = [
    "BRAIN_SUBPLANES",
    "FIVE_PLANES",
    "READERS",
    "SIX_PLANES",
    "Dataset",
    "brain_subplanes",
    "counted",
    "fill_outline",
    "five_planes",
    "load_dataset",
    "read_fass",
    "read_fetal_planes",
    "read_focus",
    "read_hc18",
    "read_head_mask",
    "read_manifest",
    "six_planes",
]


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
