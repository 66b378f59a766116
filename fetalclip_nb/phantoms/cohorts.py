"""Synthetic cohorts in the layouts of FETAL_PLANES_DB and HC18."""

from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.phantoms.framing import FIELD_RATIOS
from fetalclip_nb.phantoms.patient import Patient, draw_patient
from fetalclip_nb.phantoms.writer import Job, publish, render

VERSION = 1
"""Raised whenever pictures change, so that data sets made by older code are made again."""

IMAGES_A_PATIENT = {
    "abdomen": 711, "brain": 3092, "femur": 1040, "thorax": 1718, "cervix": 1626, "other": 4213,
}  # fmt: skip
"""Images in FETAL_PLANES_DB (doi 10.5281/zenodo.3904280); over ``REAL_PATIENTS`` gives rates."""

REAL_PATIENTS = 1792

PLANE_NAMES = {
    "abdomen": "Fetal abdomen",
    "brain": "Fetal brain",
    "femur": "Fetal femur",
    "thorax": "Fetal thorax",
    "cervix": "Maternal cervix",
    "other": "Other",
}

PLANE_NUMBERS = {"other": 1, "abdomen": 2, "brain": 3, "femur": 4, "thorax": 5, "cervix": 6}

BRAIN_NAMES = {
    "trans-thalamic": "Trans-thalamic",
    "trans-cerebellum": "Trans-cerebellum",
    "trans-ventricular": "Trans-ventricular",
    "Other": "Other",
}

BRAIN_SHARES = (0.53, 0.23, 0.19, 0.05)

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

REPEATED = (0.80, 0.16, 0.04)  # patients with one, two and three images: 1.24 images a patient


def write_fetal_planes(
    root: str | Path, *, patients: int, seed: int, workers: int | None = None
) -> None:
    """Write a synthetic cohort in the layout of FETAL_PLANES_DB.

    ``Images/PatientNNNNN_PlaneP_I_of_J.png`` and ``FETAL_PLANES_DB_data.csv``, planes in the
    proportions of the real set, half of the patients for training. The same seed gives the
    same bytes whatever ``workers`` is.

    Args:
        root: Folder to make; left alone if it already holds this cohort.
        patients: Number of patients; about 6.9 images each, as in the real set.
        seed: Not negative.
        workers: Processes; the number of processors when None.

    Raises:
        DataError: If ``root`` exists and holds no phantoms.
        ParameterError: If patients or seed are out of range.
    """
    root = Path(root)
    record = {"version": VERSION, "kind": "fetal_planes", "seed": seed, "patients": patients}

    def fill(folder: Path) -> int:
        jobs, table = _plan_planes(patients, seed)
        render(jobs, folder, workers)
        table.to_csv(folder / "FETAL_PLANES_DB_data.csv", sep=";", index=False)
        return len(jobs)

    publish(root, record, fill)


def _plan_planes(patients: int, seed: int) -> tuple[list[Job], pd.DataFrame]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    people = [
        draw_patient(rng, age_days=int(rng.integers(*AGES_WITH_BRAIN))) for _ in range(patients)
    ]
    train = rng.permutation(np.arange(patients) % 2 == 0).astype(int)
    jobs: list[Job] = []
    rows = []
    for number, plane, count in _allot(patients, rng):
        for i in range(count):
            brain = str(rng.choice(list(BRAIN_NAMES), p=BRAIN_SHARES)) if plane == "brain" else None
            name = f"Patient{number + 1:05d}_Plane{PLANE_NUMBERS[plane]}_{i + 1}_of_{count}"
            person = people[number]
            jobs.append(Job(f"Images/{name}.png", plane, brain, person, seed, len(jobs)))
            sub = BRAIN_NAMES[brain] if brain else "Not A Brain"
            setting = (person.operator, person.machine, train[number])
            rows.append((name, number + 1, PLANE_NAMES[plane], sub, *setting))
    header = [
        "Image_name",
        "Patient_num",
        "Plane",
        "Brain_plane",
        "Operator",
        "US_Machine",
        "Train ",
    ]
    return jobs, pd.DataFrame(rows, columns=header)


def _allot(patients: int, rng: np.random.Generator) -> list[tuple[int, str, int]]:
    """Share out the images: (patient, plane, count), exact totals, at least one image each."""
    counts = {}
    for plane, images in IMAGES_A_PATIENT.items():
        total = max(1, round(images * patients / REAL_PATIENTS))
        counts[plane] = np.bincount(rng.integers(patients, size=total), minlength=patients)
    empty = sum(counts.values()) == 0
    counts["other"] = counts["other"] + empty
    return [
        (number, plane, int(counts[plane][number]))
        for number in range(patients)
        for plane in counts
        if counts[plane][number]
    ]


def write_hc18(root: str | Path, *, patients: int, seed: int, workers: int | None = None) -> None:
    """Write a synthetic cohort in the layout of the HC18 training set.

    ``training_set/NNN_HC.png`` (further images of a patient: ``NNN_2HC.png``, ...), outlines
    ``..._Annotation.png`` and ``training_set_pixel_size_and_HC.csv``. Head circumferences
    follow the real histogram. The same seed gives the same bytes whatever ``workers`` is.

    Args:
        root: Folder to make; left alone if it already holds this cohort.
        patients: Number of patients; about 1.24 images each, as in the real set.
        seed: Not negative.
        workers: Processes; the number of processors when None.

    Raises:
        DataError: If ``root`` exists and holds no phantoms.
        ParameterError: If patients or seed are out of range.
    """
    root = Path(root)
    record = {"version": VERSION, "kind": "hc18", "seed": seed, "patients": patients}

    def fill(folder: Path) -> int:
        jobs = _plan_heads(patients, seed)
        spacing = render(jobs, folder, workers)
        table = pd.DataFrame(
            {
                "filename": [Path(job.path).name for job in jobs],
                "pixel size(mm)": [f"{value:.12f}" for value in spacing],
                "head circumference (mm)": [f"{job.patient.hc_mm:.2f}" for job in jobs],
            }
        )
        table.to_csv(folder / "training_set_pixel_size_and_HC.csv", index=False)
        return len(jobs)

    publish(root, record, fill)


def _plan_heads(patients: int, seed: int) -> list[Job]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    jobs: list[Job] = []
    for number in range(patients):
        person = draw_patient(rng, hc_mm=_draw_circumference(rng))
        for i in range(1 + int(rng.choice(3, p=REPEATED))):
            stem = f"training_set/{number:03d}_{'' if i == 0 else i + 1}HC"
            brain = str(rng.choice(list(BRAIN_NAMES), p=BRAIN_SHARES))
            jobs.append(_head_job(stem, brain, person, seed, len(jobs), rng))
    return jobs


def _draw_circumference(rng: np.random.Generator) -> float:
    shares = [group[0] for group in HC18_GROUPS]
    _, law, first, second = HC18_GROUPS[int(rng.choice(len(shares), p=shares))]
    value = rng.normal(first, second) if law == "normal" else rng.uniform(first, second)
    return float(np.clip(value, *HC18_LIMITS))


def _head_job(
    stem: str, brain: str, person: Patient, seed: int, index: int, rng: np.random.Generator
) -> Job:
    ratios = SMALL_HEAD_RATIOS if person.hc_mm < SMALL_HEAD_MM else FIELD_RATIOS
    return Job(
        path=f"{stem}.png",
        plane="brain",
        brain_plane=brain,
        patient=person,
        seed=seed,
        index=index,
        field_ratio=float(rng.uniform(*ratios)),
        size=HC18_SIZE,
        annotation=f"{stem}_Annotation.png",
    )
