"""Render many pictures, and put a finished folder in place in one step."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.phantoms.patient import Patient
from fetalclip_nb.phantoms.picture import Phantom, draw

RECORD = "phantom.json"

FEW = 48  # pictures below which starting other processes costs more than it saves

_J, _R = TypeVar("_J"), TypeVar("_R")


@dataclass(frozen=True)
class Job:
    """One picture to write: what, of whom, where, and the key of its own random stream."""

    path: str
    plane: str
    brain_plane: str | None
    patient: Patient
    seed: int
    index: int
    field_ratio: float | None = None
    size: tuple[int, int] | None = None
    annotation: str | None = None


def render(jobs: list[Job], root: Path, workers: int | None) -> list[float]:
    """Draw and write every job below ``root``.

    Args:
        jobs: Pictures to write; each has a random stream of its own, so their order and the
            number of processes change nothing.
        root: Folder that the jobs' paths are relative to.
        workers: Processes; the number of processors when None. More than one are started
            afresh ("spawn"), so a script needs its ``if __name__ == "__main__"`` guard.

    Returns:
        Millimetres per pixel of each picture, in the order of the jobs.
    """
    for folder in {(root / job.path).parent for job in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    return in_processes(partial(_write, root), jobs, workers, pictures=len(jobs))


def in_processes(
    task: Callable[[_J], _R], jobs: list[_J], workers: int | None, *, pictures: int
) -> list[_R]:
    """Do every job, in several processes where there are many pictures.

    Args:
        task: What is done with a job; pickled, so a module's function or a partial of one.
        jobs: What is to be done.
        workers: As in `render`.
        pictures: Pictures that all jobs draw together.

    Returns:
        What the task returned, in the order of the jobs.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers == 1 or pictures < FEW:
        return [task(job) for job in jobs]
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        return list(pool.map(task, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers)))))


def _write(root: Path, job: Job) -> float:
    stream = np.random.SeedSequence(job.seed, spawn_key=(1, job.index))
    phantom = draw(
        job.plane,
        np.random.default_rng(stream),
        brain_plane=job.brain_plane,
        field_ratio=job.field_ratio,
        patient=job.patient,
        size=job.size,
    )
    write_png(root / job.path, phantom.image)
    if job.annotation:
        write_png(root / job.annotation, outline(phantom))
    return phantom.pixel_mm


def outline(phantom: Phantom, name: str = "head") -> np.ndarray:
    """The named region's thin outline, white on black, uint8 of the picture's shape."""
    picture = np.zeros_like(phantom.image)
    for polygon in phantom.outlines[name]:
        corners = np.round(polygon * 32).astype(np.int32)
        cv2.polylines(picture, [corners], True, 255, 1, cv2.LINE_8, 5)
    return picture


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a grey PNG with fixed compression, so that equal pictures are equal files."""
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise DataError("Picture could not be encoded", where=path, found=image.shape)
    path.write_bytes(data.tobytes())


def publish(root: Path, record: dict[str, object], fill: Callable[[Path], int]) -> None:
    """Make the folder ``root`` appear whole or not at all.

    ``fill`` writes into a temporary folder beside ``root``, which is renamed when all is there.
    A root that already holds what ``record`` describes is left alone; phantoms of another
    version, seed or size are replaced.

    Args:
        root: Folder to make.
        record: What identifies the content: version, kind, seed, patients.
        fill: Writes the content into the folder it is given; returns the number of images.

    Raises:
        DataError: If ``root`` exists and holds no phantoms: it is never overwritten.
        ParameterError: If the seed is negative or there are no patients.
    """
    _check(record)
    root = Path(root)
    if _holds(root, record):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", suffix=".part", dir=root.parent))
    try:
        images = fill(draft)
        text = json.dumps({**record, "images": images}, indent=2) + "\n"
        (draft / RECORD).write_text(text, encoding="utf-8")
        draft.chmod(0o755)
        _swap(draft, root, record)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check(record: dict[str, object]) -> None:
    for name, least in (("seed", 0), ("patients", 1)):
        value = record[name]
        if not isinstance(value, int) or value < least:
            raise ParameterError(
                "Phantoms cannot be made",
                where=name,
                expected=f"a whole number, {least} or more",
                found=repr(value),
            )


def _holds(root: Path, record: dict[str, object]) -> bool:
    """Whether root holds exactly these phantoms; refuses a folder that holds anything else."""
    if not root.exists():
        return False
    try:
        found = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not {"version", "kind", "seed", "patients"} <= found.keys():
        raise DataError(
            "Folder exists and holds no phantoms, so it is left as it is",
            where=root,
            expected=f"no such folder, or one with a {RECORD} of this package",
            fix="choose another folder or move this one away",
        )
    return all(found[name] == value for name, value in record.items())


def _swap(draft: Path, root: Path, record: dict[str, object]) -> None:
    """Rename draft to root; what another process finished meanwhile is as good as ours."""
    if _holds(root, record):
        return
    if root.exists():
        old = draft.with_suffix(".old")
        root.rename(old)
        draft.rename(root)
        shutil.rmtree(old)
        return
    try:
        draft.rename(root)
    except OSError:
        if not _holds(root, record):
            raise
