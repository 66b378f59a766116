"""Scores that are functions of sums over items, with intervals over patients."""

from collections.abc import Mapping

import numpy as np

from fetalclip_nb.stats import scores
from fetalclip_nb.stats.scores import RunScores, Score, Statistic, ratio


def patient_scores(
    items: np.ndarray,
    patients: np.ndarray,
    statistic: Statistic,
    *,
    n: Mapping[str, int] | None = None,
    sets: scores.Sets = scores.NO_SETS,
    resamples: int = scores.RESAMPLES,
) -> dict[str, RunScores]:
    """Scores of H runs and of their mean, as `scores.bootstrap` gives them.

    Args:
        items: What each of N items adds to the sums of each run, float of shape (N, H, ...).
        patients: Patient of each item, shape (N,).
        statistic: Maps sums of shape (R, H, ...) to scores by name, each of shape (R, H); NaN
            where the sums do not define one.
        n: Items that a score is made of, by name, where these are not all N.
        sets: As of `scores.resampled`.
        resamples: Number of bootstrap resamples.
    """
    owner, units = scores.owners(patients)
    # float64: sums of pixels go beyond what float32 counts exactly.
    sums = np.zeros((units, *np.shape(items)[1:]))
    np.add.at(sums, owner, items)
    of_weights = scores.on_sums(statistic, sums)
    return scores.bootstrap(of_weights, units, len(items), sizes=n, sets=sets, resamples=resamples)


def patient_means(
    values: Mapping[str, np.ndarray], patients: np.ndarray, *, resamples: int = scores.RESAMPLES
) -> dict[str, dict[str, Score]]:
    """Mean of each kind of value over the images that have one.

    Args:
        values: Name to a number an image, float of shape (N,); NaN where there is none.
        patients: Patient of each image, shape (N,).
        resamples: Number of bootstrap resamples of patients, which all values share.

    Returns:
        Name to {"patient": score}. A score's n counts the images that have the value; a name
        without any is left out.

    >>> found = patient_means({"a": np.array([1.0, 3.0, np.nan])}, np.array(["x", "y", "y"]))
    >>> found["a"]["patient"].value, found["a"]["patient"].n, found["a"]["patient"].groups
    (2.0, 2, 2)
    """
    table = np.array([*values.values()], dtype=np.float64).T  # images, values
    known = ~np.isnan(table)
    items = np.stack([np.where(known, table, 0), known], axis=-1)[:, None]

    def statistic(sums: np.ndarray) -> dict[str, np.ndarray]:
        means = ratio(sums[..., 0], sums[..., 1])
        return {name: means[..., i] for i, name in enumerate(values)}

    n = dict(zip(values, known.sum(axis=0).tolist(), strict=True))
    found = patient_scores(items, patients, statistic, n=n, resamples=resamples)
    return {name: {"patient": each.score} for name, each in found.items()}


def likeness(values: np.ndarray, patients: np.ndarray) -> float:
    """Intraclass correlation of the images of a patient, one-way random effects (ANOVA).

    0 where a patient's images are no more alike than any two, 1 where they are equal; below 0
    by chance. Source: Shrout and Fleiss, Psychological Bulletin 1979, ICC(1,1), with the mean
    group size of Donner, International Statistical Review 1986, for groups of unequal size.

    Args:
        values: One number an image, shape (N,); right answers as 0 and 1.
        patients: Patient of each image, shape (N,).

    Returns:
        The correlation; NaN where all values are equal, or each patient has one image.

    >>> likeness(np.array([1.0, 1.0, 0.0, 0.0]), np.array(["a", "a", "b", "b"]))
    1.0
    """
    values = np.asarray(values, dtype=np.float64)
    owner, groups = scores.owners(patients)
    sizes = np.bincount(owner)
    means = np.bincount(owner, values) / sizes
    freedom = len(values) - groups
    if groups < 2 or freedom == 0 or not np.ptp(values):
        return float("nan")
    between = (sizes * (means - values.mean()) ** 2).sum() / (groups - 1)
    within = ((values - means[owner]) ** 2).sum() / freedom
    size = (len(values) - (sizes**2).sum() / len(values)) / (groups - 1)
    return float((between - within) / (between + (size - 1) * within))
