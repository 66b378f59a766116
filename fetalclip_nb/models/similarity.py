"""Zero-shot classification: images against the mean of a few sentences a class."""

from collections.abc import Callable

import numpy as np

from fetalclip_nb.errors import ShapeError

SCALE = 100.0


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length (the last axis), float32.

    >>> print(normalise(np.array([[3.0, 4.0]])))
    [[0.6 0.8]]
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def class_embeddings(
    encode: Callable[[list[str]], np.ndarray], prompts: dict[str, list[str]]
) -> np.ndarray:
    """One unit vector a class: the mean of its unit sentence vectors, made unit again.

    Args:
        encode: Sentences to embeddings (N, D).
        prompts: Sentences of each class.

    Returns:
        Unit-norm rows, float32 of shape (C, D), in the order of ``prompts``.

    Source: FetalCLIP (arXiv 2502.14807), zero-shot planes; CLIP (arXiv 2103.00020), 3.1.4.
    """
    sentences = [sentence for group in prompts.values() for sentence in group]
    vectors = normalise(encode(sentences))
    ends = np.cumsum([len(group) for group in prompts.values()])
    groups = np.split(vectors, ends[:-1])
    return normalise(np.stack([group.mean(0) for group in groups]))


def zero_shot_logits(image_embeddings: np.ndarray, class_vectors: np.ndarray) -> np.ndarray:
    """Score each image against each class: 100 cosines.

    Args:
        image_embeddings: Unit-norm rows, float32 of shape (N, D).
        class_vectors: Unit-norm rows, float32 of shape (C, D).

    Returns:
        Logits, float32 of shape (N, C).

    Source: CLIP (arXiv 2103.00020), section 3.1.2.
    """
    lengths = np.linalg.norm(np.concatenate([image_embeddings, class_vectors]), axis=-1)
    if not np.allclose(lengths, 1, atol=1e-3):
        raise ShapeError(
            "Embeddings are not unit norm",
            found=f"{lengths.min():.4f} to {lengths.max():.4f}",
            fix="pass them through models.similarity.normalise; are the model's weights whole?",
        )
    return SCALE * image_embeddings @ class_vectors.T
