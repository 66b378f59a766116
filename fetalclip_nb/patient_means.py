"""Means of per-image values with intervals over patients, all from one draw of patients."""

from collections.abc import Mapping

import numpy as np

from fetalclip_nb import metrics
from fetalclip_nb.errors import ShapeError
from fetalclip_nb.metrics import Score
from fetalclip_nb.patient_scores import patient_scores, ratio


def patient_means(
    values: Mapping[str, np.ndarray],
    patients: np.ndarray,
    *,
    resamples: int = metrics.RESAMPLES,
    seed: int = metrics.SEED,
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
