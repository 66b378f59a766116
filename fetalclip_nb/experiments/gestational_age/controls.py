"""What gestational age must be compared with: baselines, controls and other sentences."""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, cross_val_predict

from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.gestational_age.ages import age_embeddings, is_valid, predicted_ages
from fetalclip_nb.growth import AGES_DAYS, gestational_age
from fetalclip_nb.models.similarity import normalise


def best_constant_age(hc_mm: np.ndarray) -> int:
    """The one age in days that is valid for the most heads (no image at all)."""
    shares = [is_valid(age, hc_mm).mean() for age in AGES_DAYS]
    return int(AGES_DAYS[int(np.argmax(shares))])


def spacing_only_age(
    spacings: Sequence[str], hc_mm: np.ndarray, patients: np.ndarray
) -> np.ndarray:
    """Age from the pixel spacing alone: log-log regression, cross-fitted over patients.

    A sonographer zooms out for a larger head, so spacing knows something of the age. A
    method that reads the picture must beat this.

    Args:
        spacings: Spacing of each image, N strings.
        hc_mm: True head circumference in mm, shape (N,).
        patients: Patient of each image, shape (N,); none is in both fit and prediction.

    Returns:
        Age in days, shape (N,).

    Raises:
        DataError: If there are fewer than two patients.
    """
    folds = min(5, len(set(patients)))
    if folds < 2:
        raise DataError("Heads of at least two patients are needed", found=f"{folds} patient")
    x, y = np.log(np.asarray(spacings, float))[:, None], np.log(hc_mm)
    split = GroupKFold(folds)
    return gestational_age(
        np.exp(cross_val_predict(LinearRegression(), x, y, groups=patients, cv=split))
    )


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
        seed: Of the shuffle.

    Returns:
        Control to predicted age in days (N,): each head with another head's picture, all
        heads with the mean embedding, all heads with a black image.
    """
    shuffled = np.random.default_rng(seed).permutation(len(image_vectors))
    mean = normalise(image_vectors.mean(0, keepdims=True))
    pictures = {
        "shuffled images": image_vectors[shuffled],
        "mean embedding": np.broadcast_to(mean, image_vectors.shape),
        "black image": np.broadcast_to(black_vector, image_vectors.shape),
    }
    return {name: predicted_ages(vectors, spacings, texts) for name, vectors in pictures.items()}


def sentence_ages(
    encode: Callable[[list[str]], np.ndarray],
    frames: dict[str, list[str]],
    image_vectors: np.ndarray,
    spacings: Sequence[str],
) -> dict[str, np.ndarray]:
    """Predictions from one sentence frame at a time: how much hangs on the wording?

    Args:
        encode: Sentences to embeddings, cached.
        frames: As given by `load_frames`.
        image_vectors: Unit-norm rows, float32 of shape (N, D).
        spacings: Spacing of each image, N strings.

    Returns:
        Name ("frame 1", ..., "paraphrases, averaged", and of other sets "our sentences, averaged")
        to predicted age in days (N,).
    """
    ages = {}
    for name, key in (("frame", "templates"), ("paraphrase", "unseen")):
        if frames[key]:
            texts = age_embeddings(encode, frames[key], spacings)
            for i in range(len(frames[key])):
                alone = {spacing: vectors[i : i + 1] for spacing, vectors in texts.items()}
                ages[f"{name} {i + 1}"] = predicted_ages(image_vectors, spacings, alone)
            ages[f"{name}s, averaged"] = predicted_ages(image_vectors, spacings, texts)
    for name in frames.keys() - {"templates", "unseen"}:
        texts = age_embeddings(encode, frames[name], spacings)
        ages[f"{name}, averaged"] = predicted_ages(image_vectors, spacings, texts)
    return ages
