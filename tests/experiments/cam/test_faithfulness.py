import numpy as np
import pytest
import torch
from PIL import Image

from fetalclip_nb.errors import ParameterError, ShapeError
from fetalclip_nb.experiments.cam import faithfulness


def brightness(pixels):
    """Two "probabilities": the mean of the first channel, and what is left of one."""
    mean = pixels[:, 0].mean((1, 2)).numpy()
    return np.stack([mean, 1 - mean], axis=1)


def cases(n=3, side=4, seed=0):
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(rng.random((n, 3, side, side), dtype=np.float32))
    maps = rng.permuted(np.arange(n * side * side, dtype=float)).reshape(n, side, side)
    return pixels, maps, rng.integers(0, 2, n)


# curves


def test_deletion_by_hand():
    pixels = torch.zeros(1, 3, 2, 2)
    pixels[0, 0] = torch.tensor([[0.4, 0.8], [0.2, 0.6]])
    maps = np.array([[[1.0, 4.0], [2.0, 3.0]]])
    black = torch.zeros(3, 2, 2)
    options = {"background": black, "steps": 4}
    deleted = faithfulness.curves(brightness, pixels, maps, [0], mode="deletion", **options)
    # Means of what is left after 0.8, 0.6, 0.2 and 0.4 went.
    assert deleted == pytest.approx(np.array([[0.5, 0.3, 0.15, 0.1, 0.0]]))
    shown = faithfulness.curves(brightness, pixels, maps, [0], mode="insertion", **options)
    assert shown == pytest.approx(np.array([[0.0, 0.2, 0.35, 0.4, 0.5]]))
    assert shown.dtype == np.float64


@pytest.mark.parametrize("mode", faithfulness.MODES)
@pytest.mark.parametrize("steps", [1, 5, 16])
def test_curves_equal_changing_pixel_by_pixel(mode, steps):
    pixels, maps, targets = cases()
    background = torch.from_numpy(np.random.default_rng(1).random((3, 3, 4, 4), dtype=np.float32))
    found = faithfulness.curves(
        brightness, pixels, maps, targets, mode=mode, background=background, steps=steps
    )
    for i in range(3):
        places = [(y, x) for y in range(4) for x in range(4)]
        places.sort(key=lambda place: -maps[i][place])
        for k in range(steps + 1):
            taken = places[: round(16 * k / steps)]
            picture = (pixels if mode == "deletion" else background)[i].clone()
            other = (background if mode == "deletion" else pixels)[i]
            for y, x in taken:
                picture[:, y, x] = other[:, y, x]
            own = brightness(picture[None])[0, targets[i]]
            assert found[i, k] == pytest.approx(own), (i, k)


def test_curves_do_not_depend_on_batches_and_take_one_map_for_all():
    pixels, maps, targets = cases()
    options = {"mode": "deletion", "background": torch.zeros(3, 4, 4), "steps": 7}
    whole = faithfulness.curves(brightness, pixels, maps, targets, **options)
    sizes = []

    def watched(pictures):
        sizes.append(len(pictures))
        return brightness(pictures)

    parts = faithfulness.curves(watched, pixels, maps, targets, batch_size=5, **options)
    assert (parts == whole).all() and sizes == [5, 5, 5, 5, 4]
    one = faithfulness.curves(brightness, pixels, maps[0], targets, **options)
    every = faithfulness.curves(brightness, pixels, maps[[0, 0, 0]], targets, **options)
    assert (one == every).all() and (one != whole).any()


def test_pictures_and_backgrounds_are_left_as_they_were():
    pixels, maps, targets = cases()
    before, background = pixels.clone(), torch.zeros(3, 4, 4)
    for mode in faithfulness.MODES:
        faithfulness.curves(brightness, pixels, maps, targets, mode=mode, background=background)
    assert (pixels == before).all() and not background.any()


def test_both_modes_at_once():
    pixels, maps, targets = cases()
    grounds = {"deletion": torch.zeros(3, 4, 4), "insertion": torch.ones(3, 4, 4)}
    found = faithfulness.faithfulness_curves(
        brightness, pixels, maps, targets, grounds, steps=4, seed=3
    )
    assert list(found) == ["deletion", "insertion"]
    for mode, curves in found.items():
        alone = faithfulness.curves(
            brightness, pixels, maps, targets, mode=mode, background=grounds[mode], steps=4, seed=3
        )
        assert (curves == alone).all()


def test_several_maps_of_each_image_have_the_mean_of_their_curves():
    pixels, maps, targets = cases()
    grounds = {"deletion": torch.zeros(3, 4, 4)}
    both = np.stack([maps, -maps])
    one, other = (
        faithfulness.faithfulness_curves(brightness, pixels, each, targets, grounds)["deletion"]
        for each in both
    )
    found = faithfulness.faithfulness_curves(brightness, pixels, both, targets, grounds)
    assert found["deletion"] == pytest.approx((one + other) / 2)


# pixel_ranks


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


# backgrounds


def test_backgrounds_are_black_as_the_model_gets_it_and_a_blur():
    def preprocess(image):
        assert image.size == (6, 6)
        grey = torch.tensor(np.asarray(image.convert("L")), dtype=torch.float32)
        return (grey.expand(3, 6, 6) - 10) / 2

    pixels, _, _ = cases(side=6)
    grounds = faithfulness.backgrounds(pixels, preprocess)
    assert grounds["deletion"].shape == (3, 6, 6) and (grounds["deletion"] == -5).all()
    assert (grounds["insertion"] == faithfulness.blurred(pixels)).all()
    assert set(grounds) == set(faithfulness.MODES)
    soft = faithfulness.backgrounds(pixels, preprocess, deletion="blur")
    assert (soft["deletion"] == grounds["insertion"]).all()
    assert (soft["insertion"] == grounds["insertion"]).all()
    with pytest.raises(ParameterError, match="deletion. Expected: black or blur. Found: white"):
        faithfulness.backgrounds(pixels, preprocess, deletion="white")


def test_on_one_background_insertion_is_deletion_of_the_reverse():
    pixels, maps, targets = cases()
    grounds = dict.fromkeys(faithfulness.MODES, torch.full((3, 4, 4), 0.3))
    one, reverse = (
        faithfulness.faithfulness_curves(brightness, pixels, each, targets, grounds, steps=8)
        for each in (maps, -maps)
    )
    assert one["insertion"] == pytest.approx(reverse["deletion"][:, ::-1])


def test_blur_keeps_brightness_and_removes_structure_by_share_of_the_side():
    pixels = torch.zeros(1, 3, 40, 40)
    pixels[0, 1, ::2] = 1.0  # stripes, in one channel
    soft = faithfulness.blurred(pixels)
    assert soft.shape == pixels.shape and soft.dtype == torch.float32
    assert soft[0, 1].numpy() == pytest.approx(0.5, abs=0.05)
    assert not soft[0, [0, 2]].any()
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    bell = faithfulness.blurred(point, 0.1)[0, 0].numpy()
    way = np.arange(41) - 20.0
    assert np.sqrt((bell.sum(0) * way**2).sum()) == pytest.approx(4.1, rel=0.02)
    assert bell.sum() == pytest.approx(1) and bell == pytest.approx(bell.T)


# refused


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"steps": 0}, ParameterError, "No step to take. Where: steps. Expected: 1 or more"),
        ({"maps": np.full((3, 4, 4), np.nan)}, ShapeError, r"not finite.*NaN in \[0, 1, 2\]"),
    ],
)
def test_curves_refuse_what_does_not_fit(changes, error, message):
    pixels, maps, _ = cases()
    given = {"pixels": pixels, "maps": maps, "targets": [0, 1, 0], "mode": "deletion"} | changes
    with pytest.raises(error, match=message):
        faithfulness.curves(brightness, background=torch.zeros(3, 4, 4), **given)


def test_a_map_of_what_matters_is_better_than_one_of_what_does_not():
    pixels = torch.zeros(2, 3, 8, 8)
    pixels[:, :, 2:5, 2:5] = 1
    right = pixels[:, 0].numpy()
    grounds = {"deletion": torch.zeros(3, 8, 8), "insertion": torch.zeros(3, 8, 8)}
    good, bad = (
        faithfulness.faithfulness_curves(brightness, pixels, maps, [0, 0], grounds)
        for maps in (right, 1 - right)
    )
    assert (good["deletion"] <= bad["deletion"]).all()
    assert (good["insertion"] >= bad["insertion"]).all()
    assert good["insertion"].sum() > 1.5 * bad["insertion"].sum()


def test_black_of_a_real_preprocess(encoder):
    pixels = torch.zeros(1, 3, 32, 32)
    found = faithfulness.backgrounds(pixels, encoder.preprocess)["deletion"]
    assert (found == encoder.preprocess(Image.new("RGB", (50, 50)))).all()
