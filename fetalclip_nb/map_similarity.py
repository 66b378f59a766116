"""Do two maps of an image say the same? Rank correlation of their pixels."""

import numpy as np
from scipy.stats import rankdata

from fetalclip_nb.errors import ShapeError


def rank_correlations(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation between two maps of each image.

    Maps of a trained and of an untrained encoder that agree show the image, not what the
    encoder has learnt.

    Args:
        maps: Shape (N, S, S).
        others: Maps of the same images, shape (N, S, S).

    Returns:
        float64 of shape (N,), from -1 to 1; NaN where a map is the same everywhere.

    Raises:
        ShapeError: If sizes do not match or there is no image.

    Source: Adebayo et al., Sanity checks for saliency maps (arXiv 1810.03292), section 3.

    >>> first, second = np.array([[[1, 2], [3, 4]]]), np.array([[[9, 7], [5, 0]]])
    >>> rank_correlations(first, second).round(6).tolist()
    [-1.0]
    """
    maps, others = np.asarray(maps), np.asarray(others)
    if maps.ndim != 3 or 0 in maps.shape or maps.shape != others.shape:
        raise ShapeError(
            "Maps cannot be compared",
            expected="two stacks of maps of one size",
            found=f"{maps.shape} and {others.shape}",
        )
    ranks = [rankdata(one.reshape(len(one), -1), axis=1) for one in (maps, others)]
    first, second = (one - one.mean(axis=1, keepdims=True) for one in ranks)
    spread = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    shared = (first * second).sum(axis=1)
    return np.divide(shared, spread, out=np.full(len(maps), np.nan), where=spread > 0)
