"""Do clusters that are found without labels agree with them? k-means and the adjusted Rand index.

k-means ends in another partition from another start: the best of many starts is scored, and how
far the luck of starts goes stands beside the interval over patients.
"""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from fetalclip_nb.stats.scores import Score, interval, ratio, weights

STARTS, BEST_OF = 300, 100
"""Starts that are tried, and of how many of them the best is taken when their luck is measured."""

RESAMPLES = 500
"""Resamples of patients; to each the clusters are fitted anew."""


def agreement(
    vectors: np.ndarray, labels: np.ndarray, owner: np.ndarray, *, seed: int
) -> dict[str, Score]:
    """How well k-means clusters, as many as labels, agree with the labels.

    Args:
        vectors: Shape (N, D).
        labels: Number of each image's label, from 0, shape (N,).
        owner: Number of each image's patient, from 0, shape (N,).
        seed: Of the starts.

    Returns:
        "ari", the adjusted Rand index of the clusters with the least inertia of 300 starts; in
        each resample of patients the clusters are fitted anew, from these; the interval is for
        samples of as many patients, too narrow where clouds overlap. "ari/starts": the
        median, and the range that holds 95 %, of the best of 100 starts, were others drawn.

    Source: Hubert and Arabie, 1985 (adjusted Rand index).
    """
    kinds, units = int(labels.max()) + 1, int(owner.max()) + 1
    vectors = np.ascontiguousarray(vectors, np.float32)
    sizes = {"n": len(labels), "groups": units}
    tried = []
    for start in range(STARTS):
        means = _fit(vectors, kinds, random_state=seed * STARTS + start)
        index = float(adjusted_rand(_cells(labels, means.labels_, kinds)))
        tried.append((means.inertia_, index, means.cluster_centers_))
    inertia, indices = (np.array([each[i] for each in tried]) for i in (0, 1))
    best = int(inertia.argmin())
    picked = np.random.default_rng(seed).integers(0, STARTS, (2000, BEST_OF))
    lucky = indices[picked[np.arange(len(picked)), inertia[picked].argmin(1)]]
    drawn = []
    for block in weights(units, resamples=RESAMPLES):
        for times in block[:, owner]:
            means = _fit(vectors, kinds, times, init=tried[best][2])
            drawn.append(adjusted_rand(_cells(labels, means.labels_, kinds, times)))
    return {
        "ari": interval(float(indices[best]), np.array(drawn), **sizes).in_unit(""),
        "ari/starts": interval(float(np.median(lucky)), lucky, **sizes).in_unit(""),
    }


def _fit(
    vectors: np.ndarray, kinds: int, times: np.ndarray | None = None, **options: object
) -> KMeans:
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        # Few images, or a resample of them, may hold fewer different ones than there are labels.
        return KMeans(kinds, n_init=1, **options).fit(vectors, sample_weight=times)


def adjusted_rand(cells: np.ndarray) -> np.ndarray:
    """Adjusted Rand index of two partitions from the sizes of their intersections.

    Args:
        cells: Shape (..., C, K).

    Returns:
        Index of shape (...); 1 for the same partition, 0 on average by chance. Two partitions
        of a single part each are the same.

    >>> adjusted_rand(np.array([[2, 0], [0, 2]])).item()
    1.0
    """
    parts = (cells.reshape(*cells.shape[:-2], -1), cells.sum(-1), cells.sum(-2))
    together, rows, columns = map(_pairs, parts)
    every = _pairs(cells.sum((-2, -1))[..., None])
    expected = rows * columns / np.maximum(every, 1)
    best = (rows + columns) / 2
    return np.where(best == expected, 1.0, ratio(together - expected, best - expected))


def _pairs(counts: np.ndarray) -> np.ndarray:
    """Pairs of items that lie in the same part, summed over the last axis."""
    return (counts * (counts - 1.0)).sum(-1) / 2


def _cells(
    labels: np.ndarray, clusters: np.ndarray, kinds: int, times: np.ndarray | None = None
) -> np.ndarray:
    """Images of each label in each cluster, shape (kinds, kinds)."""
    return np.bincount(labels * kinds + clusters, times, kinds**2).reshape(kinds, kinds)
