"""Zero-shot gestational age: which of 175 ages does the caption have to name?"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.hc18 import COUNTED_HC_MM, counted
from fetalclip_nb.data.prompts import age_sentence
from fetalclip_nb.data.released import released_age_scores
from fetalclip_nb.growth import AGES_DAYS, STRATA_MM, gestational_age, head_circumference
from fetalclip_nb.models.similarity import SCALE, normalise
from fetalclip_nb.stats import scores

INPUT_SIDE = 224
"""Side in pixels that the paper's spacing refers to, whatever the encoder's own input."""

TOP_AGES = 15


class Heads:
    """The heads of HC18 that the paper counts, and what their captions and scores need.

    Attributes:
        whole: All images, as read.
        dataset: Heads of 100 to 342 mm, N of them.
        table: One row an image.
        hc_mm: True head circumference in mm, shape (N,).
        patients: Patient of each image, shape (N,).
        spacings: Pixel spacing that the captions of each image name, N strings.
    """

    def __init__(self, whole: Dataset) -> None:
        self.whole, self.dataset = whole, whole.where(counted(whole))
        self.table = table = self.dataset.table
        self.hc_mm, self.patients = table["hc_mm"].to_numpy(), table["patient"].to_numpy()
        self.spacings = prompt_spacing(table["width"], table["height"], table["pixel_mm"])

    def __len__(self) -> int:
        return len(self.dataset)


def prompt_spacing(width: np.ndarray, height: np.ndarray, pixel_mm: np.ndarray) -> list[str]:
    """The pixel spacing that a caption names, N strings with two decimals.

    >>> prompt_spacing([800], [540], [0.128])
    ['0.46']
    """
    return [f"{value:.2f}" for value in stated_spacing(width, height, pixel_mm)]


def stated_spacing(width: ArrayLike, height: ArrayLike, pixel_mm: ArrayLike) -> np.ndarray:
    """Spacing in mm that captions state: max(width, height) in pixels / 224 x pixel size in mm.

    Source: FetalCLIP (arXiv 2502.14807), zero-shot gestational age.
    """
    return np.maximum(width, height) / INPUT_SIDE * np.asarray(pixel_mm)


def age_embeddings(
    encode: Callable[[list[str]], np.ndarray], templates: Sequence[str], spacings: Sequence[str]
) -> dict[str, np.ndarray]:
    """Encode all ages in all templates, once per distinct spacing.

    Args:
        encode: Sentences to embeddings (n, D); a cached encoder makes a second run cheap.
        templates: T sentence frames.
        spacings: Spacing of each image; repeated values cost nothing.

    Returns:
        Spacing to unit-norm rows, float32 of shape (T, 175, D).
    """
    texts = {}
    for spacing in sorted(set(spacings)):
        sentences = [age_sentence(frame, age, spacing) for frame in templates for age in AGES_DAYS]
        vectors = normalise(encode(sentences))
        texts[spacing] = vectors.reshape(len(templates), len(AGES_DAYS), -1)
    return texts


def age_similarity(
    image_vectors: np.ndarray, spacings: Sequence[str], texts: dict[str, np.ndarray]
) -> np.ndarray:
    """Similarity of each image to each age, averaged over templates.

    Args:
        image_vectors: Unit-norm rows, float32 of shape (N, D).
        spacings: Spacing of each image, N strings.
        texts: As given by `age_embeddings`.

    Returns:
        100 x cosine, float32 of shape (N, 175).
    """
    similarity = np.empty((len(spacings), len(AGES_DAYS)), dtype=np.float32)
    for spacing, of_ages in texts.items():
        rows = np.asarray(spacings) == spacing
        # The mean of dot products is the dot product with the mean.
        similarity[rows] = SCALE * image_vectors[rows] @ of_ages.mean(0).T
    return similarity


def predict_age(similarity: np.ndarray) -> np.ndarray:
    """Predicted age in days (N,): the middle one, by age, of the 15 most similar (N, 175).

    Source: FetalCLIP repository, zero-shot HC18 post-processing.
    """
    top = np.argpartition(-similarity, TOP_AGES - 1, axis=1)[:, :TOP_AGES]
    return AGES_DAYS[np.sort(top, axis=1)[:, TOP_AGES // 2]]


def predicted_ages(
    image_vectors: np.ndarray, spacings: Sequence[str], texts: dict[str, np.ndarray]
) -> np.ndarray:
    """`predict_age` of `age_similarity`."""
    return predict_age(age_similarity(image_vectors, spacings, texts))


def is_valid(age_days: np.ndarray, hc_mm: np.ndarray) -> np.ndarray:
    """Whether the true circumference is from the 2.5th to the 97.5th centile of the predicted age.

    >>> is_valid(np.array([140, 140]), np.array([174.0, 250.0])).tolist()
    [True, False]
    """
    low, high = head_circumference(age_days, 2.5), head_circumference(age_days, 97.5)
    return (low <= hc_mm) & (hc_mm <= high)


def strata(hc_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Which heads are in each stratum "LOW-HIGH" of `STRATA_MM`, boolean (N,)."""
    number = np.digitize(hc_mm, [low for low, _ in STRATA_MM[1:]])
    return {f"{low:.0f}-{high:.0f}": number == i for i, (low, high) in enumerate(STRATA_MM)}


def age_scores(
    age_days: np.ndarray, hc_mm: np.ndarray, patients: np.ndarray | None = None
) -> dict[str, scores.Score]:
    """Valid prediction rate, overall and by stratum, and errors, with intervals.

    Args:
        age_days: Predicted age in days, shape (N,).
        hc_mm: True head circumference in mm, shape (N,); only heads that count.
        patients: Resample these (the honest unit), or None for images (as published).

    Returns:
        Scores by name: vpr, vpr/LOW-HIGH for each stratum of five patients, age_error_days
        (median absolute difference to the age at which the true circumference is the
        median), hc_error (median relative difference of the median circumference at the
        predicted age to the true one).
    """
    valid = is_valid(age_days, hc_mm)
    found = {"vpr": scores.share(valid, groups=patients)}
    for size, rows in strata(hc_mm).items():
        groups = None if patients is None else patients[rows]
        units = np.flatnonzero(rows) if groups is None else groups
        if len(set(units)) >= scores.FEWEST_PATIENTS:
            found[f"vpr/{size}"] = scores.share(valid[rows], groups=groups)
    days = np.abs(age_days - gestational_age(hc_mm))
    found["age_error_days"] = scores.median(days, groups=patients).in_unit("days")
    relative = np.abs(head_circumference(age_days) / hc_mm - 1)
    return found | {"hc_error": scores.median(relative, groups=patients)}


def both_age_scores(
    age_days: np.ndarray, hc_mm: np.ndarray, patients: np.ndarray | None
) -> dict[str, dict[str, scores.Score]]:
    """`age_scores` with both intervals, patients and images resampled."""
    return scores.both_units(lambda groups: age_scores(age_days, hc_mm, groups), patients)


def released_ages(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """FetalCLIP's ages in days and the true circumferences in mm of the 814 heads that count."""
    released = released_age_scores(folder)
    low, high = COUNTED_HC_MM
    rows = (released.hc_mm >= low) & (released.hc_mm <= high)
    return predict_age(released.scores[rows]), released.hc_mm[rows]


def released_scores(folder: Path) -> dict[str, dict[str, scores.Score]]:
    """Scores of the released ages; patients are not in the files."""
    return both_age_scores(*released_ages(folder), None)
