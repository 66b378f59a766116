"""How well scores rank the items of a class above the others: AUROC and the ROC curve.

AUROC is the share of (item of the class, other item) pairs that are in the right order, a tie
counting half. Pairs add up by pairs of patients, so that a bootstrap of patients is a
quadratic form: no resample is ever sorted. 25 runs, six classes, 5,271 images and 10,000
resamples take a few seconds.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score, roc_curve

from fetalclip_nb.errors import DataError
from fetalclip_nb.stats.scores import ratio

GRID = np.linspace(0, 1, 101)
"""False-positive rates at which mean ROC curves are given."""

_ROWS = 128  # items compared at a time: their counts stay in the processor's cache

_Sides = list[tuple[np.ndarray, np.ndarray]]
"""Patients with items of the class, and with others: their numbers and numbers of items."""


def log_odds(logits: np.ndarray, chosen: int) -> np.ndarray:
    """Logarithm of p / (1 - p) for one class: logits (..., C) to (...).

    It ranks as the probability does, without the ties that probabilities near 1 round to.
    """
    logits = logits.astype(np.float64)
    return logits[..., chosen] - logsumexp(np.delete(logits, chosen, axis=-1), axis=-1)


def auroc(
    logits: np.ndarray, labels: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """AUROC of each run, and its mean over the runs in resamples.

    Of two classes, class 1 is ranked; of more, each class that has items is ranked against
    the rest and the mean is taken.

    Args:
        logits: Shape (H, N, C).
        labels: True class index, shape (N,); at least two classes occur.
        owner: Patient number of each item, shape (N,).

    Returns:
        Values of shape (H,), and a function that maps how often each patient is drawn, shape
        (R, P), to means over runs of shape (R,), NaN where a whole class is lost.
    """
    ranked = [1] if logits.shape[-1] == 2 else sorted(set(labels.tolist()))
    values, pairs = [], []
    for chosen in ranked:
        odds, positive = log_odds(logits, chosen), labels == chosen
        values.append([roc_auc_score(positive, row) for row in odds])
        pairs.append(_ordered_pairs(odds, positive, owner))

    def resampled(weights: np.ndarray) -> np.ndarray:
        return np.mean([_share_in_order(weights, *each) for each in pairs], axis=0)

    return np.mean(values, axis=0), resampled


def _share_in_order(weights: np.ndarray, pairs: np.ndarray, sides: _Sides) -> np.ndarray:
    """Mean AUROC over the runs in each resample, shape (R,), from `_ordered_pairs`."""
    first, second = (weights[:, patients] for patients, _ in sides)
    right = np.einsum("rp,rp->r", first @ pairs, second, dtype=np.float64)
    return ratio(right, (first @ sides[0][1]) * (second @ sides[1][1]))


def _ordered_pairs(
    odds: np.ndarray, positive: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, _Sides]:
    """Mean number (over runs) of pairs in the right order by pairs of patients, float32."""
    rows = [np.flatnonzero(side) for side in (positive, ~positive)]
    rows = [side[np.argsort(owner[side], kind="stable")] for side in rows]
    (above, starts, n_above), (below, other_starts, n_below) = (
        np.unique(owner[side], return_index=True, return_counts=True) for side in rows
    )
    upper, lower = odds[:, rows[0]], odds[:, rows[1]]
    sums = np.empty((rows[0].size, below.size))
    for start in range(0, rows[0].size, _ROWS):
        # Each run adds 2 for a right pair and 1 for a tie.
        counts = np.zeros((len(upper[0, start : start + _ROWS]), rows[1].size), dtype=np.int32)
        for high, low in zip(upper[:, start : start + _ROWS], lower, strict=True):
            counts += high[:, None] > low
            counts += high[:, None] >= low
        sums[start : start + _ROWS] = np.add.reduceat(counts, other_starts, axis=1)
    pairs = np.add.reduceat(sums, starts, axis=0) / (2 * len(odds))
    return pairs.astype(np.float32), [(above, n_above), (below, n_below)]


def roc_points(logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """The mean ROC curve over runs on a fixed grid, with the runs' spread.

    Args:
        logits: Shape (H, N, 2).
        labels: True class, 0 or 1, shape (N,).

    Returns:
        101 rows with the columns false_positive_rate, true_positive_rate (mean over runs),
        low and high (2.5th and 97.5th percentile over runs), all from 0 to 1.
    """
    labelled = sorted(set(np.asarray(labels).tolist()))
    if logits.shape[-1] != 2 or labelled != [0, 1]:
        found = f"{logits.shape[-1]} columns, labels {labelled}"
        raise DataError("A ROC curve needs items of two classes", expected="0 and 1", found=found)
    curves = [roc_curve(labels, odds, drop_intermediate=False) for odds in log_odds(logits, 1)]
    heights = np.array([np.interp(GRID, rates, hits) for rates, hits, _ in curves])
    low, high = np.percentile(heights, [2.5, 97.5], axis=0)
    mean = {"false_positive_rate": GRID, "true_positive_rate": heights.mean(0)}
    return pd.DataFrame(mean).assign(low=low, high=high)
