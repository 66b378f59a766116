"""The nearest images of other patients, and how many of them have the same label.

Images of one patient lie together for reasons of their own (the same machine, gain and
anatomy): a neighbour of the same patient would give the label away, so it does not count.
"""

import numpy as np
from sklearn.metrics import pairwise_distances_chunked

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.models.similarity import normalise
from fetalclip_nb.stats.scores import ratio

METRICS = ("euclidean", "cosine")
"""Distances; Euclidean on un-normalised vectors is that of the published maps."""

PERMUTATIONS = 1000
"""Of the patients, where labels are exchanged between them."""

_MEMORY_MIB = 64  # of distances at a time


def neighbours(
    vectors: np.ndarray,
    patients: np.ndarray,
    k: int = 10,
    *,
    within: np.ndarray | None = None,
    metric: str = "euclidean",
) -> np.ndarray:
    """The k nearest images of other patients, the nearest first.

    Args:
        vectors: Shape (N, D).
        patients: Patient of each image, shape (N,).
        k: Number of neighbours, less than N.
        within: Group of each image, shape (N,): only images of its group are looked at.
        metric: "euclidean" or "cosine".

    Returns:
        Row numbers, int64 of shape (N, k); -1 where there are fewer such images.

    Raises:
        ParameterError: If k or the metric is impossible.
        DataError: If all images are of one patient.

    >>> neighbours(np.array([[0.0], [1.0], [3.0]]), np.array(["a", "a", "b"]), 2).tolist()
    [[2, -1], [2, -1], [1, 0]]
    """
    vectors = comparable(vectors, metric)
    if not 1 <= k < len(vectors):
        possible = f"1 to {len(vectors) - 1}"
        raise ParameterError("Impossible number of neighbours", expected=possible, found=k)
    owner, group = codes(patients), _groups(within, len(vectors))
    if owner.max() == 0:
        raise DataError("Images of at least two patients are needed", found=f"{len(owner)} of one")

    def nearest(distances: np.ndarray, start: int) -> np.ndarray:
        rows = slice(start, start + len(distances))
        barred = (owner[rows, None] == owner) | (group[rows, None] != group)
        distances = np.where(barred, np.inf, distances)
        found = np.argpartition(distances, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(distances, found, axis=1)
        found = np.where(np.isinf(near), -1, found)
        return np.take_along_axis(found, np.argsort(near, axis=1), axis=1)

    chunks = pairwise_distances_chunked(vectors, reduce_func=nearest, working_memory=_MEMORY_MIB)
    return np.concatenate(list(chunks))


def knn_purity(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share (N,) of the `neighbours` found (N, k) that have an image's label; NaN without any.

    >>> knn_purity(np.array([[1, 2], [0, -1], [-1, -1]]), np.array(["x", "x", "y"])).tolist()
    [0.5, 1.0, nan]
    """
    known, labels = found >= 0, np.asarray(labels)
    return ratio(((labels[found] == labels[:, None]) & known).sum(1), known.sum(1))


def expected_purity(
    labels: np.ndarray, patients: np.ndarray, *, within: np.ndarray | None = None
) -> np.ndarray:
    """What `knn_purity` is on average if neighbours are drawn at random.

    Args:
        labels: Label of each image, shape (N,).
        patients: Patient of each image, shape (N,).
        within: Group of each image, shape (N,); None for a single one.

    Returns:
        Share of the images of other patients (in the group) that have the image's label,
        float64 of shape (N,); NaN where there are none.

    >>> expected_purity(np.array(["x", "x", "y"]), np.array(["a", "b", "c"])).tolist()
    [0.5, 0.5, 0.0]
    """
    owner, labels, group = codes(patients), codes(labels), _groups(within, len(labels))
    both = group * (labels.max() + 1) + labels
    return ratio(_others(both, owner), _others(group, owner))


def permuted_excess(
    found: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    within: np.ndarray,
    seed: int = 0,
) -> np.ndarray:
    """Excess of purity over chance if labels had nothing to do with the vectors.

    Images of a patient lie together, and share what the patient carries, such as the machine.
    Two patients that happen to look alike thus agree or disagree with all their images at once,
    and the excess strays further from 0 than single images would let it. So patients keep their
    images and exchange their labels.

    Args:
        found: As `neighbours` gives them within these groups, shape (N, k).
        labels: Label of each image, shape (N,).
        patients: Patient of each image, shape (N,).
        within: Group of each image, shape (N,).
        seed: Of the permutations.

    Returns:
        (purity - chance) / (1 - chance) of each permutation; NaN where chance is 1.

    Source: Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005 (whole blocks
    are exchanged where only these are exchangeable).
    """
    labels, owner, group = codes(labels), codes(patients), codes(within)
    rng, excess = np.random.default_rng(seed), np.empty(PERMUTATIONS)
    for i in range(PERMUTATIONS):
        drawn = labels[exchanged(owner, rng.permutation(owner.max() + 1))]
        chance = np.nanmean(expected_purity(drawn, owner, within=group))
        excess[i] = ratio(np.nanmean(knn_purity(found, drawn)) - chance, 1 - chance)
    return excess


def exchanged(owner: np.ndarray, donors: np.ndarray) -> np.ndarray:
    """The image whose label each image gets when patients exchange their labels.

    A patient's images get the donor's labels in their order. Where one has more images than the
    other, the order is stretched or thinned, so that the shares of labels are kept as well as
    can be; a patient with a single label hands on just that.

    Args:
        owner: Number of each image's patient, integers of shape (N,).
        donors: Patient whose labels each patient gets, a permutation.

    Returns:
        Row numbers, integers of shape (N,).

    >>> exchanged(np.array([0, 0, 1, 1, 1, 1]), np.array([1, 0])).tolist()
    [2, 4, 0, 0, 1, 1]
    """
    order, sizes = np.argsort(owner, kind="stable"), np.bincount(owner)
    starts = np.cumsum(sizes) - sizes
    place = np.empty_like(order)
    place[order] = np.arange(len(owner)) - starts[owner[order]]
    donor = donors[owner]
    return order[starts[donor] + place * sizes[donor] // sizes[owner]]


def comparable(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Vectors (N, D) as float32 whose Euclidean distances are in the order of a metric's.

    Raises:
        ParameterError: If the metric is unknown.
    """
    if metric not in METRICS:
        raise ParameterError("Unknown distance", expected=", ".join(METRICS), found=metric)
    return normalise(vectors) if metric == "cosine" else np.asarray(vectors, dtype=np.float32)


def codes(values: np.ndarray) -> np.ndarray:
    """Number of each value among the sorted distinct ones, integers of shape (N,).

    >>> codes(np.array(["b", "a", "b"])).tolist()
    [1, 0, 1]
    """
    return np.unique(np.asarray(values), return_inverse=True)[1]


def _groups(within: np.ndarray | None, n: int) -> np.ndarray:
    return np.zeros(n, np.intp) if within is None else codes(within)


def _others(keys: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Images of other patients that share an image's key, shape (N,)."""
    own = codes(keys * (owner.max() + 1) + owner)
    return np.bincount(keys)[keys] - np.bincount(own)[own]
