"""The decoders of some plans: each is trained, tested and kept in a file of its own, or read."""

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import joblib
import numpy as np
import torch
from tqdm import tqdm

from fetalclip_nb.experiments.segmentation import measurement, overlap
from fetalclip_nb.experiments.segmentation.material import Material
from fetalclip_nb.experiments.segmentation.plans import Plan
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe
from fetalclip_nb.experiments.segmentation.squares import pack
from fetalclip_nb.experiments.segmentation.training import TRAINING, Setup, predict, train_decoder
from fetalclip_nb.files import cached, key

SCORING = 1
"""Raised when the same decoder gets other counts, distances or circumferences; cached decoders
are then trained and tested anew."""

HEAD = "head"
"""Structure whose circumference is measured where images have a pixel size."""

FIELDS = ("counts", "distances", "circumferences", "masks", "losses")


@dataclass(frozen=True)
class Outcome:
    """How decoders do on the tested images.

    Attributes:
        rows: Rows of the task, int64 of shape (n,).
        counts: True positives, false positives and false negatives in pixels, int64 of shape
            (H, n, C, 3).
        distances: 95th percentiles of the Hausdorff distance in mm, float64 of shape (H, n, C);
            NaN where there is none (`overlap.hausdorff95`).
        circumferences: Head circumferences in mm, float64 of shape (H, n); NaN where no head
            was found, or where the task has none.
        masks: Packed predicted masks, uint8 of shape (H, n, C, side * side / 8).
        losses: Validation losses, float64 of shape (H, epochs).
    """

    rows: np.ndarray
    counts: np.ndarray
    distances: np.ndarray
    circumferences: np.ndarray
    masks: np.ndarray
    losses: np.ndarray

    def where(self, chosen: np.ndarray) -> "Outcome":
        """The same decoders on some of the tested images (boolean of shape (n,))."""
        images = {name: getattr(self, name)[:, chosen] for name in FIELDS[:4]}
        return replace(self, rows=self.rows[chosen], **images)


def joined(rows: np.ndarray, decoders: list[dict[str, np.ndarray]]) -> Outcome:
    """`FIELDS` of single decoders as one outcome."""
    return Outcome(rows, *(np.stack([decoder[name] for decoder in decoders]) for name in FIELDS))


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
            small decoder does not keep two cores busy; LOKY_MAX_CPU_COUNT bounds the cores)
            and one on a GPU. Torch's threads are shared out among them, and their number
            changes the last digits of a decoder.

    Returns:
        Name to outcome, decoders in the order of splits, folds and runs.

    Source: FetalCLIP (arXiv 2502.14807), segmentation probing and few-data training.
    """
    folder = Path(cache_dir) / "decoders"
    fits = {
        name: [
            DecoderFit(plan.material, job, plan.rows, plan.recipe, device, precision, folder)
            for job in plan.jobs
        ]
        for name, plan in plans.items()
    }
    every = [fit for group in fits.values() for fit in group]
    usual = max(1, min(len(every), joblib.cpu_count())) if device == "cpu" else 1
    decoders = iter(_in_threads(every, workers or usual))
    return {
        name: joined(plans[name].rows, [next(decoders) for _ in group])
        for name, group in fits.items()
    }


@dataclass(frozen=True)
class DecoderFit:
    """One decoder to train and test, and where it is kept."""

    material: Material
    job: DecoderJob
    tested: np.ndarray
    recipe: DecoderRecipe
    device: str
    precision: str
    folder: Path

    @property
    def path(self) -> Path:
        """File of the finished decoder; its name covers all that decoder and scores depend on."""
        job = self.job
        settings = [TRAINING, SCORING, self.material.key, self.recipe.training, job.seed]
        rows = (job.train, job.validation, self.tested)
        return self.folder / f"{key([*settings, self.precision], *rows)}.npz"


def finished(fit: DecoderFit) -> dict[str, np.ndarray]:
    """`FIELDS` of one decoder: read, or trained, tested and kept. Damaged files are made again."""
    made = cached(fit.path, lambda: _computed(fit), _read, lambda f, new: np.savez(f, **new))
    with contextlib.suppress(OSError):  # not earlier: a kill would lose what is trained
        fit.path.with_suffix(".part").unlink()
    return made


def outlined(material: Material, rows: np.ndarray, logits: np.ndarray) -> dict[str, np.ndarray]:
    """What is kept of outlines on n rows: counts, distances, circumferences and packed masks.

    Logits are positive inside, float of shape (n, C, S, S).
    """
    structures = material.task.structures
    predicted, true = logits > 0, material.masks(rows)
    circumferences = np.full(len(rows), np.nan)
    if HEAD in structures:
        circumferences = measurement.head_circumferences(
            logits[:, structures.index(HEAD)], material.sizes[rows], material.pixel_mm[rows]
        )
    return {
        "counts": overlap.counts(predicted, true),
        "distances": overlap.hausdorff95(predicted, true, material.square_pixel_mm[rows]),
        "circumferences": circumferences,
        "masks": pack(predicted),
    }


def _in_threads(fits: list[DecoderFit], workers: int) -> list[dict[str, np.ndarray]]:
    """Fields of all decoders; workers share torch's threads."""
    threads = torch.get_num_threads()
    progress = tqdm(total=len(fits), desc="decoders", unit="decoder", disable=None)
    with progress, ThreadPoolExecutor(workers) as pool:
        torch.set_num_threads(max(1, threads // workers))
        try:
            waiting = [pool.submit(finished, fit) for fit in fits]
            for future in as_completed(waiting):
                future.result()
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
    return [future.result() for future in waiting]


def _computed(fit: DecoderFit) -> dict[str, np.ndarray]:
    """Fields and weights of a decoder that is trained now."""
    material = fit.material
    batch = partial(material.batch, device=fit.device)
    setup = Setup(batch, fit.recipe, material.shape, fit.device, fit.precision)
    weights, losses = train_decoder(setup, fit.job, checkpoint=fit.path.with_suffix(".part"))
    parts = [
        outlined(material, fit.tested[places], logits.numpy())
        for places, logits in predict(setup, weights, fit.tested)
    ]
    fields = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    weights = {f"weights.{name}": value.numpy() for name, value in weights.items()}
    return fields | {"losses": losses} | weights


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    arrays = np.load(file)
    return {name: arrays[name] for name in FIELDS}
