"""Synthetic cohorts in the layouts of FETAL_PLANES_DB, the African planes and HC18."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from scipy.special import ndtr

from fetalclip_nb.phantoms.patient import CENTRES, Patient, draw_patient, pick
from fetalclip_nb.phantoms.picture import Phantom, draw
from fetalclip_nb.phantoms.writer import draw_all, plan_stream, publish, write_png

VERSION = 2
"""Raised whenever pictures change, so that data sets made by older code are made again."""


class Plane(NamedTuple):
    """A plane's name, number and number of images in FETAL_PLANES_DB."""

    name: str
    number: int
    images: int


REAL_PLANES = {
    "abdomen": Plane("Fetal abdomen", 2, 711),
    "brain": Plane("Fetal brain", 3, 3092),
    "femur": Plane("Fetal femur", 4, 1040),
    "thorax": Plane("Fetal thorax", 5, 1718),
    "cervix": Plane("Maternal cervix", 6, 1626),
    "other": Plane("Other", 1, 4213),
}
"""doi 10.5281/zenodo.3904280; images over ``REAL_PATIENTS`` give rates."""

REAL_PATIENTS = 1792

BRAIN_SHARES = {
    "trans-thalamic": 0.53, "trans-cerebellum": 0.23, "trans-ventricular": 0.19, "Other": 0.05,
}  # fmt: skip
"""Sub-planes of brain pictures; the table spells them with a capital."""

PLANES_HEADER = [
    *("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train ")
]

AFRICAN_HEADER = ["Patient_num", "Plane", "Train", "Center", "Filename"]

AFRICAN_PLANES, NO_THORAX = ("abdomen", "brain", "femur", "thorax"), ("Ghana", "Uganda")

AGES_WITH_BRAIN = (18 * 7, 39 * 7)  # days; screening examinations start at 18 weeks
HC18_SIZE = (360, 243)  # the aspect of the real 800 by 540 pixels

HC18_GROUPS = (
    (0.18, "normal", 75.0, 12.0),
    (0.07, "uniform", 100.0, 150.0),
    (0.53, "normal", 174.0, 11.0),
    (0.22, "uniform", 200.0, 340.0),
)
"""Share, law and its two parameters (mm) of head circumference, read off the HC18 histogram."""

HC18_LIMITS = (44.0, 346.0)
SMALL_HEAD_MM = 100.0  # below, real pictures show much more around the head
SMALL_HEAD_RATIOS = (1.6, 4.0)
FIELD_SHARES, FIELD_RATIOS = (
    (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0),
    (1.23, 1.35, 1.53, 1.69, 1.88, 2.53, 3.46),
)
"""Field of view: shares of real heads with a picture less wide over the head (159 of HC18)."""

WINDOW_TO_FIELD = 0.82
"""Correlation of the window with the field's deviate. The intraclass correlation of the field's
logarithm becomes 0.6: real heads have 0.68 (27 examinations) or, from 100 mm on, 0.54 (22)."""
REPEATED = (0.80, 0.16, 0.04)  # patients with one, two and three images: 1.24 images a patient


class Job(NamedTuple):
    """One picture to draw; a head has an outline to write as well."""

    path: str
    plane: str
    brain_plane: str | None
    patient: Patient
    size: tuple[int, int] | None = None
    annotation: str | None = None


def write_fetal_planes(
    root: str | Path, *, patients: int, seed: int, workers: int | None = None
) -> None:
    """Write a synthetic cohort in the layout of FETAL_PLANES_DB.

    ``Images/PatientNNNNN_PlaneP_I_of_J.png`` and ``FETAL_PLANES_DB_data.csv``, planes in the
    proportions of the real set, half of the patients for training. The same seed gives the
    same bytes whatever ``workers`` is.

    About 6.9 images a patient, as in the real set. A root that holds this cohort is
    left alone, one that holds no phantoms is refused.
    """

    def fill(folder: Path) -> int:
        (folder / "Images").mkdir()
        jobs, table = _plan_planes(patients, seed)
        draw_all(partial(_write, folder), jobs, seed, workers)
        table.to_csv(folder / "FETAL_PLANES_DB_data.csv", sep=";", index=False)
        return len(jobs)

    publish(root, fill, version=VERSION, kind="fetal_planes", seed=seed, patients=patients)


def _plan_planes(patients: int, seed: int) -> tuple[list[Job], pd.DataFrame]:
    rng = plan_stream(seed)
    ages = (int(rng.integers(*AGES_WITH_BRAIN)) for _ in range(patients))
    people = [draw_patient(rng, age_days=age) for age in ages]
    train = rng.permutation(np.arange(patients) % 2 == 0).astype(int)
    jobs: list[Job] = []
    rows = []
    for number, plane, count in _allot(patients, rng):
        for i in range(count):
            brain = pick(rng, BRAIN_SHARES) if plane == "brain" else None
            name = f"Patient{number + 1:05d}_Plane{REAL_PLANES[plane].number}_{i + 1}_of_{count}"
            person = people[number]
            jobs.append(Job(f"Images/{name}.png", plane, brain, person))
            sub = brain.capitalize() if brain else "Not A Brain"
            setting = (person.operator, person.machine, train[number])
            rows.append((name, number + 1, REAL_PLANES[plane].name, sub, *setting))
    return jobs, pd.DataFrame(rows, columns=PLANES_HEADER)


def _allot(patients: int, rng: np.random.Generator) -> list[tuple[int, str, int]]:
    """Share out the images: (patient, plane, count), exact totals, at least one image each."""
    counts = {}
    for plane, real in REAL_PLANES.items():
        total = max(1, round(real.images * patients / REAL_PATIENTS))
        counts[plane] = np.bincount(rng.integers(patients, size=total), minlength=patients)
    empty = sum(counts.values()) == 0
    counts["other"] = counts["other"] + empty
    return [
        (number, plane, int(counts[plane][number]))
        for number in range(patients)
        for plane in counts
        if counts[plane][number]
    ]


def write_african_planes(
    root: str | Path, *, patients: int, seed: int, workers: int | None = None
) -> None:
    """Write a synthetic cohort in the layout of the African planes.

    ``CENTRE/patientNNN_CODE_planeP.png`` and ``African_planes_database.csv``: a picture of each
    plane a patient (no thorax from Ghana and Uganda), each centre with a machine of its own
    that no other cohort has. The same seed gives the same bytes whatever ``workers`` is.

    A root that holds this cohort is left alone, one that holds no phantoms is refused.
    """

    def fill(folder: Path) -> int:
        jobs, table = _plan_african(patients, seed)
        for centre in set(table["Center"]):
            (folder / centre).mkdir()
        draw_all(partial(_write, folder), jobs, seed, workers)
        table.to_csv(folder / "African_planes_database.csv", index=False)
        return len(jobs)

    publish(root, fill, version=VERSION, kind="african_planes", seed=seed, patients=patients)


def _plan_african(patients: int, seed: int) -> tuple[list[Job], pd.DataFrame]:
    """Patients by turns of five centres, numbered anew in each; every other one for training."""
    rng = plan_stream(seed)
    jobs: list[Job] = []
    rows = []
    for i in range(patients):
        (centre, (code, machine)), number = list(CENTRES.items())[i % 5], i // 5 + 1
        person = draw_patient(rng, age_days=int(rng.integers(*AGES_WITH_BRAIN)))
        person = replace(person, machine=machine)
        for k, plane in enumerate(AFRICAN_PLANES[: 3 if centre in NO_THORAX else 4]):
            brain = pick(rng, BRAIN_SHARES) if plane == "brain" else None
            name = f"patient{number:03d}_{code}_plane{k}"
            jobs.append(Job(f"{centre}/{name}.png", plane, brain, person))
            rows.append((number, REAL_PLANES[plane].name, number % 2, centre, name))
    return jobs, pd.DataFrame(rows, columns=AFRICAN_HEADER)


def write_hc18(root: str | Path, *, patients: int, seed: int, workers: int | None = None) -> None:
    """Write a synthetic cohort in the layout of the HC18 training set.

    ``training_set/NNN_HC.png`` (further images of a patient: ``NNN_2HC.png``, ...), outlines
    ``..._Annotation.png`` and ``training_set_pixel_size_and_HC.csv``. Head circumferences
    follow the real histogram. The same seed gives the same bytes whatever ``workers`` is.

    About 1.24 images a patient, as in the real set. A root that holds this cohort is
    left alone, one that holds no phantoms is refused.
    """

    def fill(folder: Path) -> int:
        (folder / "training_set").mkdir()
        jobs = _plan_heads(patients, seed)
        spacing = draw_all(partial(_write, folder), jobs, seed, workers)
        names = [Path(job.path).name for job in jobs]
        table = pd.DataFrame({"filename": names})
        table["pixel size(mm)"] = [f"{value:.12f}" for value in spacing]
        table["head circumference (mm)"] = [f"{job.patient.hc_mm:.2f}" for job in jobs]
        table.to_csv(folder / "training_set_pixel_size_and_HC.csv", index=False)
        return len(jobs)

    publish(root, fill, version=VERSION, kind="hc18", seed=seed, patients=patients)


def _plan_heads(patients: int, seed: int) -> list[Job]:
    rng = plan_stream(seed)
    jobs: list[Job] = []
    for number in range(patients):
        person = draw_patient(rng, hc_mm=_draw_circumference(rng))
        for i in range(1 + int(rng.choice(3, p=REPEATED))):
            stem = f"training_set/{number:03d}_{'' if i == 0 else i + 1}HC"
            brain = pick(rng, BRAIN_SHARES)
            outlined = f"{stem}_Annotation.png"
            jobs.append(Job(f"{stem}.png", "brain", brain, person, HC18_SIZE, outlined))
    return jobs


def _draw_circumference(rng: np.random.Generator) -> float:
    shares = [group[0] for group in HC18_GROUPS]
    _, law, first, second = HC18_GROUPS[int(rng.choice(len(shares), p=shares))]
    value = rng.normal(first, second) if law == "normal" else rng.uniform(first, second)
    return float(np.clip(value, *HC18_LIMITS))


def _write(root: Path, rng: np.random.Generator, job: Job) -> float:
    """Draw a picture and its outline; returns the millimetres per pixel."""
    ratio = _draw_field(job, rng)
    options = {"field_ratio": ratio, "patient": job.patient, "size": job.size}
    phantom = draw(job.plane, rng, brain_plane=job.brain_plane, examination=True, **options)
    write_png(root / job.path, phantom.image)
    if job.annotation:
        write_png(root / job.annotation, outline(phantom))
    return phantom.pixel_mm


def _draw_field(job: Job, rng: np.random.Generator) -> float:
    """Width of the picture over the structure: wide where the window is poor, as from afar."""
    rest = np.sqrt(1 - WINDOW_TO_FIELD**2) * rng.normal()
    share = float(ndtr(WINDOW_TO_FIELD * job.patient.window + rest))
    if job.annotation and job.patient.hc_mm < SMALL_HEAD_MM:
        return float(np.interp(share, (0, 1), SMALL_HEAD_RATIOS))
    return float(np.interp(share, FIELD_SHARES, FIELD_RATIOS))


def outline(phantom: Phantom) -> np.ndarray:
    """The head's thin outline, white on black, uint8 of the picture's shape."""
    picture = np.zeros_like(phantom.image)
    corners = np.round(phantom.outlines["head"][0] * 32).astype(np.int32)
    cv2.polylines(picture, [corners], True, 255, 1, cv2.LINE_8, 5)
    return picture
