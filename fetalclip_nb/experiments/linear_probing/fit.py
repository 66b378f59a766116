"""Linear probes on frozen features: trained together, kept on disk."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import filelock
import numpy as np
import torch

from fetalclip_nb.errors import CacheError, ParameterError, ShapeError, listing
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows, require_trainable
from fetalclip_nb.experiments.linear_probing.training import train_stack

TRAINING = "probes-2"
"""Name of the training; it changes when the same data would give other probes."""


@dataclass(frozen=True)
class LinearProbes:
    """Trained probes, group by group in the order of their seeds.

    Attributes:
        weight: float32 of shape (H, D, C).
        bias: float32 of shape (H, C).
        group: Each probe's group, integers of shape (H,).
        seed: Each probe's seed, integers of shape (H,).
        epoch: Epoch (from 1) with the lowest validation loss, whose weights these are, (H,).
        losses: Validation loss after each epoch, shape (H, epochs).
    """

    weight: np.ndarray
    bias: np.ndarray
    group: np.ndarray
    seed: np.ndarray
    epoch: np.ndarray
    losses: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Scores of every probe for every row.

        Args:
            features: float32 of shape (N, D).

        Returns:
            float32 of shape (H, N, C).
        """
        probes, width, classes = self.weight.shape
        if features.ndim != 2 or features.shape[1] != width:
            raise ShapeError(
                "Features do not fit the probes",
                expected=f"shape (N, {width})",
                found=f"shape {features.shape}",
                fix="use the embeddings of the model that the probes were trained on",
            )
        side_by_side = self.weight.transpose(1, 0, 2).reshape(width, probes * classes)
        logits = (features @ side_by_side).reshape(-1, probes, classes) + self.bias
        return logits.transpose(1, 0, 2)


def train_probes(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[ProbeRows],
    n_classes: int,
    recipe: ProbeRecipe = ProbeRecipe(),  # noqa: B008
    *,
    device: str = "cpu",
) -> LinearProbes:
    """Train one linear probe for each seed of each group, all of them together.

    Softmax cross-entropy and AdamW on un-normalised features; the epoch with the lowest
    validation loss is kept (the first one on ties). Each probe has its own random numbers, so
    it comes out the same whatever else is trained beside it (to rounding).

    Args:
        features: float32 of shape (N, D), shared by all probes and never copied per probe.
        targets: Classes from 0, integers of shape (N,); rows of no group may hold anything.
        groups: Training and validation rows with seeds.
        n_classes: C.
        recipe: Learning rate, batch size, epochs.
        device: "cpu" or "cuda".

    Returns:
        The probes.

    Raises:
        ShapeError: If features or targets are of another shape or type, or not finite.
        ParameterError: If a group has too few rows, unknown rows or no seed, a class is
            out of range, or the recipe cannot be used; or, after the training, if a probe's
            validation loss was never finite.

    Source: FetalCLIP (arXiv 2502.14807), linear probing and few-data training.
    """
    require_trainable(features, targets, groups, n_classes, recipe)
    trained = train_stack(
        torch.from_numpy(features).to(device),
        torch.from_numpy(np.asarray(targets, np.int64)).to(device),
        groups,
        n_classes,
        recipe,
    )
    weight, bias = np.split(trained.parameters.cpu().numpy(), [n_classes * features.shape[1]], 1)
    group, seed = _names(groups)
    epoch = trained.epoch.cpu().numpy()
    _require_converged(epoch, group, seed)
    return LinearProbes(
        weight=np.ascontiguousarray(weight.reshape(len(seed), n_classes, -1).transpose(0, 2, 1)),
        bias=np.ascontiguousarray(bias),
        group=group,
        seed=seed,
        epoch=epoch,
        losses=trained.losses.cpu().numpy(),
    )


def cached_probes(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[ProbeRows],
    n_classes: int,
    recipe: ProbeRecipe = ProbeRecipe(),  # noqa: B008
    *,
    cache_dir: Path,
    device: str = "cpu",
) -> LinearProbes:
    """As `train_probes`, or what an earlier run has trained from exactly the same input.

    The key covers every feature, target, row, seed and setting. One process trains at a time
    (a lock per key), others wait and read. A damaged file is trained again.

    Args:
        features: As in `train_probes`.
        targets: As in `train_probes`.
        groups: As in `train_probes`.
        n_classes: As in `train_probes`.
        recipe: As in `train_probes`.
        cache_dir: Folder that all notebooks share.
        device: As in `train_probes`; not part of the key, it changes rounding alone.

    Raises:
        CacheError: If the file is whole but holds other probes than its key promises.
        ShapeError: As in `train_probes`.
        ParameterError: As in `train_probes`.
    """
    key = _key(features, targets, groups, n_classes, recipe)
    path = Path(cache_dir) / "probes" / f"{key}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        probes = _read(path)
        if probes is None:
            probes = train_probes(features, targets, groups, n_classes, recipe, device=device)
            _write(path, probes)
    _require_promised(path, probes, groups, (features.shape[1], n_classes, recipe.epochs))
    return probes


def _names(groups: Sequence[ProbeRows]) -> tuple[np.ndarray, np.ndarray]:
    """Group and seed of each probe, two of shape (H,)."""
    pairs = [(number, seed) for number, data in enumerate(groups) for seed in data.seeds]
    return tuple(np.array(pairs, dtype=np.int64).T)


def _require_converged(epoch: np.ndarray, group: np.ndarray, seed: np.ndarray) -> None:
    lost = np.flatnonzero(epoch == 0)
    if len(lost):
        raise ParameterError(
            "Probes diverged",
            where=listing(f"group {group[probe]} seed {seed[probe]}" for probe in lost),
            expected="a finite validation loss after one epoch at least",
            found=f"none for {len(lost)} of {len(epoch)} probes",
            fix="bring the features to a smaller scale or lower the learning rate",
        )


def _key(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[ProbeRows],
    n_classes: int,
    recipe: ProbeRecipe,
) -> str:
    digest = hashlib.sha256()
    arrays = [features, targets, *(a for data in groups for a in (data.train, data.validation))]
    settings = (TRAINING, n_classes, astuple(recipe), [data.seeds for data in groups])
    digest.update(repr((settings, [(a.shape, str(a.dtype)) for a in arrays])).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def _write(path: Path, probes: LinearProbes) -> None:
    made = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with made.open("wb") as file:
        np.savez(file, **vars(probes))
    made.replace(path)


def _read(path: Path) -> LinearProbes | None:
    """Probes of an earlier run, or None when they are absent or not whole."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return LinearProbes(**{name: file[name] for name in LinearProbes.__dataclass_fields__})
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        return None


def _require_promised(
    path: Path, probes: LinearProbes, groups: Sequence[ProbeRows], shape: tuple[int, int, int]
) -> None:
    group, seed = _names(groups)
    same = np.array_equal(probes.group, group) and np.array_equal(probes.seed, seed)
    found = (*probes.weight.shape[1:], *probes.losses.shape[1:])
    if not same or found != shape:
        raise CacheError(
            "Cached probes are not what their key promises",
            where=path,
            expected=f"{len(seed)} probes; D, C, epochs = {shape}",
            found=f"{len(probes.seed)} probes; D, C, epochs = {found}",
            fix=f"delete {path.name} and run again",
        )
