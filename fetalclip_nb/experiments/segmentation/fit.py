"""Segmentation probes: decoders on a frozen encoder, one for each fold and run.

One decoder of a segmentation probe: trained, tested and kept, or read.
"""

import hashlib
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import filelock
import joblib
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from fetalclip_nb.experiments.segmentation import measurement, overlap
from fetalclip_nb.experiments.segmentation.material import Material
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe
from fetalclip_nb.experiments.segmentation.squares import pack
from fetalclip_nb.experiments.segmentation.training import TRAINING, predict, train_decoder
from fetalclip_nb.tasks.splits import Split, fit_seed, rows_of


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
                fit_seed(self.seed, fold.train, run),
            )
            for split in self.splits
            for fold in split.folds
            for run in range(self.runs)
        ]


def _workers(device: str, jobs: int) -> int:
    return 1 if device != "cpu" else max(1, min(jobs, joblib.cpu_count()))


@contextmanager
def _shared_threads(workers: int) -> Iterator[None]:
    """Share torch's threads out among workers."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


SCORING = 1
"""Raised when the same decoder gets other counts, distances or circumferences; cached decoders
are then trained and tested anew."""

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


_FIELDS = ("counts", "distances", "circumferences", "masks", "epochs", "losses")


@dataclass(frozen=True)
class Cell:
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
        settings = (
            *(TRAINING, SCORING, self.material.key),
            *(asdict(self.recipe), job.seed, self.precision),
        )
        digest = hashlib.sha256(repr(settings).encode())
        for array in (job.train, job.validation, self.tested):
            digest.update(repr(array.shape).encode() + array.tobytes())
        return self.folder / f"{digest.hexdigest()[:16]}.safetensors"


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


def joined(rows: np.ndarray, found: list[dict[str, np.ndarray]]) -> Outcome:
    """Outcomes of single decoders as one.

    Args:
        rows: Rows of the task that were tested, int64 of shape (n,).
        found: As given by `finished`, one of H decoders each.
    """
    values = {name: np.stack([one[name] for one in found]) for name in _FIELDS}
    values["epochs"] = values["epochs"][:, 0]
    return Outcome(rows, *values.values())


def finished(cell: Cell) -> dict[str, np.ndarray]:
    """What is known of a cell's decoder: read, or trained and tested and kept.

    Returns:
        The fields of `Outcome` but its rows, of one decoder. A damaged file is made again.
    """
    path = cell.path
    with filelock.FileLock(f"{path}.lock"):
        found = _read(path)
        if found is None:
            found = _computed(cell)
            _write(path, found)
    return found


def _computed(cell: Cell) -> dict[str, np.ndarray]:
    material, recipe = cell.material, cell.recipe
    place = {"device": cell.device, "precision": cell.precision}
    shape = material.shape
    batch = partial(material.batch, device=cell.device)
    trained = train_decoder(
        batch,
        cell.job,
        recipe,
        shape,
        checkpoint=cell.path.with_suffix(".part"),
        **place,
    )
    made = predict(trained.weights, batch, cell.tested, recipe, shape, **place)
    parts = [
        _tested(material, cell.tested[places], logits, masks) for places, logits, masks in made
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    weights = {f"weights.{name}": value.numpy() for name, value in trained.weights.items()}
    return found | weights | {"epochs": np.array([trained.epoch]), "losses": trained.losses}


def _tested(
    material: Material, rows: np.ndarray, logits: torch.Tensor, masks: torch.Tensor
) -> dict[str, np.ndarray]:
    """What is kept of a batch of logits."""
    structures = material.task.structures
    predicted, true = (logits > 0).numpy(), masks.cpu().numpy() > 0.5
    measured = np.full(len(rows), np.nan)
    if HEAD in structures:
        head = logits[:, structures.index(HEAD)].numpy()
        measured = measurement.head_circumferences(
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
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            whole = (file.metadata() or {}).get("crc32") == _checksum(found)
    except (SafetensorError, OSError):
        return None
    return {name: found[name] for name in _FIELDS} if whole else None


def _write(path: Path, found: dict[str, np.ndarray]) -> None:
    made = path.with_name(f"{path.name}.tmp-{os.getpid()}-{threading.get_ident()}")
    arrays = {name: np.ascontiguousarray(value) for name, value in found.items()}
    made.write_bytes(save(arrays, metadata={"crc32": _checksum(arrays)}))
    made.replace(path)


def _checksum(arrays: dict[str, np.ndarray]) -> str:
    total = 0
    for _, value in sorted(arrays.items()):
        total = zlib.crc32(value.tobytes(), total)
    return f"{total:08x}"
