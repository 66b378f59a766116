"""A synthetic cohort for the detection of congenital heart disease, as a manifest of clips."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from fetalclip_nb.phantoms.clips import draw_clip
from fetalclip_nb.phantoms.heart import DEFECTS
from fetalclip_nb.phantoms.patient import Patient, draw_patient
from fetalclip_nb.phantoms.writer import draw_all, plan_stream, publish, write_png

CHD_VERSION = 1
"""Raised whenever clips change."""

NORMAL, DEFECT = "normal", "CHD"
"""Labels; the second one is what a detector looks for."""

FRAMES = 4
SECOND_CLIP = 0.2  # share of patients with two clips
TEST_SHARE = 0.4
AGES = (18 * 7, 33 * 7)  # days; when hearts are examined

_COLUMNS = [
    *("image", "label", "patient", "split", "clip", "frame", "defect", "operator", "machine")
]


class Clip(NamedTuple):
    """One clip to draw."""

    folder: str
    patient: Patient
    defect: str | None


def write_chd(root: str | Path, *, patients: int, seed: int, workers: int | None = None) -> None:
    """Write four-chamber clips of normal hearts and of hearts with a defect.

    ``clips/PatientNNN_I/F.png`` and a ``manifest.csv`` with the columns image, label, patient,
    split, clip, frame, defect, operator and machine. Half of the patients have a defect, the
    three kinds in equal parts; machine, operator, age and framing do not depend on it. The
    same seed gives the same bytes whatever ``workers`` is.

    About one patient in five has two clips. A root that holds this cohort is
    left alone, one that holds no phantoms is refused.
    """

    def fill(folder: Path) -> int:
        clips, table = _plan(patients, seed)
        draw_all(partial(_write, folder), clips, seed, workers, pictures=FRAMES)
        table.to_csv(folder / "manifest.csv", index=False)
        return len(table)

    publish(root, fill, version=CHD_VERSION, kind="chd", seed=seed, patients=patients)


def _plan(patients: int, seed: int) -> tuple[list[Clip], pd.DataFrame]:
    rng = plan_stream(seed)
    kinds = [DEFECTS[i // 2 % len(DEFECTS)] if i % 2 else None for i in range(patients)]
    tests = rng.permutation(patients) < TEST_SHARE * patients
    clips, rows = [], []
    for number, kind in enumerate(rng.permutation(np.array(kinds, dtype=object))):
        person = draw_patient(rng, age_days=int(rng.integers(*AGES)))
        for i in range(1 + (rng.random() < SECOND_CLIP)):
            name = f"Patient{number + 1:03d}_{i + 1}"
            clips.append(Clip(f"clips/{name}", person, kind))
            split = "test" if tests[number] else "train"
            shared = (f"Patient{number + 1:03d}", split, name)
            rows += [
                (f"clips/{name}/{f}.png", DEFECT if kind else NORMAL, *shared, f, kind or "",
                 person.operator, person.machine)
                for f in range(FRAMES)
            ]  # fmt: skip
    return clips, pd.DataFrame(rows, columns=_COLUMNS)


def _write(root: Path, rng: np.random.Generator, clip: Clip) -> None:
    frames = draw_clip(rng, frames=FRAMES, defect=clip.defect, patient=clip.patient)
    (root / clip.folder).mkdir(parents=True)
    for number, picture in enumerate(frames):
        write_png(root / clip.folder / f"{number}.png", picture)
