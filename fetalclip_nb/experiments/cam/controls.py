"""Maps that know nothing of the model: noise, and the middle of the picture.

Do two maps of an image say the same? Rank correlation of their pixels.
"""

import warnings

import numpy as np
import torch
from scipy.signal.windows import gaussian
from scipy.stats import ConstantInputWarning, spearmanr
from torch.nn.functional import interpolate

SPREAD = 0.25
"""Standard deviation of the centre map as a share of the side."""


def random_maps(n: int, side: int, grid: int, seed: int = 0) -> np.ndarray:
    """Smooth noise, as coarse as the maps of an encoder, float32 (n, side, side) from 0 to 1.

    Noise of single pixels would be an easy opponent: a few of its pixels are never enough to
    hide or to show a structure. Here each cell of the encoder's grid has a uniform random
    value, brought up to the picture's side as a real map is. The first maps are the same for
    any n.

    >>> random_maps(2, 32, 4).shape
    (2, 32, 32)
    """
    cells = np.random.default_rng(seed).random((n, grid, grid), dtype=np.float32)
    maps = at_side(cells, side)
    maps -= maps.min(axis=(1, 2), keepdims=True)
    return maps / maps.max(axis=(1, 2), keepdims=True)


def at_side(maps: np.ndarray, side: int) -> np.ndarray:
    """Maps (N, S, S) of an encoder brought to another's side, bilinearly: (N, side, side).

    >>> at_side(np.ones((2, 3, 3)), 5).shape
    (2, 5, 5)
    """
    maps = torch.from_numpy(np.array(maps, dtype=np.float32))[:, None]
    return interpolate(maps, (side, side), mode="bilinear", align_corners=False)[:, 0].numpy()


def centre_map(side: int) -> np.ndarray:
    """A Gaussian in the middle of the picture: where whoever scans brings the structure.

    Its standard deviation is a quarter of the side: a standard plane fills about half of the
    picture, and the middle half lies within one standard deviation.

    Returns:
        float32 of shape (side, side), 1 in the middle.

    >>> print(centre_map(3)[1].round(2))
    [0.41 1.   0.41]
    """
    bell = gaussian(side, SPREAD * side)
    return (np.outer(bell, bell) / bell.max() ** 2).astype(np.float32)


def rank_correlations(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation between two maps (S, S) of each of N images.

    Maps of a trained and of an untrained encoder that agree show the image, not what the
    encoder has learnt.

    Returns:
        float64 of shape (N,), from -1 to 1; NaN where a map is the same everywhere.

    Source: Adebayo et al., Sanity checks for saliency maps (arXiv 1810.03292), section 3.

    >>> first, second = np.array([[[1, 2], [3, 4]]]), np.array([[[9, 7], [5, 0]]])
    >>> rank_correlations(first, second).round(6).tolist()
    [-1.0]
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        pairs = zip(maps, others, strict=True)
        return np.array([spearmanr(first, second, axis=None).statistic for first, second in pairs])
