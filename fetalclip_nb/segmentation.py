"""Segmentation probes: decoders on a frozen encoder, one for each fold and run."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fetalclip_nb.decoder_cells import Cell, Outcome, finished, joined
from fetalclip_nb.decoder_data import DecoderJob, DecoderRecipe
from fetalclip_nb.probing import head_seed
from fetalclip_nb.segmentation_data import Material
from fetalclip_nb.splits import Split, rows_of


@dataclass(frozen=True)
class Plan:
    """Decoders of one encoder and task: one for each fold of each split, and run.

    Attributes:
        material: Features, images and masks.
        splits: One split for probing, one for each support size for few-data training.
        tested: Patients that the decoders are tested on.
        runs: Decoders a fold, each with a seed of its own.
        seed: What the decoders' seeds are made of, with training patients and runs.
        recipe: Filters, learning rate, epochs.
    """

    material: Material
    splits: tuple[Split, ...]
    tested: tuple[str, ...]
    runs: int
    seed: int
    recipe: DecoderRecipe

    @property
    def rows(self) -> np.ndarray:
        """Rows of the task that are tested, int64."""
        return np.flatnonzero(rows_of(self.material.task.items.table, self.tested))

    @property
    def jobs(self) -> list[DecoderJob]:
        """What each decoder learns from, in the order of splits, folds and runs."""
        table = self.material.task.items.table
        return [
            DecoderJob(
                self.material.pairs(np.flatnonzero(rows_of(table, fold.train))),
                np.flatnonzero(rows_of(table, fold.validation)),
                head_seed(self.seed, fold.train, run),
            )
            for split in self.splits
            for fold in split.folds
            for run in range(self.runs)
        ]


def fit_decoders(
    plans: Mapping[object, Plan],
    *,
    cache_dir: Path,
    device: str = "cpu",
    precision: str = "fp32",
    workers: int | None = None,
) -> dict[object, Outcome]:
    """Train and test all decoders of some plans, or read those that were finished earlier.

    Each finished decoder is a file of its own; one that was interrupted goes on after its last
    saved epoch. The first error cancels the decoders that have not begun.

    Args:
        plans: Any names to plans.
        cache_dir: Folder that all notebooks share.
        device: "cpu" or "cuda".
        precision: "bf16" computes decoders in it.
        workers: Decoders that are trained at a time; None for one a core on a CPU (a single
            small decoder does not keep two cores busy) and one on a GPU. Torch's threads are
            shared out among them, and their number changes the last digits of a decoder.

    Returns:
        Name to outcome, decoders in the order of splits, folds and runs.

    Raises:
        ParameterError: If a fold has fewer training rows than a batch, or training diverges.

    Source: FetalCLIP (arXiv 2502.14807), segmentation probing and few-data training.
    """
    folder = Path(cache_dir) / "decoders"
    folder.mkdir(parents=True, exist_ok=True)
    cells = {
        name: [
            Cell(plan.material, job, plan.rows, plan.recipe, device, precision, folder)
            for job in plan.jobs
        ]
        for name, plan in plans.items()
    }
    todo = [cell for group in cells.values() for cell in group]
    found = iter(_in_threads(todo, workers or _workers(device, len(todo))))
    return {
        name: joined(plans[name].rows, [next(found) for _ in group])
        for name, group in cells.items()
    }


def _workers(device: str, jobs: int) -> int:
    return 1 if device != "cpu" else max(1, min(jobs, torch.get_num_threads()))


def _in_threads(cells: list[Cell], workers: int) -> list[dict[str, np.ndarray]]:
    progress = tqdm(total=len(cells), desc="decoders", unit="decoder", disable=None)
    with _shared_threads(workers), progress, ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(finished, cell) for cell in cells]
        try:
            for future in as_completed(waiting):
                future.result()
                progress.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in waiting]


@contextmanager
def _shared_threads(workers: int) -> Iterator[None]:
    """Share torch's threads out among workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)
