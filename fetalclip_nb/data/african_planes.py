"""African planes: 450 images of four planes from five countries (Zenodo 10.5281/zenodo.7540448)."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import (
    Dataset,
    build,
    read_csv,
    require_disjoint,
    require_known,
    require_root,
)
from fetalclip_nb.data.fetal_planes import PLANES, labelled
from fetalclip_nb.errors import ParameterError, refuse

TABLE = "African_planes_database.csv"

TASK, SUBJECT = "african_planes", "African planes"
"""First part of its scores' names, and what tables call it."""

CENTRES = {"Algeria": "DZA", "Egypt": "EGY", "Ghana": "GHA", "Malawi": "MWI", "Uganda": "UGA"}
"""Folders, which the table names, and the codes of their countries in the file names."""

FOUR_PLANES = ("abdomen", "brain", "femur", "heart")

_NAMES = tuple(name for name, label in PLANES.items() if label in FOUR_PLANES)

_COLUMNS = ["Patient_num", "Plane", "Train", "Center", "Filename"]

_FORM = r"(patient(\d+)_([A-Z]{3}))_[^/\\]+"


def read_african_planes(root: Path | str) -> Dataset:
    """Read the African planes, or anything in their layout.

    Args:
        root: Folder with ``African_planes_database.csv`` and a folder of PNG files for each
            centre that the table names; file names may stand in it with or without ``.png``.

    Returns:
        A data set with the columns id, path, patient (numbers start again in each centre, so
        that its code belongs to them), split ("train" or "test", the table's own), plane
        (labels of `fetal_planes.PLANES`), centre.

    Source: Sendra-Balcells et al., Zenodo record 7540448.
    """
    root = require_root(root, "the African planes")
    where = root / TABLE
    raw = read_csv(where, _COLUMNS)
    known = {"Plane": _NAMES, "Center": tuple(CENTRES), "Train": ("0", "1")}
    for column, values in known.items():
        require_known(raw[column], values, column=column, where=where)
    names = raw["Filename"].str.removesuffix(".png")
    table = pd.DataFrame(
        {
            "id": names,
            "path": raw["Center"] + "/" + names + ".png",
            "patient": _patients(names, raw, where),
            "split": np.where(raw["Train"] == "1", "train", "test"),
            "plane": raw["Plane"].map(PLANES),
            "centre": raw["Center"],
        }
    )
    require_disjoint(table, where)
    return build("african_planes", root, table)


def _patients(names: pd.Series, raw: pd.DataFrame, where: Path) -> pd.Series:
    """Patient ids as in the file names (patientNNN_DZA), checked against number and centre."""
    parts = names.str.extract(f"^{_FORM}$", expand=True)
    wrong = parts[1].astype(float) != pd.to_numeric(raw["Patient_num"], errors="coerce")
    wrong |= parts[2] != raw["Center"].map(CENTRES)
    rows = (names + " / " + raw["Patient_num"].map(repr) + " / " + raw["Center"])[wrong]
    what = f"File names, patient numbers and centres disagree in {wrong.sum()} of {len(raw)} rows"
    form = "Filename = patientNNN_CODE_..., with NNN = Patient_num and CODE of Center: "
    form += ", ".join(f"{code} {centre}" for centre, code in CENTRES.items())
    refuse(rows, what, where=where, expected=form)
    return parts[0]


def african_task(
    dataset: Dataset, tasks: Collection[str], home: str = "five_planes"
) -> dict[str, Dataset]:
    """All images, with a ``label`` column of four planes; the thorax is "heart", as at home.

    Args:
        dataset: As read by `read_african_planes`.
        tasks: What the chapter is about.
        home: The one whose planes these are.

    Raises:
        ParameterError: If the chapter is about own classes.
    """
    fix = 'leave external_root empty ("") beside own classes'
    what = "African planes are compared with planes at home, and this run has none"
    lacking = [] if home in tasks else [home]
    refuse(lacking, what, error=ParameterError, where="external_root", fix=fix)
    return {TASK: labelled(dataset, "plane", FOUR_PLANES)}
