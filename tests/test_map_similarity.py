"""Rank correlation of maps."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.map_similarity import rank_correlations


def test_it_is_spearmans():
    rng = np.random.default_rng(0)
    maps = rng.random((4, 6, 6)).round(1)  # with ties, as maps that are cut off at 0 have
    others = (maps + rng.random(maps.shape)).round(1)
    expected = [spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(rank_correlations(maps, others), expected)


def test_scale_does_not_count():
    maps = np.random.default_rng(1).random((2, 5, 5))
    np.testing.assert_allclose(rank_correlations(maps, 3 * maps**2 + 1), 1)


def test_a_map_that_is_the_same_everywhere_is_like_no_other():
    maps = np.stack([np.ones((3, 3)), np.arange(9).reshape(3, 3)])
    found = rank_correlations(maps, maps)
    assert np.isnan(found[0]) and found[1] == pytest.approx(1)


@pytest.mark.parametrize("shape", [(2, 3, 3), (1, 3, 4), (0, 3, 3)])
def test_maps_of_other_images(shape):
    with pytest.raises(ShapeError, match="cannot be compared"):
        rank_correlations(np.zeros((1, 3, 3)), np.zeros(shape))
