"""Is a prediction that claims 80 % right four times in five?"""

import numpy as np
import pandas as pd
from scipy.special import softmax

BINS = 15


def first_choice(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The predicted class and the probability that is claimed for it, of logits (..., C)."""
    predicted = logits.argmax(-1)
    return predicted, softmax(logits.astype(np.float64), axis=-1).max(-1)


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Which of the 15 equally wide bins a probability falls in; the upper edge belongs to it.

    >>> bin_of(np.array([0.0, 1 / 15, 0.07, 1.0])).tolist()
    [0, 0, 1, 14]
    """
    return np.maximum(np.ceil(confidence * BINS).astype(np.int64) - 1, 0)


def expected_error(gaps: np.ndarray, items: np.ndarray | int) -> np.ndarray:
    """Expected calibration error, 0 to 1: mean distance of claimed and true accuracy, by bin.

    Args:
        gaps: Sum of (probability - right) over the items of each bin, shape (..., 15).
        items: Number of items, shape (...) or one number.

    Source: Guo et al., On calibration of modern neural networks (arXiv 1706.04599), section 2.
    """
    return np.abs(gaps).sum(-1) / items


def reliability(logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Claimed and true accuracy in each bin of confidence, all runs' predictions pooled.

    Args:
        logits: Shape (H, N, C).
        labels: True class index, shape (N,).

    Returns:
        15 rows with the columns low, high (edges of the bin), confidence (mean), accuracy and
        share (of all predictions); confidence and accuracy are NaN in an empty bin.
    """
    predicted, confidence = first_choice(logits)
    bins = bin_of(confidence).ravel()
    right = (predicted == labels).ravel()
    count = np.bincount(bins, minlength=BINS)
    filled = np.where(count > 0, count, np.nan)
    edges = np.linspace(0, 1, BINS + 1)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "confidence": np.bincount(bins, confidence.ravel(), BINS) / filled,
            "accuracy": np.bincount(bins, right, BINS) / filled,
            "share": count / count.sum(),
        }
    )
