"""FETAL_PLANES_DB: 12,400 images of six planes (Zenodo 10.5281/zenodo.3904280)."""

from dataclasses import replace
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
from fetalclip_nb.errors import refuse

TABLE = "FETAL_PLANES_DB_data.csv"

PLANES = {
    "Fetal abdomen": "abdomen",
    "Fetal brain": "brain",
    "Fetal femur": "femur",
    "Fetal thorax": "heart",
    "Maternal cervix": "cervix",
    "Other": "other",
}
"""Names in the table and the labels used here; the thorax plane is the paper's "heart"."""

BRAIN_PLANES = {
    "Trans-thalamic": "trans-thalamic",
    "Trans-cerebellum": "trans-cerebellum",
    "Trans-ventricular": "trans-ventricular",
    "Other": "other",
    "Not A Brain": "",
}

FIVE_PLANES = ("abdomen", "brain", "femur", "heart", "cervix")

SIX_PLANES = ("other", "abdomen", "brain", "cervix", "femur", "heart")

BRAIN_SUBPLANES = ("trans-thalamic", "trans-cerebellum", "trans-ventricular")

_COLUMNS = ["Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train"]


def read_fetal_planes(root: Path | str) -> Dataset:
    """Read FETAL_PLANES_DB, or anything in its layout.

    Args:
        root: Folder with ``Images/`` and ``FETAL_PLANES_DB_data.csv`` (separated by ``;``;
            a last header with or without trailing blank and padded values are accepted).

    Returns:
        A data set with the columns id, path, patient, split ("train" or "test"), plane,
        brain_plane ("" where the image is no brain), operator, machine.

    Source: Burgos-Artizzu et al., Zenodo record 3904280.
    """
    root = require_root(root, "FETAL_PLANES_DB")
    where = root / TABLE
    raw = read_csv(where, _COLUMNS, separator=";")
    known = {"Plane": tuple(PLANES), "Brain_plane": tuple(BRAIN_PLANES), "Train": ("0", "1")}
    for column, values in known.items():
        require_known(raw[column], values, column=column, where=where)
    wrong = (raw["Plane"] == "Fetal brain") == (raw["Brain_plane"] == "Not A Brain")
    rows = (raw["Image_name"] + " / " + raw["Plane"] + " / " + raw["Brain_plane"])[wrong]
    rule = "Not A Brain for every Plane but Fetal brain, and never for that"
    refuse(rows, "Plane and Brain_plane contradict each other", where=where, expected=rule)
    table = raw.rename(
        columns={"Image_name": "id", "Operator": "operator", "US_Machine": "machine"}
    )[["id", "operator", "machine"]].assign(
        path="Images/" + raw["Image_name"] + ".png",
        patient=_patients(raw["Image_name"], raw["Patient_num"], where),
        split=np.where(raw["Train"] == "1", "train", "test"),
        plane=raw["Plane"].map(PLANES),
        brain_plane=raw["Brain_plane"].map(BRAIN_PLANES),
    )
    require_disjoint(table, where)
    return build("fetal_planes", root, table)


def _patients(names, numbers, where: Path):
    """Patient ids as in the file names (PatientNNNNN), checked against Patient_num."""
    from_names = names.str.extract(r"^(Patient(\d+))_[^/\\]*$", expand=True)
    wrong = from_names[1].astype(float) != pd.to_numeric(numbers, errors="coerce")
    what = f"Image names and patient numbers disagree in {wrong.sum()} of {len(names)} rows"
    form = "Image_name = PatientNNNNN_..., with NNNNN = Patient_num, a whole number"
    refuse(names[wrong] + " / " + numbers[wrong].map(repr), what, where=where, expected=form)
    return from_names[0]


def five_planes(dataset: Dataset) -> Dataset:
    """The zero-shot task's rows: five planes, "Other" left out, with a ``label`` column."""
    return labelled(dataset, "plane", FIVE_PLANES)


def six_planes(dataset: Dataset) -> Dataset:
    """The probing task's rows: all images, with a ``label`` column of six planes."""
    return labelled(dataset, "plane", SIX_PLANES)


def brain_subplanes(dataset: Dataset) -> Dataset:
    """Brain images of the three named sub-planes, with a ``label`` column."""
    return labelled(dataset, "brain_plane", BRAIN_SUBPLANES)


def labelled(dataset: Dataset, column: str, classes: tuple[str, ...]) -> Dataset:
    """The rows whose value in a column is one of the classes, as a column ``label``."""
    found = set(dataset.table[column])
    absent, form = [name for name in classes if name not in found], ", ".join(classes)
    fix = "the task is scored over all of its classes; add images of these"
    refuse(absent, "Task lacks images of classes", where=dataset.root, expected=form, fix=fix)
    part = dataset.where(dataset.table[column].isin(classes))
    return replace(part, table=part.table.assign(label=part.table[column]))
