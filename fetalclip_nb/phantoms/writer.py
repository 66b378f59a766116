"""Draw many pictures in several processes, and put a finished folder in place in one step."""

import json
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import joblib
import numpy as np

from fetalclip_nb.errors import DataError, ParameterError

RECORD = "phantom.json"
FEW = 48  # pictures below which starting other processes costs more than it saves

_J, _R = TypeVar("_J"), TypeVar("_R")


def plan_stream(seed: int) -> np.random.Generator:
    """The stream of chance that decides who is in a cohort."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))


def draw_stream(seed: int, index: int) -> np.random.Generator:
    """The stream of chance of a cohort's picture or clip: its own, whoever draws it and when."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, index)))


def draw_all(
    task: Callable[[np.random.Generator, _J], _R],
    jobs: list[_J],
    seed: int,
    workers: int | None,
    *,
    pictures: int = 1,
) -> list[_R]:
    """Do every job, in several processes where there are many pictures.

    Args:
        task: What is done with a job's own stream of chance and the job; pickled, so a module's
            function or a partial of one.
        jobs: What is to be drawn.
        seed: Seed of the cohort.
        workers: Processes; one a core of the job when None. More than one are started
            afresh ("spawn"), so a script needs its ``if __name__ == "__main__"`` guard.
        pictures: Pictures that a job draws.

    Returns:
        What the task returned, in the order of the jobs.
    """
    workers = min(workers or joblib.cpu_count(), len(jobs))
    numbered, numbered_task = list(enumerate(jobs)), partial(_draw, task, seed)
    if workers == 1 or len(jobs) * pictures < FEW:
        return [numbered_task(job) for job in numbered]
    share = max(1, min(16, len(jobs) // (4 * workers)))
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        return list(pool.map(numbered_task, numbered, chunksize=share))


def _draw(task: Callable[[np.random.Generator, _J], _R], seed: int, numbered: tuple[int, _J]) -> _R:
    index, job = numbered
    return task(draw_stream(seed, index), job)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a grey PNG with fixed compression, so that equal pictures are equal files."""
    _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    path.write_bytes(data.tobytes())


def publish(root: str | Path, fill: Callable[[Path], int], **record: object) -> None:
    """Make the folder ``root`` appear whole or not at all.

    ``fill`` writes into a temporary folder beside ``root``, which is renamed when all is there.
    A root that already holds what ``record`` describes is left alone; phantoms of another
    version, seed or size are replaced.

    Args:
        root: Folder to make.
        fill: Writes the content into the folder it is given; returns the number of images.
        **record: What identifies the content: version, kind, seed, patients.

    Raises:
        DataError: If ``root`` exists and holds no phantoms: it is never overwritten.
        ParameterError: If the seed is negative or there are no patients.
    """
    for name, least in (("seed", 0), ("patients", 1)):
        if not isinstance(record[name], int) or record[name] < least:
            raise ParameterError(
                "Phantoms cannot be made",
                where=name,
                expected=f"a whole number, {least} or more",
                found=repr(record[name]),
            )
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


def _holds(root: Path, record: dict[str, object]) -> bool:
    """Whether root holds exactly these phantoms; refuses a folder that holds anything else."""
    if not root.exists():
        return False
    try:
        found = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or not record.keys() <= found.keys():
        raise DataError(
            "Folder exists and holds no phantoms, so it is left as it is",
            where=root,
            expected=f"no such folder, or one with a {RECORD} of this package",
            fix="choose another folder or move this one away",
        )
    return found.items() >= record.items()


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
