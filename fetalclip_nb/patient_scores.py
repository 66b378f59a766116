"""Scores of many heads that are functions of sums over items, with intervals over patients.

As in `run_scores`, a patient's sums are taken once; a resample's sums are the drawn patients'
weights times that table, for all heads in one matrix product.
"""

from collections.abc import Callable, Mapping

import numpy as np

from fetalclip_nb import metrics
from fetalclip_nb.errors import ShapeError
from fetalclip_nb.patient_sums import blocks, patient_weights
from fetalclip_nb.run_scores import RunScores


def patient_scores(
    items: np.ndarray,
    patients: np.ndarray,
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    *,
    n: Mapping[str, int] | None = None,
    resamples: int = metrics.RESAMPLES,
    seed: int = metrics.SEED,
) -> dict[str, RunScores]:
    """Scores of H heads and of their mean, every head on the same drawn patients.

    Args:
        items: What each of N items adds to the sums of each head, float of shape (N, H, ...).
        patients: Patient of each item, shape (N,).
        statistic: Maps sums of shape (R, H, ...) to scores by name, each of shape (R, H); NaN
            where the sums do not define one.
        n: Items that a score is made of, by name, where these are not all N.
        resamples: Number of bootstrap resamples.
        seed: Seed of the patient draws.

    Returns:
        Scores by name. Means over heads leave undefined values out; a score that no head has
        is absent.

    Raises:
        ShapeError: If there are no items or heads, or not one patient an item.
    """
    items, patients = np.asarray(items, dtype=np.float64), np.asarray(patients)
    if items.ndim < 2 or 0 in items.shape or patients.shape != items.shape[:1]:
        raise ShapeError(
            "Items and patients do not fit",
            expected="at least one item and head, one patient an item",
            found=f"items {items.shape}, patients {patients.shape}",
        )
    names, owner = np.unique(patients, return_inverse=True)
    # float64: sums of pixels go beyond what float32 counts exactly.
    sums = np.zeros((names.size, *items.shape[1:]))
    np.add.at(sums, owner, items)
    values = {name: found[0] for name, found in statistic(sums.sum(0)[None]).items()}
    drawn = {name: [] for name, found in values.items() if not np.isnan(found).all()}
    for block in blocks(patient_weights(patients, resamples=resamples, seed=seed)):
        found = statistic(np.tensordot(block.astype(np.float64), sums, 1))
        for name, kept in drawn.items():
            kept.append(mean_of_defined(found[name]))

    def entry(name: str) -> RunScores:
        size = (n or {}).get(name, len(items))
        mean = float(mean_of_defined(values[name]))
        resampled = np.concatenate(drawn[name])
        return RunScores(values[name], metrics.interval(mean, resampled, n=size, groups=names.size))

    return {name: entry(name) for name in drawn}


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part over whole, NaN where the whole is 0.

    >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left.

    >>> mean_of_defined(np.array([[1.0, 3.0], [1.0, np.nan], [np.nan, np.nan]])).tolist()
    [2.0, 1.0, nan]
    """
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1))
