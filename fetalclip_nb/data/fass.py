"""FASS: abdominal structures in ultrasound images (Mendeley Data 10.17632/4gcpm9dsc3.1)."""

import io
import math
import pickle
import pickletools
import re
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset, build, refuse_lone_masks, require_root
from fetalclip_nb.data.mask_files import MISSING, Flaw
from fetalclip_nb.errors import refuse

IMAGES, ARRAYS = "IMAGES", "ARRAY_FORMAT"

STRUCTURES = ("stomach", "artery", "liver", "vein")
"""Annotated in each image; of the paper's abdominal structures only the stomach is here."""

_NAME = re.compile(r"^(P\d+)_IMG\d+$")

_MODULES = re.compile(r"numpy(\._?core\.(multiarray|numeric))?")


def read_fass(root: Path | str) -> Dataset:
    """Read a folder with ``IMAGES/PNN_IMGMM.png`` and ``ARRAY_FORMAT/PNN_IMGMM.npy``, as FASS.

    Returns:
        A data set with the columns id, path, patient (the file name's PNN), split (""),
        arrays (path of the masks).

    Source: Mendeley Data 10.17632/4gcpm9dsc3.1; 1,588 images of 169 pregnancies. That PNN is the
    pregnancy was read in public code (169 of them, 3 to 17 images each), not in the record. It
    names no split, machine or pixel size.
    """
    root = require_root(root, "FASS")
    names = sorted(path.stem for path in (root / IMAGES).glob("*.png"))
    refuse(
        [name for name in names if not _NAME.match(name)],
        "File names are not of the FASS form",
        where=root / IMAGES,
        expected="PNN_IMGMM.png",
        fix="name each image by its patient, or bring it as a manifest",
    )
    arrays = [f"{name}.npy" for name in names]
    form = f"{IMAGES}/NAME.png for each {ARRAYS}/NAME.npy"
    refuse_lone_masks(root / ARRAYS, arrays, expected=form)
    columns = {
        "id": names,
        "path": [f"{IMAGES}/{name}.png" for name in names],
        "patient": [_NAME.match(name).group(1) for name in names],
        "split": "",
        "arrays": [f"{ARRAYS}/{name}" for name in arrays],
    }
    return build("fass", root, pd.DataFrame(columns, dtype=object))


def decode_arrays(data: bytes, structures: tuple[str, ...]) -> list[np.ndarray | Flaw]:
    """Masks of a FASS file: a NumPy file that holds a pickled dict with key "structures".

    Unpickling can run any code, so only NumPy's arrays are rebuilt and all else is refused. For
    each structure its array (height, width) is given back, or what is wrong with it.
    """
    try:
        content = _content(data)
    except _Refused as refused:
        flaw = Flaw(
            f"asks to run {refused}, which no array needs",
            "do not trust such a file: get it from the publisher's own page",
        )
        return [flaw] * len(structures)
    except Exception:  # a damaged pickle can raise anything
        return [Flaw("damaged, or no FASS file", MISSING.fix)] * len(structures)
    return [_mask(content, name) for name in structures]


class _Refused(pickle.UnpicklingError):
    """A pickle names something else than NumPy's arrays."""


class _Array(np.ndarray):
    def __setstate__(self, state: tuple) -> None:
        """Refuse a shape of more numbers than there is content: memory is made for it."""
        _, shape, _, _, content = state
        if max(shape, default=1) > len(content) or math.prod(shape) > len(content):
            raise ValueError("an array larger than its file")
        super().__setstate__(state)


_ALLOWED = dict.fromkeys(("ndarray", "_reconstruct", "scalar"), lambda *_: np.zeros(0).view(_Array))
# NumPy has moved this function between releases: taken from what it pickles today.
_ALLOWED |= {"dtype": np.dtype, "_frombuffer": np.zeros(1).__reduce_ex__(5)[0]}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        """Give what arrays are rebuilt with, and nothing else."""
        if _MODULES.fullmatch(module) and name in _ALLOWED:
            return _ALLOWED[name]
        raise _Refused(f"{module}.{name}")


def _content(data: bytes) -> object:
    stream = io.BytesIO(data)
    version = "_".join(map(str, np.lib.format.read_magic(stream)))
    shape, _, dtype = getattr(np.lib.format, f"read_array_header_{version}")(stream)
    if shape != () or dtype.kind != "O":
        raise ValueError("no pickled dict")
    body = data[stream.tell() :]
    if any("PUT" in code.name and at > len(body) for code, at, _ in pickletools.genops(body)):
        raise ValueError("places for more objects than the file can hold")
    return _ArraysOnly(io.BytesIO(body)).load().item()


def _mask(content: object, name: str) -> np.ndarray | Flaw:
    masks = content.get("structures") if isinstance(content, dict) else None
    mask = masks.get(name) if isinstance(masks, dict) else None
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype.kind not in "buif":
        return Flaw("no array (height, width) in it", MISSING.fix)
    return mask.view(np.ndarray)
