"""Draw many pictures in several processes, and put a finished folder in place in one step."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

import cv2
import joblib
import numpy as np

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.files import lock, whole

RECORD = "phantom.json"
FEW = 48  # pictures below which starting other processes costs more than it saves

_J, _R = TypeVar("_J"), TypeVar("_R")


def plan_stream(seed: int) -> np.random.Generator:
    """The stream of chance that decides who is in a cohort."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))


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
        jobs: What is to be drawn; a job's stream depends on its place and the seed alone.
        seed: Seed of the cohort.
        workers: Processes; one a core of the job when None. More than one are started
            afresh ("spawn"), so a script needs its ``if __name__ == "__main__"`` guard.
        pictures: Pictures that a job draws.

    Returns:
        What the task returned, in the order of the jobs.

    Raises:
        DataError: If the system ends a process.
    """
    seeds = np.random.SeedSequence(seed, spawn_key=(1,)).spawn(len(jobs))
    streams = map(np.random.default_rng, seeds)
    workers = min(workers or joblib.cpu_count(), len(jobs))
    if workers == 1 or len(jobs) * pictures < FEW:
        return list(map(task, streams, jobs))
    share = max(1, min(16, len(jobs) // (4 * workers)))
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin) as pool:
            return list(pool.map(task, streams, jobs, chunksize=share))
    except BrokenProcessPool:
        raise DataError(
            "A drawing process was ended by the system, mostly for lack of memory",
            expected='memory for each, and in a script a guard: if __name__ == "__main__"',
            fix="close other programs or set LOKY_MAX_CPU_COUNT=1 (pretrain: --threads 1)",
        ) from None


def _begin() -> None:
    """Draw in one thread, and end with the parent: killed, it leaves its workers waiting."""
    cv2.setNumThreads(1)
    threading.Thread(target=lambda: os._exit(parent_process().join() or 1), daemon=True).start()


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a grey PNG with fixed compression, so that equal pictures are equal files."""
    _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    path.write_bytes(data.tobytes())


def publish(root: str | Path, fill: Callable[[Path], int], **record: object) -> None:
    """Make the folder ``root`` appear whole or not at all.

    A root that already holds what ``record`` describes is left alone; phantoms of another
    version, seed or size are replaced, a folder that holds no phantoms never is.

    Args:
        root: Folder to make.
        fill: Writes the content into the folder it is given; returns the number of images.
        **record: What identifies the content: version, kind, seed, patients.
    """
    for name, least in (("seed", 0), ("patients", 1)):
        if not isinstance(record[name], int) or record[name] < least:
            expected, found = f"a whole number, {least} or more", repr(record[name])
            raise ParameterError(
                "Phantoms cannot be made", where=name, expected=expected, found=found
            )
    root = Path(root)
    if _holds(root, record):
        return
    with lock(root):
        if _holds(root, record):  # made by another process meanwhile
            return
        with whole(root) as draft:
            draft.mkdir()
            images = fill(draft)
            text = json.dumps({**record, "images": images}, indent=2) + "\n"
            (draft / RECORD).write_text(text, encoding="utf-8")
            shutil.rmtree(root, ignore_errors=True)


def _holds(root: Path, record: dict[str, object]) -> bool:
    """Whether root holds exactly these phantoms; refuses a folder that holds anything else."""
    if not root.exists():
        return False
    try:
        found = json.loads((root / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not record.keys() <= found.keys():
        raise DataError(
            "Folder exists and holds no phantoms, so it is left as it is",
            where=root,
            expected=f"no such folder, or one with a {RECORD} of this package",
            fix="choose another folder or move this one away",
        )
    return found.items() >= record.items()
