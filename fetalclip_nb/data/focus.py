"""FOCUS: thorax and heart in four-chamber views (Zenodo 10.5281/zenodo.14597550)."""

from pathlib import Path

import pandas as pd

from fetalclip_nb.data.dataset import Dataset, build, refuse_lone_masks, require_root
from fetalclip_nb.errors import DataError

SPLITS = {"training": "train", "validation": "validation", "testing": "test"}
"""Folders and the names that splits have here."""

IMAGES, MASKS = "images", "annfiles_mask"

STRUCTURES = {"thorax": "thorax", "heart": "cardiac"}
"""Structures and their names in the file names; the paper's others are not annotated."""


def read_focus(root: Path | str) -> Dataset:
    """Read FOCUS, or anything in its layout.

    Args:
        root: Folder with training, validation and testing, each with ``images/NNN.png`` and
            ``annfiles_mask/NNN-thorax.png`` and ``NNN-cardiac.png``.

    Returns:
        A data set with the columns id (folder and number: numbers start again in each folder),
        path, patient, split, mask_thorax, mask_heart (paths).

    Source: Zenodo record 14597550; 300 images of 217 patients, chosen from FETAL_PLANES_DB.
    Neither file names nor tables name the patients, so each image counts as a patient of its own
    here: whether a patient is in two folders is unknown, and intervals are narrower than they
    should be. A model that was trained on FETAL_PLANES_DB may have seen the images.
    """
    root = require_root(root, "FOCUS")
    rows = [row for folder, split in SPLITS.items() for row in _rows(root, folder, split)]
    return build("focus", root, pd.DataFrame(rows))


def _rows(root: Path, folder: str, split: str) -> list[dict[str, str]]:
    names = sorted(path.stem for path in (root / folder / IMAGES).glob("[!.]*.png"))
    if not names:
        form, at = ", ".join(f"{name}/{IMAGES}/NNN.png" for name in SPLITS), root / folder / IMAGES
        fix = "unpack the data set again"
        raise DataError("Folder has no images", where=at, expected=form, fix=fix)
    masks = [f"{name}-{part}.png" for name in names for part in STRUCTURES.values()]
    form = "NNN-thorax.png and NNN-cardiac.png for each NNN.png"
    refuse_lone_masks(root / folder / MASKS, masks, expected=form)
    return [
        {
            "id": f"{folder}/{name}",
            "path": f"{folder}/{IMAGES}/{name}.png",
            "patient": f"{folder}/{name}",
            "split": split,
            **{f"mask_{s}": f"{folder}/{MASKS}/{name}-{p}.png" for s, p in STRUCTURES.items()},
        }
        for name in names
    ]
