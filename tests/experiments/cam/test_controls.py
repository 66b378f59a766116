import cv2
import numpy as np
import pytest
from scipy.stats import rankdata

from fetalclip_nb.experiments.cam import controls


def test_random_maps_are_noise_of_the_grid_brought_up():
    maps = controls.random_maps(3, 64, 8, seed=5)
    assert maps.shape == (3, 64, 64) and maps.dtype == np.float32
    assert (maps.min((1, 2)) == 0).all() and (maps.max((1, 2)) == 1).all()
    cells = np.random.default_rng(5).random((3, 1, 8, 8), dtype=np.float32)[:, 0]
    for each, noise in zip(maps, cells, strict=True):
        large = cv2.resize(noise, (64, 64), interpolation=cv2.INTER_LINEAR)
        assert each == pytest.approx((large - large.min()) / np.ptp(large), abs=1e-5)
    assert (controls.random_maps(2, 64, 8, seed=5) == maps[:2]).all()


@pytest.mark.parametrize("side", [63, 64])
def test_the_centre_map_falls_off_with_a_quarter_of_the_side(side):
    found = controls.centre_map(side)
    assert found.shape == (side, side) and found.dtype == np.float32
    assert found.max() == 1 and np.count_nonzero(found == 1) == (1 if side % 2 else 4)
    assert (found == found.T).all() and (found == found[::-1]).all()
    middle, sigma = (side - 1) / 2, side / 4
    near = int(middle)  # the first of two middles where the side is even
    for x in (0, 10, near):
        expected = np.exp(-((x - middle) ** 2 - (near - middle) ** 2) / (2 * sigma**2))
        assert found[near, x] == pytest.approx(expected, rel=1e-5)


def test_maps_are_brought_to_another_side():
    rng = np.random.default_rng(0)
    maps = rng.random((2, 8, 8))
    for side in (4, 8, 13):
        found = controls.at_side(maps, side)
        assert found.shape == (2, side, side)
        # OpenCV's bilinear kernel does the same when enlarging.
        if side >= 8:
            large = cv2.resize(maps[1].astype(np.float32), (side, side))
            assert found[1] == pytest.approx(large, abs=1e-5)
    assert controls.at_side(maps, 8) == pytest.approx(maps, abs=1e-6)


def test_likeness_is_spearmans():
    rng = np.random.default_rng(0)
    maps = rng.random((4, 6, 6)).round(1)  # with ties, as maps that are cut off at 0 have
    others = (maps + rng.random(maps.shape)).round(1)
    ranks = [[rankdata(one) for one in pair] for pair in zip(maps, others, strict=True)]
    expected = [np.corrcoef(*pair)[0, 1] for pair in ranks]
    np.testing.assert_allclose(controls.rank_correlations(maps, others), expected)
    flat = np.ones_like(maps)  # the same everywhere: like no other
    assert np.isnan(controls.rank_correlations(maps, flat)).all()
