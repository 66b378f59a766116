"""Scores of many heads that are functions of sums over items, with intervals over patients.

As in `run_scores`, a patient's sums are taken once; a resample's sums are the drawn patients'
weights times that table, for all heads in one matrix product.

Means of per-image values with intervals over patients, all from one draw of patients.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.stats import scores
from fetalclip_nb.stats.scores import RunScores, Score


def patient_scores(
    items: np.ndarray,
    patients: np.ndarray,
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    *,
    n: Mapping[str, int] | None = None,
    resamples: int = scores.RESAMPLES,
    seed: int = scores.SEED,
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
        return RunScores(values[name], scores.interval(mean, resampled, n=size, groups=names.size))

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


def patient_means(
    values: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    resamples: int = scores.RESAMPLES,
    seed: int = scores.SEED,
) -> dict[str, dict[str, Score]]:
    """Mean of each kind of value over the images that have one.

    Args:
        values: Name to a number an image, float of shape (N,); NaN where there is none.
        patients: Patient of each image, shape (N,).
        resamples: Number of bootstrap resamples of patients.
        seed: Seed of the patient draws; all values share them.

    Returns:
        Name to {"patient": score}, as result files take it. A score's n counts the images
        that have the value; a name without any is left out.

    Raises:
        ShapeError: If there are no values or images, or not one value and patient an image.

    >>> found = patient_means({"a": np.array([1.0, 3.0, np.nan])}, np.array(["x", "y", "y"]))
    >>> found["a"]["patient"].value, found["a"]["patient"].n, found["a"]["patient"].groups
    (2.0, 2, 2)
    """
    patients = np.asarray(patients)
    require_one_each(values, patients)
    columns = np.array([*values.values()], dtype=np.float64)
    table = columns.reshape(len(values), patients.size).T  # images, values
    known = ~np.isnan(table)
    items = np.stack([np.where(known, table, 0), known], axis=-1)[:, None]

    def statistic(sums: np.ndarray) -> dict[str, np.ndarray]:
        means = ratio(sums[..., 0], sums[..., 1])
        return {name: means[..., i] for i, name in enumerate(values)}

    n = dict(zip(values, known.sum(axis=0).tolist(), strict=True))
    found = patient_scores(items, patients, statistic, n=n, resamples=resamples, seed=seed)
    return {name: {"patient": each.score} for name, each in found.items()}


def require_one_each(values: Mapping[str, np.ndarray], images: np.ndarray) -> None:
    """Refuse values that are not one an image.

    Args:
        values: Name to values, shape (N,).
        images: Anything that has one entry an image, shape (N,).

    Raises:
        ShapeError: Naming the first values that do not fit.
    """
    for name, each in values.items():
        if np.shape(each) != np.shape(images):
            raise ShapeError(
                "One value an image is needed",
                where=name,
                expected=np.shape(images),
                found=np.shape(each),
            )


_BLOCK = 500  # resamples at a time: enough for busy cores, little enough to stay in memory


def patient_weights(
    patients: np.ndarray, *, resamples: int = scores.RESAMPLES, seed: int = scores.SEED
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
    return scores.resampled_counts(np.arange(size), size, resamples=resamples, seed=seed)


def blocks(weights: np.ndarray) -> Iterator[np.ndarray]:
    """Weights of some resamples at a time, float32."""
    for start in range(0, len(weights), _BLOCK):
        yield weights[start : start + _BLOCK].astype(np.float32)
