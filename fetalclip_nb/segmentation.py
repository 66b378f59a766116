"""Segmentation probes: decoders on a frozen encoder, one for each fold and run."""

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from fetalclip_nb import head_measurement, overlap
from fetalclip_nb.decoder_data import DecoderJob, DecoderRecipe
from fetalclip_nb.decoder_training import TRAINING, predict, train_decoder
from fetalclip_nb.pictures import pack
from fetalclip_nb.probing import head_seed
from fetalclip_nb.segmentation_data import Material
from fetalclip_nb.splits import Split, rows_of

HEAD = "head"
"""Structure whose circumference is measured where images have a pixel size."""


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
        epochs: Best epoch of each decoder, int64 of shape (H,).
        losses: Validation losses, float64 of shape (H, epochs).
    """

    rows: np.ndarray
    counts: np.ndarray
    distances: np.ndarray
    circumferences: np.ndarray
    masks: np.ndarray
    epochs: np.ndarray
    losses: np.ndarray

    def where(self, kept: np.ndarray) -> "Outcome":
        """The same decoders on some of the tested images (boolean of shape (n,))."""
        return Outcome(
            self.rows[kept],
            self.counts[:, kept],
            self.distances[:, kept],
            self.circumferences[:, kept],
            self.masks[:, kept],
            self.epochs,
            self.losses,
        )

    def of(self, decoders: np.ndarray | slice) -> "Outcome":
        """Some of the decoders on all tested images."""
        return Outcome(self.rows, *(value[decoders] for value in list(vars(self).values())[1:]))


@dataclass(frozen=True)
class _Cell:
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
        job = self.job
        settings = (TRAINING, self.material.key, asdict(self.recipe), job.seed, self.precision)
        digest = hashlib.sha256(repr(settings).encode())
        for array in (job.train, job.validation, self.tested):
            digest.update(repr(array.shape).encode() + np.ascontiguousarray(array))
        return self.folder / f"{digest.hexdigest()[:16]}.safetensors"


def fit_decoders(
    material: Material,
    splits: Sequence[Split],
    tested: Sequence[str],
    *,
    runs: int,
    seed: int,
    recipe: DecoderRecipe,
    cache_dir: Path,
    device: str = "cpu",
    precision: str = "fp32",
    workers: int | None = None,
) -> Outcome:
    """Train a decoder for every fold and run and test it, or read what was finished earlier.

    Each finished decoder is a file of its own; one that was interrupted goes on after its last
    saved epoch.

    Args:
        material: Features, images and masks.
        splits: One split for probing, one for each support size for few-data training.
        tested: Patients that the decoders are tested on.
        runs: Decoders a fold, each with a seed of its own.
        seed: What the decoders' seeds are made of, with training patients and runs.
        recipe: Filters, learning rate, epochs.
        cache_dir: Folder that all notebooks share.
        device: "cpu" or "cuda".
        precision: "bf16" computes the decoder in it.
        workers: Decoders that are trained at a time; None for one a core on a CPU (a single
            small decoder does not keep two cores busy) and one on a GPU.

    Returns:
        Outcomes in the order of splits, folds and runs.

    Raises:
        ParameterError: If a fold has fewer training rows than a batch, or training diverges.

    Source: FetalCLIP (arXiv 2502.14807), segmentation probing and few-data training.
    """
    table = material.task.items.table
    rows = np.flatnonzero(rows_of(table, tested))
    jobs = [
        DecoderJob(
            material.pairs(np.flatnonzero(rows_of(table, fold.train))),
            np.flatnonzero(rows_of(table, fold.validation)),
            head_seed(seed, fold.train, run),
        )
        for split in splits
        for fold in split.folds
        for run in range(runs)
    ]
    folder = Path(cache_dir) / "decoders"
    folder.mkdir(parents=True, exist_ok=True)
    cells = [_Cell(material, job, rows, recipe, device, precision, folder) for job in jobs]
    found = _in_threads(cells, workers or _workers(device, len(cells)))
    return Outcome(rows, *(np.stack([one[name] for one in found]) for name in _FIELDS))


_FIELDS = ("counts", "distances", "circumferences", "masks", "epochs", "losses")


def _workers(device: str, jobs: int) -> int:
    return 1 if device != "cpu" else max(1, min(jobs, torch.get_num_threads()))


def _in_threads(cells: list[_Cell], workers: int) -> list[dict[str, np.ndarray]]:
    """Finish all cells; the first error cancels those that have not begun."""
    name = f"{cells[0].material.encoder}, {cells[0].material.task.name}"
    progress = tqdm(total=len(cells), desc=name, unit="decoder", disable=None)
    with _threads_each(workers), progress, ThreadPoolExecutor(workers) as pool:
        waiting = [pool.submit(_finished, cell) for cell in cells]
        try:
            for future in waiting:
                future.result()
                progress.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in waiting]


@contextmanager
def _threads_each(workers: int):
    """Share torch's threads out among workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _finished(cell: _Cell) -> dict[str, np.ndarray]:
    """A cell's outcome: read, or trained and tested and kept."""
    path = cell.path
    with filelock.FileLock(f"{path}.lock"):
        found = _read(path)
        if found is None:
            found = _computed(cell)
            _write(path, found)
    return found


def _computed(cell: _Cell) -> dict[str, np.ndarray]:
    material, recipe = cell.material, cell.recipe
    place = {"device": cell.device, "precision": cell.precision}
    shape = material.shape
    trained = train_decoder(
        material.batch,
        cell.job,
        recipe,
        shape,
        checkpoint=cell.path.with_suffix(".part"),
        **place,
    )
    made = predict(trained.weights, material.batch, cell.tested, recipe, shape, **place)
    parts = [
        _tested(material, cell.tested[places], logits, masks) for places, logits, masks in made
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    weights = {f"weights.{name}": value.numpy() for name, value in trained.weights.items()}
    return found | weights | {"epochs": np.array(trained.epoch), "losses": trained.losses}


def _tested(
    material: Material, rows: np.ndarray, logits: torch.Tensor, masks: torch.Tensor
) -> dict[str, np.ndarray]:
    """What is kept of a batch of logits."""
    structures = material.task.structures
    predicted, true = (logits > 0).numpy(), masks.numpy() > 0.5
    measured = np.full(len(rows), np.nan)
    if HEAD in structures:
        head = logits[:, structures.index(HEAD)].numpy()
        measured = head_measurement.head_circumferences(
            head, material.sizes[rows], material.pixel_mm[rows]
        )
    return {
        "counts": overlap.counts(predicted, true),
        "distances": overlap.hausdorff95(predicted, true, material.square_pixel_mm[rows]),
        "circumferences": measured,
        "masks": pack(predicted),
    }


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """A finished cell without its weights, or None when it is absent or not whole."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in _FIELDS}
    except (SafetensorError, OSError):
        return None


def _write(path: Path, found: dict[str, np.ndarray]) -> None:
    made = path.with_name(f"{path.name}.tmp-{os.getpid()}-{threading.get_ident()}")
    save_file({name: np.ascontiguousarray(value) for name, value in found.items()}, made)
    made.replace(path)
