"""Intervals of shares over patients, also near 0 and 1, where a bootstrap has nothing to draw."""

import numpy as np
from scipy.stats import beta, t


def clustered(right: np.ndarray, owner: np.ndarray) -> tuple[float, float]:
    """95 % interval of a share over patients: Clopper and Pearson's on as many images as count.

    Images of a patient who is right or wrong throughout count less than as many patients: the
    number of images is divided by how much the patients' own spread exceeds that of a coin. Where
    nothing varies this cannot be known, and each patient counts once.

    Args:
        right: Whether each image's answer is right, shape (N,).
        owner: Patient number of each image, shape (N,).

    Source: Korn and Graubard, Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data, Survey Methodology 24, 1998.

    >>> low, high = clustered(np.full(30, True), np.arange(30))
    >>> round(low, 3), high
    (0.884, 1.0)
    """
    images = np.bincount(owner)
    n, units, value = len(right), len(images), right.mean()
    spread = ((np.bincount(owner, right) - value * images) ** 2).sum() / n**2
    effective = float(units)
    if spread and units > 1:
        effective = value * (1 - value) / (spread * units / (units - 1))
        effective *= (t.ppf(0.975, n - 1) / t.ppf(0.975, units - 1)) ** 2
        effective = min(effective, n)
    hits = value * effective
    low = beta.ppf(0.025, hits, effective - hits + 1) if hits > 0 else 0.0
    high = beta.ppf(0.975, hits + 1, effective - hits) if hits < effective else 1.0
    return float(low), float(high)


def clustered_f1(hit: np.ndarray, concerned: np.ndarray, owner: np.ndarray) -> tuple[float, float]:
    """95 % interval of a class's F1 over patients.

    With J the share of hits among the images that are of the class or are called so, F1 is
    2 J / (1 + J), which rises with J: its interval is that of J, so mapped.

    Args:
        hit: Images of the class that are called so, boolean (N,).
        concerned: Images that are of the class or are called so, boolean (N,), not none.
        owner: Patient number of each image, shape (N,).
    """
    _, owner = np.unique(owner[concerned], return_inverse=True)
    low, high = clustered(hit[concerned], owner)
    return 2 * low / (1 + low), 2 * high / (1 + high)
