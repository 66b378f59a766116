"""Every kind of data set, once: its reader, its layout, its phantoms and its masks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fetalclip_nb.data import african_planes, fass, fetal_planes, focus, hc18
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.manifest import read_manifest
from fetalclip_nb.data.mask_files import decode_bright, decode_image, decode_outline
from fetalclip_nb.errors import DataError
from fetalclip_nb.phantoms.chd import write_chd
from fetalclip_nb.phantoms.cohorts import write_african_planes, write_fetal_planes, write_hc18
from fetalclip_nb.phantoms.organs import ORGANS, write_organs


@dataclass(frozen=True)
class Masks:
    """Where the masks of a kind of data set are.

    Attributes:
        decode: Turns the bytes of a file into masks (see `MaskReader`).
        structures: What all masks show; () where columns mask_STRUCTURE of the table name it.
        column: Column of the table with one file for all structures; "" for columns
            mask_STRUCTURE with one file each.
        stand_in: That the data set stands in for the paper's private one, "" if it does not.
    """

    decode: Callable
    structures: tuple[str, ...] = ()
    column: str = ""
    stand_in: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of data set.

    Attributes:
        read: Reader of its folder (a manifest: of the CSV or its folder).
        layout: Files and folders by which a folder of it is known.
        phantoms: What phantoms may show to their writer; the first where a profile does not say.
        masks: None where it has none.
    """

    read: Callable[[Path | str], Dataset]
    layout: tuple[str, ...]
    phantoms: Mapping[str, Callable] = field(default_factory=dict)
    masks: Masks | None = None


STAND_IN = "{}, a stand-in, not a reproduction"

KINDS = {
    "fetal_planes": Kind(
        fetal_planes.read_fetal_planes, (fetal_planes.TABLE,), {"planes": write_fetal_planes}
    ),
    "african_planes": Kind(
        african_planes.read_african_planes,
        (african_planes.TABLE,),
        {"planes": write_african_planes},
    ),
    "hc18": Kind(
        hc18.read_hc18,
        (hc18.TABLE,),
        {"heads": write_hc18},
        Masks(decode_outline, ("head",), "annotation"),
    ),
    "manifest": Kind(
        read_manifest,
        ("manifest.csv",),
        {"chd": write_chd} | {view: partial(write_organs, view=view) for view in ORGANS},
        Masks(decode_image),
    ),
    "fass": Kind(
        fass.read_fass,
        (fass.IMAGES, fass.ARRAYS),
        masks=Masks(fass.decode_arrays, fass.STRUCTURES, "arrays", STAND_IN.format("FASS")),
    ),
    "focus": Kind(
        focus.read_focus,
        tuple(f"{split}/{focus.IMAGES}" for split in focus.SPLITS),
        # No record says which values these masks have; public code cuts them at 127, the middle.
        masks=Masks(decode_bright, stand_in=STAND_IN.format("FOCUS")),
    ),
}

CLASSIFIED = ("fetal_planes", "manifest")
"""Kinds whose images have a label each, which models can be asked for and taught."""


def load_dataset(kind: str, root: Path | str) -> Dataset:
    """Read a data set of one of the `KINDS` from its folder (a manifest: the CSV or its folder).

    Raises:
        DataError: Unknown kind, or whatever the reader finds wrong.
    """
    if kind not in KINDS:
        raise DataError("Unknown kind of data set", expected=", ".join(KINDS), found=kind)
    return KINDS[kind].read(root)


def kind_of(root: Path) -> str:
    """The kind of data set in a folder or CSV, or an empty string where it is none."""
    if root.suffix == ".csv":
        return "manifest"
    known = (k for k, kind in KINDS.items() if all((root / part).exists() for part in kind.layout))
    return next(known, "")
