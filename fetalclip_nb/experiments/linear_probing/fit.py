"""Linear probes on frozen features: trained together, kept on disk."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetalclip_nb.errors import ParameterError, ShapeError, listing
from fetalclip_nb.experiments.linear_probing.recipe import Problem
from fetalclip_nb.experiments.linear_probing.training import train_stack
from fetalclip_nb.files import cached, key

TRAINING = "probes-3"
"""Name of the training; it changes when the same data would give other probes."""


@dataclass(frozen=True)
class LinearProbes:
    """Trained probes, group by group in the order of their seeds.

    Attributes:
        weight: float32 of shape (H, D, C).
        bias: float32 of shape (H, C).
        epoch: Epoch (from 1) with the lowest validation loss, whose weights these are, (H,).
        losses: Validation loss after each epoch, shape (H, epochs).
    """

    weight: np.ndarray
    bias: np.ndarray
    epoch: np.ndarray
    losses: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Scores of every probe for every row (N, D) of features, float32 of shape (H, N, C)."""
        return features @ self.weight + self.bias[:, None]


def train_probes(problem: Problem, device: str = "cpu") -> LinearProbes:
    """Train one linear probe for each seed of each group, all of them together.

    Softmax cross-entropy and AdamW on un-normalised features; the epoch with the lowest
    validation loss is kept (the first one on ties). Each probe has its own random numbers, so
    it comes out the same whatever else is trained beside it (to rounding).

    Args:
        problem: What is learnt, where each group has at least one full batch.
        device: "cpu" or "cuda".

    Raises:
        ShapeError: If a feature is not finite.
        ParameterError: If, after the training, a probe's validation loss was never finite.

    Source: FetalCLIP (arXiv 2502.14807), linear probing and few-data training.
    """
    finite = np.isfinite(problem.features).all(1)
    if not finite.all():
        raise ShapeError(
            "Features are not finite",
            found=f"rows {listing(np.flatnonzero(~finite))}",
            fix="do not train on tested images: they have no augmented copies (rows of NaN)",
        )
    parameters, epoch, losses = train_stack(problem, device)
    lost = np.flatnonzero(epoch == 0)
    if len(lost):
        names = [f"group {i} seed {s}" for i, rows in enumerate(problem.groups) for s in rows.seeds]
        raise ParameterError(
            "Probes diverged",
            where=listing(names[probe] for probe in lost),
            expected="a finite validation loss after one epoch at least",
            found=f"none for {len(lost)} of {len(epoch)} probes",
            fix="bring the features to a smaller scale or lower the learning rate",
        )
    classes, width = problem.n_classes, problem.features.shape[1]
    weight, bias = np.split(parameters, [classes * width], 1)
    weight = weight.reshape(-1, classes, width).transpose(0, 2, 1)
    return LinearProbes(np.ascontiguousarray(weight), np.ascontiguousarray(bias), epoch, losses)


def cached_probes(problem: Problem, *, cache_dir: Path, device: str = "cpu") -> LinearProbes:
    """Train probes (`train_probes`), or read what was trained from exactly the same input.

    The file's name covers every feature, target, row, seed and setting, but not the device: it
    changes rounding alone.
    """
    return cached(
        Path(cache_dir) / "probes" / f"{problem_key(problem)}.npz",
        lambda: train_probes(problem, device),
        lambda file: LinearProbes(**np.load(file)),
        lambda file, probes: np.savez(file, **vars(probes)),
    )


def problem_key(problem: Problem) -> str:
    """What stands for all that decides what is trained."""
    recipe = problem.recipe
    how = [recipe.learning_rate, recipe.weight_decay, recipe.batch_size, recipe.epochs]
    seeds = [rows.seeds for rows in problem.groups]
    rows = [side for rows in problem.groups for side in (rows.train, rows.validation)]
    return key([TRAINING, problem.n_classes, how, seeds], problem.features, problem.targets, *rows)
