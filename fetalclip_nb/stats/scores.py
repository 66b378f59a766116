"""Scores and their bootstrap intervals.

Every score here is a function of how often each outcome occurs: a confusion matrix for F1,
the number of valid predictions for VPR, a histogram of errors in days for their median. A
bootstrap resample is then a vector of counts, and 10,000 resamples are one array.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fetalclip_nb.errors import ShapeError

RESAMPLES = 10_000

SEED = 42

LEVEL = 0.95

_BLOCK = 20  # resamples drawn at a time: small enough for the processor's cache


@dataclass(frozen=True)
class Score:
    """A value with its bootstrap interval (percentiles; mirrored at the value for `ece`).

    Attributes:
        value: The score on all images.
        low: Lower end of the interval.
        high: Upper end of the interval.
        mean: Mean over the resamples.
        n: Number of items (images or clips).
        groups: Number of resampled units (images or patients).
        unit: "%" of a fraction, which is shown in percent; "days", "mm", "px" (pixels), or "" of
            an index that may be negative, of which a percentage would mean nothing.
    """

    value: float
    low: float
    high: float
    mean: float
    n: int
    groups: int
    unit: str = "%"

    def in_unit(self, unit: str) -> "Score":
        """The same numbers, said to be in another unit."""
        return replace(self, unit=unit)


def confusion_codes(labels: np.ndarray, ranked: np.ndarray, n_classes: int) -> np.ndarray:
    """One number an image that says which cell of the confusion matrix it adds to.

    Args:
        labels: True classes, integers of shape (N,).
        ranked: Predicted classes, integers of shape (N,).
        n_classes: Number of classes, distractors included.

    Returns:
        Integers of shape (N,): label * n_classes + prediction.
    """
    return np.asarray(labels) * n_classes + np.asarray(ranked)


def f1_per_class(counts: np.ndarray, n_classes: int) -> np.ndarray:
    """F1 of each class from flattened confusion matrices.

    Args:
        counts: Shape (..., C * C), rows of the matrix are true classes.
        n_classes: C.

    Returns:
        F1 of shape (..., C); 0 where a class is neither present nor predicted.

    >>> f1_per_class(np.array([2, 0, 1, 1]), 2).round(3).tolist()
    [0.8, 0.667]
    """
    matrix = counts.reshape(*counts.shape[:-1], n_classes, n_classes)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    total = matrix.sum(-1) + matrix.sum(-2)
    return np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0)


def recall_per_class(counts: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of each class's images that are predicted as it, shape (..., C)."""
    matrix = counts.reshape(*counts.shape[:-1], n_classes, n_classes)
    hits = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    total = matrix.sum(-1)
    return np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)


def macro_f1(counts: np.ndarray, n_classes: int, present: Sequence[int]) -> np.ndarray:
    """Mean F1 over the classes that have images, shape (...)."""
    return f1_per_class(counts, n_classes)[..., list(present)].mean(-1)


def macro_recall(counts: np.ndarray, n_classes: int, present: Sequence[int]) -> np.ndarray:
    """Mean recall ("accuracy" in the paper's tables) over the classes that have images."""
    return recall_per_class(counts, n_classes)[..., list(present)].mean(-1)


def resampled_counts(
    codes: np.ndarray,
    n_codes: int,
    *,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> np.ndarray:
    """Counts of each outcome in bootstrap resamples.

    The image bootstrap draws N row numbers a resample from one generator, as the paper's
    does, so that its intervals come out to the last digit. The patient bootstrap keeps each
    patient's images together: the honest unit where a patient has several.

    Args:
        codes: Outcome of each image, integers of shape (N,).
        n_codes: Number of possible outcomes.
        groups: Patient of each image, shape (N,); None resamples images.
        resamples: Number of resamples R.
        seed: Seed of `numpy.random.default_rng`.

    Returns:
        Integers of shape (R, n_codes).

    Raises:
        ShapeError: If there are no images, or codes and groups differ in length.
    """
    codes = np.asarray(codes)
    if codes.size == 0:
        raise ShapeError("No images to score", expected="at least one", found=0)
    if groups is not None and len(groups) != codes.size:
        raise ShapeError("One group an image is needed", expected=codes.size, found=len(groups))
    rng = np.random.default_rng(seed)
    # Few outcomes occur: counting only those keeps the arrays small.
    used, compact = np.unique(codes, return_inverse=True)
    counts = np.zeros((resamples, n_codes), dtype=np.int32)
    draw = _image_draws(compact, rng) if groups is None else _group_draws(compact, groups, rng)
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        counts[start : start + size, used] = draw(size)
    return counts


def _image_draws(codes: np.ndarray, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """A function that draws resamples of images: int (size, number of codes)."""
    n, width = codes.size, codes.max() + 1

    def draw(size: int) -> np.ndarray:
        picked = codes[rng.integers(0, n, size=(size, n))]
        picked += np.arange(size)[:, None] * width
        return np.bincount(picked.ravel(), minlength=size * width).reshape(size, width)

    return draw


def _group_draws(
    codes: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> Callable[[int], np.ndarray]:
    """A function that draws resamples of whole groups: int (size, number of codes)."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    table = np.zeros((names.size, codes.max() + 1), dtype=np.float32)
    np.add.at(table, (index, codes), 1)

    def draw(size: int) -> np.ndarray:
        picked = rng.integers(0, names.size, size=(size, names.size))
        picked += np.arange(size)[:, None] * names.size
        weights = np.bincount(picked.ravel(), minlength=size * names.size)
        # Exact in float32: every count is far below 2**24.
        return np.rint(weights.reshape(size, -1).astype(np.float32) @ table)

    return draw


def score(
    statistic: Callable[[np.ndarray], np.ndarray],
    codes: np.ndarray,
    n_codes: int,
    *,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Score:
    """A statistic of outcome counts with its 95 % percentile interval.

    Args:
        statistic: Maps counts (..., n_codes) to values (...).
        codes: Outcome of each image, integers of shape (N,).
        n_codes: Number of possible outcomes.
        groups: Patient of each image, or None to resample images as published.
        resamples: Number of resamples.
        seed: Seed.

    Returns:
        Value, interval, mean over resamples and sizes.
    """
    codes = np.asarray(codes)
    counts = resampled_counts(codes, n_codes, groups=groups, resamples=resamples, seed=seed)
    return interval(
        float(statistic(np.bincount(codes, minlength=n_codes))),
        statistic(counts),
        n=codes.size,
        groups=codes.size if groups is None else len(set(groups)),
    )


def interval(value: float, resampled: np.ndarray, *, n: int, groups: int) -> Score:
    """Percentile interval (2.5 % to 97.5 %) of resampled values, shape (R,)."""
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.nanpercentile(resampled, [tail, 100 - tail])
    return Score(value, float(low), float(high), float(np.nanmean(resampled)), int(n), int(groups))


def share(valid: np.ndarray, *, groups: np.ndarray | None = None, **options: int) -> Score:
    """Share of True values with its interval: VPR, top-k accuracy.

    >>> share(np.array([True, True, False, False])).value
    0.5
    """
    return score(_second_share, np.asarray(valid).astype(np.int64), 2, groups=groups, **options)


def _second_share(counts: np.ndarray) -> np.ndarray:
    return counts[..., 1] / np.maximum(counts.sum(-1), 1)


def median(values: np.ndarray, *, groups: np.ndarray | None = None, **options: int) -> Score:
    """Median with its interval (the lower median of an even number).

    >>> median(np.array([1.0, 5.0, 2.0])).value
    2.0
    """
    levels, codes = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True)

    def lower_median(counts: np.ndarray) -> np.ndarray:
        running = counts.cumsum(-1)
        half = (running[..., -1:] + 1) // 2
        return levels[(running >= half).argmax(-1)]

    return score(lower_median, codes, levels.size, groups=groups, **options)


def both_units(
    compute: Callable[[np.ndarray | None], dict[str, Score]], patients: np.ndarray | None
) -> dict[str, dict[str, Score]]:
    """Scores with both intervals: patients resampled (honest) and images (as published).

    Args:
        compute: Maps patients (or None for images) to scores by name.
        patients: Patient of each image; None where unknown, then only images are resampled.

    Returns:
        Score name to {"patient": score, "image": score}.
    """
    units = {"image": compute(None)}
    if patients is not None:
        units["patient"] = compute(patients)
    names = units["image"]
    return {name: {unit: found[name] for unit, found in units.items()} for name in names}


@dataclass(frozen=True)
class RunScores:
    """One score of H heads.

    Attributes:
        values: The score of each head, shape (H,).
        score: Mean over the heads, with its interval over resampled patients.
    """

    values: np.ndarray
    score: Score

    def in_unit(self, unit: str) -> "RunScores":
        """The same numbers, said to be in another unit."""
        return replace(self, score=self.score.in_unit(unit))
