"""Areas under deletion and insertion curves, per class, with intervals over patients."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from fetalclip_nb.experiments.cam.controls import rank_correlations
from fetalclip_nb.stats.answers import Answers, answer_table
from fetalclip_nb.stats.patients import patient_means
from fetalclip_nb.stats.scores import Score

Units = Mapping[str, Mapping[str, Score]]
"""Metric to unit ("patient") to score, as result files take them."""


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


def areas(insertion: np.ndarray, deletion: np.ndarray) -> dict[str, np.ndarray]:
    """Area under each image's curves (N, K + 1), and by how much insertion exceeds deletion.

    Returns:
        "insertion", "deletion" and "difference", float64 of shape (N,).
    """
    found = {"insertion": area_under(insertion), "deletion": area_under(deletion)}
    return found | {"difference": found["insertion"] - found["deletion"]}


def class_means(
    values: Mapping[str, np.ndarray], labels: np.ndarray, patients: np.ndarray
) -> Units:
    """Means over all images and over those of each class, with intervals over patients.

    Args:
        values: Name to a number an image, float of shape (N,); NaN where there is none.
        labels: Class name of each image, shape (N,).
        patients: Patient of each image, shape (N,).

    Returns:
        NAME/all, and NAME/CLASS of each class.
    """
    found = {}
    for name, each in values.items():
        found[f"{name}/all"] = each
        for label in np.unique(labels):
            found[f"{name}/{label}"] = np.where(labels == label, each, np.nan)
    return patient_means(found, patients)


def class_answers(
    values: Mapping[str, np.ndarray], measure: str, labels: np.ndarray, images: pd.DataFrame
) -> Answers:
    """A measure of all images and of each class's, as rows are compared by: patient by patient.

    Args:
        values: Name to a number an image, float of shape (N,); all are kept.
        measure: Which of them is compared.
        labels: Class name of each image, shape (N,).
        images: Columns id and patient, N rows.
    """
    chosen = {"all": np.full(len(labels), True)} | {c: labels == c for c in np.unique(labels)}
    units = images["id"].to_numpy(), images["patient"].to_numpy()
    return {
        f"{measure}/{place}": answer_table(
            *(unit[rows] for unit in units),
            part=values[measure][rows],
            whole=1,
            **{name: each[rows] for name, each in values.items() if name != measure},
        )
        for place, rows in chosen.items()
    }


def similarity_scores(maps: np.ndarray, others: np.ndarray, patients: np.ndarray) -> Units:
    """Mean rank correlation of two kinds of map (N, S, S): "similarity", from -1 to 1."""
    found = patient_means({"similarity": rank_correlations(maps, others)}, patients)
    return {name: {"patient": each["patient"].in_unit("")} for name, each in found.items()}


def of_measure(scores: Units, measure: str) -> dict[str, Score]:
    """Scores of a measure by what follows its name: classes, "all" images first, or structures."""
    parts = {name.partition("/"): units["patient"] for name, units in scores.items()}
    return {place: score for (name, _, place), score in parts.items() if name == measure}


def mean_curve(curves: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean of curves (N, K + 1) at each step, with its 95 % interval over patients.

    Returns:
        Low end, mean and high end, float64 of shape (3, K + 1).
    """
    found = patient_means(dict(enumerate(np.transpose(curves))), patients)
    ends = [(s["patient"].low, s["patient"].value, s["patient"].high) for s in found.values()]
    return np.transpose(ends)
