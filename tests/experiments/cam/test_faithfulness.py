import itertools

import numpy as np
import pytest
import torch

from fetalclip_nb.errors import ParameterError, ShapeError
from fetalclip_nb.experiments.cam import faithfulness


def brightness(pixels):
    """Two "probabilities": the mean of the first channel, and what is left of one."""
    mean = pixels[:, 0].mean((1, 2)).numpy()
    return np.stack([mean, 1 - mean], axis=1)


MODES = ("deletion", "insertion")


def cases(n=3, side=4, seed=0):
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.random((n, 3, side, side), dtype=np.float32))
    maps = rng.permuted(np.arange(n * side * side, dtype=float)).reshape(n, side, side)
    return pixels, maps, rng.integers(0, 2, n)


def curves_on(ground, pixels, maps, targets, *, score=brightness, **options):
    """Both curves on one background."""
    grounds = dict.fromkeys(MODES, ground)
    return faithfulness.faithfulness_curves(score, pixels, maps, targets, grounds, **options)


def test_curves_by_hand():
    pixels = torch.zeros(1, 3, 2, 2)
    pixels[0, 0] = torch.tensor([[0.4, 0.8], [0.2, 0.6]])
    maps = np.array([[[1.0, 4.0], [2.0, 3.0]]])
    found = curves_on(torch.zeros(3, 2, 2), pixels, maps, [0], steps=4)
    # Means of what is left after 0.8, 0.6, 0.2 and 0.4 went.
    assert found["deletion"] == pytest.approx(np.array([[0.5, 0.3, 0.15, 0.1, 0.0]]))
    assert found["insertion"] == pytest.approx(np.array([[0.0, 0.2, 0.35, 0.4, 0.5]]))
    assert found["insertion"].dtype == np.float64


@pytest.mark.parametrize("steps", [1, 5, 16])
def test_curves_equal_changing_pixel_by_pixel(steps):
    pixels, maps, targets = cases()
    first, second = torch.from_numpy(
        np.random.default_rng(1).random((2, 3, 3, 4, 4), dtype=np.float32)
    )
    grounds = {"deletion": first, "insertion": second, "black": torch.zeros(3, 3, 4, 4)}
    found = faithfulness.faithfulness_curves(
        brightness, pixels, maps, targets, grounds, steps=steps
    )
    assert list(found) == [*MODES, "black"]
    for mode, i in itertools.product(found, range(3)):
        places = [(y, x) for y in range(4) for x in range(4)]
        places.sort(key=lambda place, i=i: -maps[i][place])
        start, end = pixels, grounds[mode]
        if mode == "insertion":
            start, end = end, start
        for k in range(steps + 1):
            picture = start[i].clone()
            for y, x in places[: round(16 * k / steps)]:
                picture[:, y, x] = end[i, :, y, x]
            own = brightness(picture[None])[0, targets[i]]
            assert found[mode][i, k] == pytest.approx(own), (mode, i, k)


def test_curves_do_not_depend_on_batches_and_take_one_map_for_all():
    pixels, maps, targets = cases()
    before, black = pixels.clone(), torch.zeros(3, 4, 4)
    whole = curves_on(black, pixels, maps, targets, steps=7)["deletion"]
    sizes = []

    def watched(pictures):
        sizes.append(len(pictures))
        return brightness(pictures)

    parts = curves_on(black, pixels, maps, targets, steps=7, score=watched, batch_size=5)
    assert (parts["deletion"] == whole).all() and sizes == [5, 5, 5, 5, 4] * 2
    one = curves_on(black, pixels, maps[0], targets, steps=7)["deletion"]
    every = curves_on(black, pixels, maps[[0, 0, 0]], targets, steps=7)["deletion"]
    assert (one == every).all() and (one != whole).any()
    assert (pixels == before).all() and not black.any()  # left as they were


def test_several_maps_of_each_image_have_the_mean_of_their_curves():
    pixels, maps, targets = cases()
    both, black = np.stack([maps, -maps]), torch.zeros(3, 4, 4)
    one, other = (curves_on(black, pixels, each, targets)["deletion"] for each in both)
    found = curves_on(black, pixels, both, targets)["deletion"]
    assert found == pytest.approx((one + other) / 2)


def test_ranks_follow_importance_and_break_ties_by_chance_alone():
    maps = np.zeros((2, 20, 20))
    maps[:, 12:, 12:] = 1
    ranks = faithfulness.pixel_ranks(maps, seed=0)
    for each in ranks:
        assert sorted(each.ravel().tolist()) == [*range(400)]
        assert each[12:, 12:].max() < 64 <= each[:12].min()
        # In the order of rows the upper half of the zeros would be first.
        assert abs(each[:6].mean() - each[6:12].mean()) < 60
    assert (ranks[0] != ranks[1]).any()
    assert (faithfulness.pixel_ranks(maps, seed=0) == ranks).all()
    assert (faithfulness.pixel_ranks(maps, seed=1) != ranks).any()
    # More images after it do not change an image's order.
    assert (faithfulness.pixel_ranks(maps[:1], seed=0) == ranks[:1]).all()


def test_backgrounds_are_black_as_the_model_gets_it_and_a_blur():
    def preprocess(image):
        assert image.size == (6, 6)
        grey = torch.tensor(np.asarray(image.convert("L")), dtype=torch.float32)
        return (grey.expand(3, 6, 6) - 10) / 2

    pixels, _, _ = cases(side=6)
    grounds = faithfulness.backgrounds(pixels, preprocess)
    assert list(grounds) == [*MODES, "black"]
    assert grounds["black"].shape == (3, 6, 6) and (grounds["black"] == -5).all()
    for mode in MODES:
        assert (grounds[mode] == faithfulness.blurred(pixels)).all()


def test_blur_keeps_brightness_and_removes_structure_by_share_of_the_side():
    pixels = torch.zeros(1, 3, 40, 40)
    pixels[0, 1, ::2] = 1.0  # stripes, in one channel
    soft = faithfulness.blurred(pixels)
    assert soft.shape == pixels.shape and soft.dtype == torch.float32
    assert soft[0, 1].numpy() == pytest.approx(0.5, abs=0.05)
    assert not soft[0, [0, 2]].any()
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    bell = faithfulness.blurred(point)[0, 0].numpy()
    way = np.arange(41) - 20.0
    assert np.sqrt((bell.sum(0) * way**2).sum()) == pytest.approx(4.1, rel=0.02)
    assert bell.sum() == pytest.approx(1) and bell == pytest.approx(bell.T)


def test_curves_refuse_what_does_not_fit():
    black, (pixels, maps, targets) = torch.zeros(3, 4, 4), cases()
    with pytest.raises(ParameterError, match="No step to take. Where: steps. Expected: 1 or more"):
        curves_on(black, pixels, maps, targets, steps=0)
    with pytest.raises(ShapeError, match="not finite"):
        curves_on(black, pixels, np.full_like(maps, np.nan), targets)
