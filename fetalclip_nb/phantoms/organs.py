"""Synthetic cohorts for segmentation: trunks with a mask of every structure, as a manifest."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fetalclip_nb.phantoms.patient import Patient, draw_patient
from fetalclip_nb.phantoms.picture import Phantom, draw
from fetalclip_nb.phantoms.writer import draw_all, plan_stream, publish, write_png

ORGANS_VERSION = 1
"""Raised whenever pictures or masks change."""

ABDOMEN, FOUR_CHAMBER = "abdomen", "four_chamber"

ORGANS = {
    ABDOMEN: ("stomach", "abdominal_circumference", "spine"),
    FOUR_CHAMBER: ("thorax", "aorta", "spine", "heart", "LV", "LA", "RA", "RV", "IVS"),
}
"""Structures of each view, in the paper's order."""

FIELD = (1.15, 1.9)
"""Width of the picture over width of the trunk: an operator magnifies what is to be measured."""

AGES = (18 * 7, 39 * 7)  # days; screening examinations start at 18 weeks
REPEATED = 0.2  # share of patients with two pictures
TEST_SHARE = 0.2

_PLANES = {ABDOMEN: "abdomen", FOUR_CHAMBER: "thorax"}
_CHAMBERS = ("LV", "RV", "LA", "RA")  # in the order in which they are drawn


class Trunk(NamedTuple):
    """One picture to draw."""

    name: str
    patient: Patient


def write_organs(
    root: str | Path, *, view: str, patients: int, seed: int, workers: int | None = None
) -> None:
    """Write axial pictures of the trunk with one mask a structure.

    ``images/PatientNNN_I.png``, ``masks/PatientNNN_I_STRUCTURE.png`` (0 and 255, of the
    picture's size) and a ``manifest.csv`` with the columns image, label (the view), patient,
    split ("test" for a fifth of the patients, else "train"), pixel_mm, operator, machine and a
    mask_STRUCTURE for each structure. Masks are filled, and may overlap: trunk and heart hold
    what lies inside them. Two chambers, a chamber and the septum, or heart and aorta share no
    pixel: it belongs to the one that is drawn over the other. The same seed gives the same
    bytes whatever ``workers`` is.

    About one patient in five has two pictures. A root that holds this cohort is
    left alone, one that holds no phantoms is refused.
    """

    def fill(folder: Path) -> int:
        trunks, table = _plan(view, patients, seed)
        for name in ("images", "masks"):
            (folder / name).mkdir()
        spacing = draw_all(partial(_write, folder, view), trunks, seed, workers)
        table.insert(4, "pixel_mm", [f"{value:.6f}" for value in spacing])
        table.to_csv(folder / "manifest.csv", index=False)
        return len(trunks)

    publish(root, fill, version=ORGANS_VERSION, kind=view, seed=seed, patients=patients)


def organ_masks(phantom: Phantom, view: str) -> dict[str, np.ndarray]:
    """What an annotator would fill in, as far as it can be seen: bool (height, width) masks."""
    masks = {name: phantom.masks[name].copy() for name in ORGANS[view]}
    if view == FOUR_CHAMBER:
        for name in (*_CHAMBERS, "IVS"):
            masks["heart"] |= masks[name]
        covered = masks["IVS"].copy()
        for name in reversed(_CHAMBERS):
            masks[name] &= ~covered
            covered |= masks[name]
        masks["aorta"] &= ~masks["heart"]
    return masks


def _plan(view: str, patients: int, seed: int) -> tuple[list[Trunk], pd.DataFrame]:
    """Pictures to draw, and their table without the spacing, which drawing decides."""
    rng = plan_stream(seed)
    tests = rng.permutation(patients) < TEST_SHARE * patients
    trunks, rows = [], []
    for number in range(patients):
        person = draw_patient(rng, age_days=int(rng.integers(*AGES)))
        patient = f"Patient{number + 1:03d}"
        split = "test" if tests[number] else "train"
        for i in range(1 + (rng.random() < REPEATED)):
            name = f"{patient}_{i + 1}"
            trunks.append(Trunk(name, person))
            masks = {f"mask_{organ}": _mask_path(name, organ) for organ in ORGANS[view]}
            rows.append(
                {"image": f"images/{name}.png", "label": view, "patient": patient, "split": split,
                 "operator": person.operator, "machine": person.machine, **masks}
            )  # fmt: skip
    return trunks, pd.DataFrame(rows)


def _mask_path(name: str, organ: str) -> str:
    return f"masks/{name}_{organ}.png"


def _write(root: Path, view: str, rng: np.random.Generator, trunk: Trunk) -> float:
    """Draw picture and masks; returns the millimetres per pixel."""
    beat = {"phase": float(rng.random())} if view == FOUR_CHAMBER else None
    plane, ratio = _PLANES[view], float(rng.uniform(*FIELD))
    phantom = draw(plane, rng, patient=trunk.patient, field_ratio=ratio, heart=beat)
    write_png(root / "images" / f"{trunk.name}.png", phantom.image)
    for organ, mask in organ_masks(phantom, view).items():
        write_png(root / _mask_path(trunk.name, organ), mask.astype(np.uint8) * 255)
    return phantom.pixel_mm
