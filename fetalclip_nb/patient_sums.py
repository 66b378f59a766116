"""Sums over each patient's items, and over the items of resampled patients.

A score that is made of sums over items needs no resampled items: the sums of a resample are
the patients' weights times the table of their sums, for all heads in one matrix product.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fetalclip_nb import calibration, metrics

_BLOCK = 500  # resamples at a time: enough for busy cores, little enough to stay in memory


@dataclass(frozen=True)
class Sums:
    """Sums over items, of each patient or of each resample (the first axis).

    Attributes:
        true: Items of each class, shape (..., 1, C).
        hits: Items of each class that are predicted as it, shape (..., H, C).
        predicted: Items that are predicted as each class, shape (..., H, C).
        second: Items of each class that are among the first two choices, shape (..., H, C).
        gaps: Claimed minus true accuracy in each bin of confidence, shape (..., H, 15).
    """

    true: np.ndarray
    hits: np.ndarray
    predicted: np.ndarray
    second: np.ndarray
    gaps: np.ndarray

    def weighted(self, weights: np.ndarray) -> "Sums":
        """Sums of resamples, from patients' sums and weights of shape (R, P)."""
        return Sums(*(np.tensordot(weights.astype(t.dtype), t, 1) for t in vars(self).values()))


def patient_sums(logits: np.ndarray, labels: np.ndarray, owner: np.ndarray) -> Sums:
    """What each patient adds to the sums that scores are made of.

    Args:
        logits: Shape (H, N, C).
        labels: True class index of each item, shape (N,).
        owner: Patient number of each item, shape (N,).
    """
    predicted, confidence = calibration.first_choice(logits)
    truth = np.broadcast_to(labels, predicted.shape)
    second = _sum_by(owner, truth, logits.shape[-1], _rank(logits, labels) < 2)
    gap, bins = confidence - (predicted == labels), calibration.bin_of(confidence)
    gaps = _sum_by(owner, bins, calibration.BINS, gap)
    return Sums(*choice_sums(logits, labels, owner), second.astype(np.float32), gaps)


def choice_sums(
    logits: np.ndarray, labels: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first fields of `patient_sums` alone: true, hits and predicted. All that F1 needs."""
    c, predicted = logits.shape[-1], logits.argmax(-1)
    truth = np.broadcast_to(labels, predicted.shape)
    tables = (
        _sum_by(owner, labels[None], c),
        _sum_by(owner, truth, c, predicted == labels),
        _sum_by(owner, predicted, c),
    )
    # Exact in float32: every count is far below 2**24.
    return tuple(table.astype(np.float32) for table in tables)


def patient_weights(
    patients: np.ndarray, *, resamples: int = metrics.RESAMPLES, seed: int = metrics.SEED
) -> np.ndarray:
    """How often each patient (sorted by name) is drawn, integers of shape (R, P).

    The draws are those of `metrics.resampled_counts` with groups: the same patients and seed
    give the same draws, whatever their items.

    Args:
        patients: Patient of each item, shape (N,).
        resamples: Number of resamples R.
        seed: Seed of `numpy.random.default_rng`.
    """
    size = np.unique(patients).size
    return metrics.resampled_counts(np.arange(size), size, resamples=resamples, seed=seed)


def blocks(weights: np.ndarray) -> Iterator[np.ndarray]:
    """Weights of some resamples at a time, float32."""
    for start in range(0, len(weights), _BLOCK):
        yield weights[start : start + _BLOCK].astype(np.float32)


def _sum_by(
    owner: np.ndarray, codes: np.ndarray, n_codes: int, values: np.ndarray | None = None
) -> np.ndarray:
    """Sum of values (or count) by patient, head and code: (P, H, n_codes) of codes (H, N)."""
    heads, size = len(codes), owner.max() + 1
    cells = (owner * heads + np.arange(heads)[:, None]) * n_codes + codes
    values = None if values is None else values.ravel()
    flat = np.bincount(cells.ravel(), values, size * heads * n_codes)
    return flat.reshape(size, heads, n_codes)


def _rank(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Position of the true class, 0 for the first, shape (H, N); ties go by class number."""
    own = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:2])[..., None], -1)
    earlier = np.arange(logits.shape[-1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(-1)
