import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from fetalclip_nb.data import augmentation
from fetalclip_nb.data.augmentation import Augmentation, augmented, augmented_masks

STILL = Augmentation(colour_probability=0, clahe_probability=0, shift=0, rotation=0)
NAMES = [f"image-{number}" for number in range(300)]


@pytest.fixture(scope="module")
def grey():
    """Soft speckle of 96 x 96 pixels."""
    speckle = ndimage.gaussian_filter(np.random.default_rng(0).random((96, 96)), 2)
    values = (speckle - speckle.min()) / np.ptp(speckle) * 255
    return Image.fromarray(values.astype(np.uint8))


@pytest.fixture(scope="module")
def shapes():
    """A disc, a bar and a pair of squares in 90 rows of 120 pixels."""
    rows, columns = np.mgrid[:90, :120]
    disc = (rows - 40) ** 2 + (columns - 70) ** 2 < 25**2
    bar = (abs(rows - 60) < 4) & (columns > 15) & (columns < 100)
    pair = (rows // 20 == 1) & ((columns // 20 == 1) | (columns // 20 == 4))
    return np.stack([disc, bar, pair])


def difference(one, other):
    return np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int))


def test_defaults_are_the_protocol():
    found = Augmentation()
    assert (found.brightness, found.contrast, found.saturation, found.hue) == (0.2,) * 4
    assert (found.colour_probability, found.clahe_probability) == (0.5, 0.5)
    assert (found.shift, found.rotation) == (0.2, 20)


def test_nothing_happens_when_nothing_is_asked(grey):
    assert difference(augmented(grey, STILL, name="a", copy=0), grey).max() == 0


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(70, 50), (1, 1), (3, 2)])
def test_size_and_mode_stay(grey, mode, size):
    image = grey.convert(mode).crop((0, 0, *size))
    for copy in range(8):
        found = augmented(image, Augmentation(colour_probability=1), name="a", copy=copy)
        assert (found.size, found.mode) == (size, mode)


def test_seed_name_and_copy_each_change_the_picture_and_nothing_else_does(grey, shapes):
    first = augmented(grey, Augmentation(), name="a", copy=0)
    moved = augmented_masks(shapes, Augmentation(), name="a", copy=0)
    for seed, name, copy in ((1, "a", 0), (0, "b", 0), (0, "a", 1)):
        changes = Augmentation(seed=seed)
        assert difference(first, augmented(grey, changes, name=name, copy=copy)).mean() > 1
        other = augmented_masks(shapes, changes, name=name, copy=copy)
        assert (moved != other).mean() > 0.01
    torch.manual_seed(5)
    np.random.seed(5)
    state = torch.get_rng_state()
    assert difference(first, augmented(grey, Augmentation(), name="a", copy=0)).max() == 0
    assert torch.equal(state, torch.get_rng_state())


def test_another_process_makes_the_same_picture():
    script = """
import hashlib
from PIL import Image
from fetalclip_nb.data.augmentation import Augmentation, augmented, augmented_masks
ramp = Image.linear_gradient("L")
found = hashlib.sha256(augmented(ramp, Augmentation(), name="a", copy=3).tobytes()).hexdigest()
"""
    shown = subprocess.run([sys.executable, "-c", f"{script}print(found)"], capture_output=True)
    here = {}
    exec(script, here)
    assert shown.stdout.decode().strip() == here["found"]


def test_draws_fill_their_ranges_and_no_more():
    draws = [augmentation._draw(Augmentation(), name, 0) for name in NAMES]
    coloured = [dict(draw.colours) for draw in draws if draw.colours]
    limits = [draw.clip_limit for draw in draws if draw.clip_limit is not None]
    assert len(coloured) / len(NAMES) == pytest.approx(0.5, abs=0.1)
    assert len(limits) / len(NAMES) == pytest.approx(0.5, abs=0.1)
    ranges = {"brightness": (0.8, 1.2), "contrast": (0.8, 1.2), "saturation": (0.8, 1.2)}
    for name, (low, high) in (ranges | {"hue": (-0.2, 0.2)}).items():
        amounts = [colours[name] for colours in coloured]
        assert low <= min(amounts) < low + 0.02 and high - 0.02 < max(amounts) <= high
    assert 1 <= min(limits) < 1.1 and 3.9 < max(limits) <= 4
    for axis in (0, 1):
        shifts = [draw.shift[axis] for draw in draws]
        assert -0.2 <= min(shifts) < -0.19 and 0.19 < max(shifts) <= 0.2
    angles = [draw.angle for draw in draws]
    assert -20 <= min(angles) < -19 and 19 < max(angles) <= 20
    assert len({tuple(colours) for colours in coloured}) == 24  # every order of four changes


def test_one_setting_leaves_the_other_draws_alone():
    wild = augmentation._draw(Augmentation(), "a", 0)
    calm = augmentation._draw(Augmentation(brightness=0, clahe_limit=1), "a", 0)
    assert (wild.shift, wild.angle) == (calm.shift, calm.angle)


def test_probability_one_always_and_zero_never():
    always = Augmentation(colour_probability=1, clahe_probability=1)
    never = Augmentation(colour_probability=0, clahe_probability=0)
    assert all(augmentation._draw(always, name, 0).colours for name in NAMES)
    assert all(augmentation._draw(always, name, 0).clip_limit for name in NAMES)
    draws = [augmentation._draw(never, name, 0) for name in NAMES]
    assert not any(draw.colours or draw.clip_limit for draw in draws)


def test_shift_and_rotation_equal_resampling_by_hand(grey):
    moving = replace(STILL, shift=0.2, rotation=20)
    for name in NAMES[:4]:
        draw = augmentation._draw(moving, name, 0)
        turn = np.deg2rad(draw.angle)
        inverse = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        centre = np.array([47.5, 47.5])  # of pixel centres, rows first
        moved = centre + 96 * np.array(draw.shift[::-1])
        slow = ndimage.affine_transform(
            np.asarray(grey, dtype=float), inverse, centre - inverse @ moved, order=1
        )
        found = np.asarray(augmented(grey, moving, name=name, copy=0), dtype=float)
        inside = ndimage.binary_erosion((found > 0) & (slow > 0), iterations=2)
        assert inside.mean() > 0.4
        assert np.abs(found - slow)[inside].max() < 2


@pytest.mark.parametrize("of_masks", [False, True])
def test_what_comes_in_from_outside_is_black(of_masks):
    moving = Augmentation(colour_probability=1, clahe_probability=1, rotation=0)
    white = Image.new("L", (100, 100), 200)
    for name in NAMES[:10]:
        x, y = augmentation._draw(moving, name, 0).shift
        found = np.asarray(augmented(white, moving, name=name, copy=0)) > 0
        if of_masks:
            found = augmented_masks(np.asarray(white)[None] > 0, moving, name=name, copy=0)[0]
        columns, rows = found.any(axis=0).sum(), found.any(axis=1).sum()
        assert columns == pytest.approx(100 - abs(100 * x), abs=1)
        assert rows == pytest.approx(100 - abs(100 * y), abs=1)
        assert found[0].any() == (y <= 0) or abs(y) < 0.01


def test_brightness_multiplies_and_contrast_stretches(grey):
    values = np.asarray(grey, dtype=float)
    for setting in ("brightness", "contrast"):
        calm = {"brightness": 0, "contrast": 0, setting: 0.2}
        change = replace(STILL, colour_probability=1, **calm)
        amount = dict(augmentation._draw(change, "a", 0).colours)[setting]
        pivot = 0 if setting == "brightness" else values.mean()
        slow = np.clip(pivot + amount * (values - pivot), 0, 255)
        assert abs(amount - 1) > 0.02
        assert difference(augmented(grey, change, name="a", copy=0), slow).max() <= 2


def test_clahe_raises_local_contrast(grey):
    flat = Image.fromarray((100 + np.asarray(grey) / 10).astype(np.uint8))
    change = replace(STILL, clahe_probability=1)
    spread = [np.asarray(augmented(flat, change, name=n, copy=0)).std() for n in NAMES[:5]]
    assert min(spread) > 1.2 * np.asarray(flat).std()


def test_clahe_of_colours_is_that_of_lightness_alone(grey):
    bands = [grey.point(lambda value, part=part: value // part) for part in (1, 2, 3)]
    red, change = Image.merge("RGB", bands), replace(STILL, clahe_probability=1)
    clahe = cv2.createCLAHE(augmentation._draw(change, "a", 0).clip_limit, (8, 8))

    def expected(space, back):
        first, *others = cv2.split(cv2.cvtColor(np.asarray(red), space))
        return cv2.cvtColor(cv2.merge([clahe.apply(first), *others]), back)

    found = augmented(red, change, name="a", copy=0)
    assert difference(found, expected(cv2.COLOR_RGB2Lab, cv2.COLOR_Lab2RGB)).max() == 0
    assert difference(found, expected(cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB)).mean() > 3


def test_grey_as_colour_gives_the_same_grey(grey):
    wild = Augmentation(colour_probability=1, clahe_probability=0)
    for name in NAMES[:20]:
        one = augmented(grey, wild, name=name, copy=0)
        three = augmented(grey.convert("RGB"), wild, name=name, copy=0)
        for band in three.split():
            assert difference(one, band).max() <= 1


def test_colours_change_where_there_are_some():
    red = Image.new("RGB", (16, 16), (200, 60, 60))
    calm = {"brightness": 0, "contrast": 0, "colour_probability": 1}
    for setting in ("saturation", "hue"):
        other = {"saturation": 0, "hue": 0, setting: 0.2}
        changes = [
            difference(augmented(red, replace(STILL, **calm | other), name=n, copy=0), red).max()
            for n in NAMES[:5]
        ]
        assert max(changes) > 5


def test_settings_are_plain_numbers_with_a_version():
    settings = Augmentation(shift=1, seed=4).settings
    assert settings["version"] == augmentation.VERSION
    assert isinstance(settings["shift"], float)
    assert settings == Augmentation(shift=1.0, seed=4).settings
    assert len(settings) == 12


def test_worker_processes_use_one_thread():
    script = """
import multiprocessing, sys
import cv2, numpy as np
from fetalclip_nb.data.augmentation import use_one_thread

cv2.setNumThreads(4)
clahe, noise = cv2.createCLAHE(2.0, (8, 8)), np.zeros((500, 500), np.uint8)
clahe.apply(noise)  # the parent's threads have started

def work():
    use_one_thread()
    clahe.apply(noise)
    sys.exit(cv2.getNumThreads())

process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join(20)
print(process.exitcode)
process.kill()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_threads_of_this_process_stay(grey):
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    augmented(grey, Augmentation(clahe_probability=1), name="a", copy=0)
    found = cv2.getNumThreads()
    cv2.setNumThreads(before)
    assert found == 2


def test_moved_masks_equal_rounding_by_hand(shapes):
    moving = replace(STILL, shift=0.2, rotation=20)
    height, width = shapes.shape[1:]
    rows, columns = np.mgrid[:height, :width]
    for name in NAMES[:4]:
        draw = augmentation._draw(moving, name, 0)
        turn = np.deg2rad(draw.angle)
        x = columns - (width - 1) / 2 - round(draw.shift[0] * width, 9)
        y = rows - (height - 1) / 2 - round(draw.shift[1] * height, 9)
        from_x = np.cos(turn) * x + np.sin(turn) * y + (width - 1) / 2
        from_y = -np.sin(turn) * x + np.cos(turn) * y + (height - 1) / 2
        near = np.round(from_y).astype(int), np.round(from_x).astype(int)
        inside = (near[0] >= 0) & (near[0] < height) & (near[1] >= 0) & (near[1] < width)
        slow = np.where(inside, shapes[:, near[0] % height, near[1] % width], False)
        found = augmented_masks(shapes, moving, name=name, copy=0)
        assert (found != slow).mean() < 2e-4


def test_colours_leave_masks_alone(shapes):
    for copy in range(3):
        wild = replace(STILL, shift=0.2, rotation=20, colour_probability=1, clahe_probability=1)
        calm = replace(STILL, shift=0.2, rotation=20)
        one, other = (augmented_masks(shapes, a, name="a", copy=copy) for a in (wild, calm))
        assert np.array_equal(one, other)


def test_masks_keep_their_shape_and_stay_where_nothing_moves(shapes):
    before = shapes.copy()
    found = augmented_masks(shapes, STILL, name="a", copy=0)
    assert found.dtype == bool and np.array_equal(found, shapes)
    moved = augmented_masks(shapes[:1], Augmentation(), name="a", copy=0)
    assert moved.dtype == bool and moved.shape == (1, 90, 120)
    assert np.array_equal(shapes, before)
