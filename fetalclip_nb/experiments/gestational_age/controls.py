"""What gestational age must be compared with: baselines, controls and other sentences."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold

from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.gestational_age.ages import (
    age_embeddings,
    age_similarity,
    is_valid,
    predict_age,
)
from fetalclip_nb.growth import AGES_DAYS, gestational_age
from fetalclip_nb.models.similarity import normalise


def best_constant_age(hc_mm: np.ndarray) -> int:
    """The one age in days that is valid for the most heads (no image at all)."""
    shares = [is_valid(age, hc_mm).mean() for age in AGES_DAYS]
    return int(AGES_DAYS[int(np.argmax(shares))])


def spacing_only_age(
    spacing_mm: np.ndarray, hc_mm: np.ndarray, patients: np.ndarray, *, folds: int = 5
) -> np.ndarray:
    """Age from the pixel spacing alone: log-log regression, cross-fitted over patients.

    A sonographer zooms out for a larger head, so spacing knows something of the age. A
    method that reads the picture must beat this.

    Args:
        spacing_mm: Spacing at 224 pixels in mm, shape (N,).
        hc_mm: True head circumference in mm, shape (N,).
        patients: Patient of each image, shape (N,).
        folds: Number of folds; no patient is in both fit and prediction.

    Returns:
        Age in days, shape (N,).

    Raises:
        DataError: If there are fewer than two patients.
    """
    x = np.log(np.asarray(spacing_mm, dtype=np.float64))[:, None]
    y = np.log(np.asarray(hc_mm, dtype=np.float64))
    predicted = np.empty_like(y)
    folds = min(folds, len(set(patients)))
    if folds < 2:
        raise DataError("Heads of at least two patients are needed", found=f"{folds} patient")
    for train, test in GroupKFold(folds).split(x, y, patients):
        predicted[test] = LinearRegression().fit(x[train], y[train]).predict(x[test])
    return gestational_age(np.exp(predicted))


def control_ages(
    image_vectors: np.ndarray,
    black_vector: np.ndarray,
    spacings: Sequence[str],
    texts: dict[str, np.ndarray],
    *,
    seed: int,
) -> dict[str, np.ndarray]:
    """Predictions in which the picture cannot help; what they score is no merit of the eye.

    Args:
        image_vectors: Unit-norm rows, float32 of shape (N, D).
        black_vector: Unit-norm embedding of a black image, shape (1, D).
        spacings: Spacing of each image, N strings; kept with its head throughout.
        texts: As given by `age_embeddings`.
        seed: Seed of the shuffle.

    Returns:
        Control to predicted age in days (N,): each head with another head's picture, all
        heads with the mean embedding, all heads with a black image.
    """
    n = len(image_vectors)
    shuffled = image_vectors[np.random.default_rng(seed).permutation(n)]
    mean = np.tile(normalise(image_vectors.mean(0, keepdims=True)), (n, 1))
    black = np.tile(black_vector, (n, 1))
    pictures = {"shuffled images": shuffled, "mean embedding": mean, "black image": black}
    return {
        name: predict_age(age_similarity(vectors, spacings, texts))
        for name, vectors in pictures.items()
    }


def sentence_ages(
    encode: Callable[[list[str]], np.ndarray],
    frames: dict[str, list[str]],
    image_vectors: np.ndarray,
    spacings: Sequence[str],
) -> dict[str, np.ndarray]:
    """Predictions from one sentence frame at a time: how much hangs on the wording?

    Args:
        encode: Sentences to embeddings, cached.
        frames: {"templates": [...], "unseen": [...]} as given by `load_age_templates`.
        image_vectors: Unit-norm rows, float32 of shape (N, D).
        spacings: Spacing of each image, N strings.

    Returns:
        Name ("frame 1", ..., "paraphrases, averaged") to predicted age in days (N,).
    """
    found = {}
    for name, key in (("frame", "templates"), ("paraphrase", "unseen")):
        if frames[key]:
            texts = age_embeddings(encode, frames[key], spacings)
            for i in range(len(frames[key])):
                similarity = age_similarity(image_vectors, spacings, texts, templates=[i])
                found[f"{name} {i + 1}"] = predict_age(similarity)
            together = age_similarity(image_vectors, spacings, texts)
            found[f"{name}s, averaged"] = predict_age(together)
    return found
