"""Linear probes on frozen features: many heads trained together, kept on disk."""

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
from fetalclip_nb.experiments.linear_probing.recipe import HeadData, HeadRecipe, require_trainable
from fetalclip_nb.experiments.linear_probing.training import train_stack

TRAINING = "heads-2"
"""Name of the training; it changes when the same data would give other heads."""


@dataclass(frozen=True)
class LinearHeads:
    """Trained heads, group by group in the order of their seeds.

    Attributes:
        weight: float32 of shape (H, D, C).
        bias: float32 of shape (H, C).
        group: Each head's group, integers of shape (H,).
        seed: Each head's seed, integers of shape (H,).
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
        """Scores of every head for every row.

        Args:
            features: float32 of shape (N, D).

        Returns:
            float32 of shape (H, N, C).
        """
        heads, width, classes = self.weight.shape
        if features.ndim != 2 or features.shape[1] != width:
            raise ShapeError(
                "Features do not fit the heads",
                expected=f"shape (N, {width})",
                found=f"shape {features.shape}",
                fix="use the embeddings of the model that the heads were trained on",
            )
        side_by_side = self.weight.transpose(1, 0, 2).reshape(width, heads * classes)
        logits = (features @ side_by_side).reshape(-1, heads, classes) + self.bias
        return logits.transpose(1, 0, 2)


def train_heads(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[HeadData],
    n_classes: int,
    recipe: HeadRecipe = HeadRecipe(),  # noqa: B008
    *,
    device: str = "cpu",
) -> LinearHeads:
    """Train one linear head for each seed of each group, all of them together.

    Softmax cross-entropy and AdamW on un-normalised features; the epoch with the lowest
    validation loss is kept (the first one on ties). Each head has its own random numbers, so
    it comes out the same whatever else is trained beside it (to rounding).

    Args:
        features: float32 of shape (N, D), shared by all heads and never copied per head.
        targets: Classes from 0, integers of shape (N,); rows of no group may hold anything.
        groups: Training and validation rows with seeds.
        n_classes: C.
        recipe: Learning rate, batch size, epochs.
        device: "cpu" or "cuda".

    Returns:
        The heads.

    Raises:
        ShapeError: If features or targets are of another shape or type, or not finite.
        ParameterError: If a group has too few rows, unknown rows or no seed, a class is
            out of range, or the recipe cannot be used; or, after the training, if a head's
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
    return LinearHeads(
        weight=np.ascontiguousarray(weight.reshape(len(seed), n_classes, -1).transpose(0, 2, 1)),
        bias=np.ascontiguousarray(bias),
        group=group,
        seed=seed,
        epoch=epoch,
        losses=trained.losses.cpu().numpy(),
    )


def cached_heads(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[HeadData],
    n_classes: int,
    recipe: HeadRecipe = HeadRecipe(),  # noqa: B008
    *,
    cache_dir: Path,
    device: str = "cpu",
) -> LinearHeads:
    """As `train_heads`, or what an earlier run has trained from exactly the same input.

    The key covers every feature, target, row, seed and setting. One process trains at a time
    (a lock per key), others wait and read. A damaged file is trained again.

    Args:
        features: As in `train_heads`.
        targets: As in `train_heads`.
        groups: As in `train_heads`.
        n_classes: As in `train_heads`.
        recipe: As in `train_heads`.
        cache_dir: Folder that all notebooks share.
        device: As in `train_heads`; not part of the key, it changes rounding alone.

    Raises:
        CacheError: If the file is whole but holds other heads than its key promises.
        ShapeError: As in `train_heads`.
        ParameterError: As in `train_heads`.
    """
    key = _key(features, targets, groups, n_classes, recipe)
    path = Path(cache_dir) / "heads" / f"{key}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{path}.lock"):
        heads = _read(path)
        if heads is None:
            heads = train_heads(features, targets, groups, n_classes, recipe, device=device)
            _write(path, heads)
    _require_promised(path, heads, groups, (features.shape[1], n_classes, recipe.epochs))
    return heads


def _names(groups: Sequence[HeadData]) -> tuple[np.ndarray, np.ndarray]:
    """Group and seed of each head, two of shape (H,)."""
    pairs = [(number, seed) for number, data in enumerate(groups) for seed in data.seeds]
    return tuple(np.array(pairs, dtype=np.int64).T)


def _require_converged(epoch: np.ndarray, group: np.ndarray, seed: np.ndarray) -> None:
    lost = np.flatnonzero(epoch == 0)
    if len(lost):
        raise ParameterError(
            "Heads diverged",
            where=listing(f"group {group[head]} seed {seed[head]}" for head in lost),
            expected="a finite validation loss after one epoch at least",
            found=f"none for {len(lost)} of {len(epoch)} heads",
            fix="bring the features to a smaller scale or lower the learning rate",
        )


def _key(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[HeadData],
    n_classes: int,
    recipe: HeadRecipe,
) -> str:
    digest = hashlib.sha256()
    arrays = [features, targets, *(a for data in groups for a in (data.train, data.validation))]
    settings = (TRAINING, n_classes, astuple(recipe), [data.seeds for data in groups])
    digest.update(repr((settings, [(a.shape, str(a.dtype)) for a in arrays])).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:16]


def _write(path: Path, heads: LinearHeads) -> None:
    made = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with made.open("wb") as file:
        np.savez(file, **vars(heads))
    made.replace(path)


def _read(path: Path) -> LinearHeads | None:
    """Heads of an earlier run, or None when they are absent or not whole."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return LinearHeads(**{name: file[name] for name in LinearHeads.__dataclass_fields__})
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
        return None


def _require_promised(
    path: Path, heads: LinearHeads, groups: Sequence[HeadData], shape: tuple[int, int, int]
) -> None:
    group, seed = _names(groups)
    same = np.array_equal(heads.group, group) and np.array_equal(heads.seed, seed)
    found = (*heads.weight.shape[1:], *heads.losses.shape[1:])
    if not same or found != shape:
        raise CacheError(
            "Cached heads are not what their key promises",
            where=path,
            expected=f"{len(seed)} heads; D, C, epochs = {shape}",
            found=f"{len(heads.seed)} heads; D, C, epochs = {found}",
            fix=f"delete {path.name} and run again",
        )
