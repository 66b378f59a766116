"""Areas under deletion and insertion curves, per class, with intervals over patients."""

from collections.abc import Mapping

import numpy as np
from scipy.integrate import trapezoid

from fetalclip_nb.experiments.cam.controls import rank_correlations
from fetalclip_nb.stats.patients import patient_means
from fetalclip_nb.stats.scores import Score


def area_under(curves: np.ndarray) -> np.ndarray:
    """Mean height of curves by the trapezoid rule, the share of pixels going from 0 to 1.

    Args:
        curves: Shape (..., K + 1).

    Returns:
        Shape (...): for deletion the smaller, for insertion the larger the better.

    >>> float(area_under(np.array([1.0, 0.5, 0.5])))
    0.625
    """
    return trapezoid(curves, dx=1 / (np.shape(curves)[-1] - 1), axis=-1)


def areas(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Area under each image's curves, and by how much insertion exceeds deletion.

    Args:
        found: "deletion" and "insertion" to curves, as given by `faithfulness.faithfulness_curves`.

    Returns:
        "insertion", "deletion" and "difference", float64 of shape (N,).
    """
    insertion, deletion = (area_under(found[mode]) for mode in ("insertion", "deletion"))
    return {"insertion": insertion, "deletion": deletion, "difference": insertion - deletion}


def faithfulness_scores(
    deletion: np.ndarray, insertion: np.ndarray, labels: np.ndarray, patients: np.ndarray
) -> dict[str, dict[str, Score]]:
    """Mean areas of one kind of map over all images and over those of each class.

    Args:
        deletion: Area under each image's deletion curve, shape (N,); the smaller the better.
        insertion: Area under each image's insertion curve, shape (N,); the larger the better.
        labels: Class name of each image, shape (N,).
        patients: Patient of each image, shape (N,).

    Returns:
        insertion/all, deletion/all and difference/all (insertion minus deletion; the larger the
        better), and the same of each class (difference/brain), each with its 95 % interval over
        patients, as `Session.save` takes them.
    """
    deletion, insertion = np.asarray(deletion), np.asarray(insertion)
    measures = {"insertion": insertion, "deletion": deletion, "difference": insertion - deletion}
    return patient_means(_by_class(measures, labels), patients)


def advantage(
    one: np.ndarray, other: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, name: str
) -> dict[str, dict[str, Score]]:
    """By how much one kind of map is ahead of another on the same images.

    What images have in common cancels: two kinds may have overlapping intervals although one
    is ahead in nearly every image. An interval above 0 says that it is.

    Args:
        one: Value of each image for one kind of map ("difference" of `areas`), shape (N,); NaN
            where there is none.
        other: The same for the other kind.
        labels: Class name of each image, shape (N,).
        patients: Patient of each image, shape (N,).
        name: Of the results: "over_random" gives over_random/all, over_random/brain, ...

    Returns:
        Mean of one minus other, with its 95 % interval over patients.
    """
    return patient_means(_by_class({name: np.subtract(one, other)}, labels), patients)


def similarity_scores(
    maps: np.ndarray, others: np.ndarray, patients: np.ndarray
) -> dict[str, dict[str, Score]]:
    """Mean rank correlation between two kinds of map, with its interval over patients.

    Args:
        maps: Shape (N, S, S).
        others: Maps of the same images, shape (N, S, S).
        patients: Patient of each image, shape (N,).

    Returns:
        similarity, from -1 to 1.
    """
    found = patient_means({"similarity": rank_correlations(maps, others)}, patients)
    return {name: {"patient": each["patient"].in_unit("")} for name, each in found.items()}


def mean_curve(curves: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean of curves at each step, with its 95 % interval over patients.

    Args:
        curves: Shape (N, K + 1).
        patients: Patient of each image, shape (N,).

    Returns:
        Low end, mean and high end, float64 of shape (3, K + 1).
    """
    found = patient_means(dict(enumerate(np.transpose(curves))), patients)
    ends = [(s["patient"].low, s["patient"].value, s["patient"].high) for s in found.values()]
    return np.transpose(ends)


def _by_class(values: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Values of all images, and of each class with NaN for the others: NAME/all, NAME/CLASS."""
    labels = np.asarray(labels)
    found = {}
    for name, each in values.items():
        found[f"{name}/all"] = each
        for label in sorted(set(labels.tolist())):
            found[f"{name}/{label}"] = np.where(labels == label, each, np.nan)
    return found
