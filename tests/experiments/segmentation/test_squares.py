"""Squares that a decoder sees: masks stay on their images, whatever is done to both."""

from dataclasses import replace

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy import ndimage

from fetalclip_nb.data.augmentation import Augmentation, augmented, augmented_masks
from fetalclip_nb.data.images import pad_to_square, read_square
from fetalclip_nb.data.mask_files import reduced_mask, sampled_mask
from fetalclip_nb.errors import ImageError
from fetalclip_nb.experiments.segmentation import squares
from fetalclip_nb.experiments.segmentation.squares import normalised, pack, task_squares, unpack
from fetalclip_nb.tasks.masks import structure_task

SIZES = [(80, 60), (60, 80), (64, 64), (97, 41)]
SIDE = 16
OURS = {"preparation": "ours"}
MOVING = Augmentation(
    colour_probability=0, clahe_probability=0, shift=0.1, rotation=20, brightness=0, contrast=0
)


def write(root, modes=("L", "RGB", "L", "L")):
    """Images of several shapes, and modes, with a red disc and a green bar on black."""
    root.mkdir(parents=True)
    rows = []
    for i, ((width, height), mode) in enumerate(zip(SIZES, modes, strict=True)):
        y, x = np.mgrid[:height, :width]
        disc = (x - 0.4 * width) ** 2 + (y - 0.6 * height) ** 2 < (0.25 * min(width, height)) ** 2
        bar = (abs(y - 0.2 * height) < 4) & (x > 0.3 * width)
        values = np.stack([disc, bar, np.zeros_like(bar)], axis=-1).astype(np.uint8) * 255
        Image.fromarray(values).convert(mode).save(root / f"{i}.png")
        row = {"image": f"{i}.png", "label": "x", "patient": f"p{i}"}
        for name, mask in (("disc", disc), ("bar", bar)):
            row[f"mask_{name}"] = f"{name}{i}.png"
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"{name}{i}.png")
        rows.append(row)
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    return structure_task("shapes", root)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write(tmp_path_factory.mktemp("squares") / "own")


@pytest.fixture
def computed(monkeypatch):
    """Rows that are computed and not read from the cache."""
    rows = []
    square = squares._square

    def recorded(*args):
        rows.append(args[-1])
        return square(*args)

    monkeypatch.setattr(squares, "_square", recorded)
    return rows


def masks_of(store, side=SIDE):
    return unpack(store.arrays["masks"], side)


def test_shapes_types_and_order(task, tmp_path):
    store = task_squares(task, SIDE, cache_dir=tmp_path)
    assert task.structures == ("bar", "disc")
    assert store.arrays["images"].shape == (4, SIDE, SIDE, 3)
    assert store.arrays["images"].dtype == np.uint8
    assert store.arrays["masks"].shape == (4, 2, SIDE * SIDE // 8)
    assert masks_of(store).shape == (4, 2, SIDE, SIDE) and masks_of(store).dtype == bool


def test_masks_lie_on_what_they_outline(tmp_path):
    task = write(tmp_path / "own", modes=("RGB",) * 4)
    for changes in ({}, {"augmentation": MOVING, "copy": 1}, {"augmentation": MOVING, "copy": 2}):
        store = task_squares(task, 40, cache_dir=tmp_path, **OURS, **changes)
        for image, masks in zip(store.arrays["images"], masks_of(store, 40), strict=True):
            for channel, name in ((0, "disc"), (1, "bar")):
                region, seen = masks[task.structures.index(name)], image[..., channel] > 127
                edge = ndimage.binary_dilation(seen) & ~ndimage.binary_erosion(seen)
                assert region.sum() > 50 and not ((region != seen) & ~edge).any()


def test_masks_are_averaged_over_blocks_of_the_padded_square(task, tmp_path):
    """64 x 64 on 16 x 16: at least 8 of 16 pixels; 80 x 60: 10 rows are added on either side."""
    found = masks_of(task_squares(task, SIDE, cache_dir=tmp_path, **OURS))
    blocks = task.read(2).reshape(2, 16, 4, 16, 4).sum(axis=(2, 4))
    assert (blocks == 8).any()  # a tie is inside
    assert np.array_equal(found[2], blocks >= 8)
    padded = np.pad(task.read(0), ((0, 0), (10, 10), (0, 0)))
    assert np.array_equal(found[0], padded.reshape(2, 16, 5, 16, 5).sum(axis=(2, 4)) >= 12.5)
    padded = np.pad(task.read(1), ((0, 0), (0, 0), (10, 10)))
    assert np.array_equal(found[1], padded.reshape(2, 16, 5, 16, 5).sum(axis=(2, 4)) >= 12.5)


def test_masks_are_moved_at_full_size_and_then_reduced(task, tmp_path):
    how = {"augmentation": MOVING, "copy": 3}
    found = masks_of(task_squares(task, SIDE, cache_dir=tmp_path, **OURS, **how))
    name = task.dataset.table["id"][2]
    moved = augmented_masks(task.read(2), MOVING, name=name, copy=3)
    assert np.array_equal(found[2], moved.reshape(2, 16, 4, 16, 4).sum(axis=(2, 4)) >= 8)


@pytest.mark.parametrize("side", [24, 128])
def test_images_are_what_an_encoder_of_that_side_sees(task, tmp_path, side):
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    prepare = open_clip.image_transform(side, is_train=False, mean=mean, std=std)
    augmentation = Augmentation()
    for changes in ({}, {"augmentation": augmentation, "copy": 1}):
        store = task_squares(task, side, cache_dir=tmp_path, **OURS, **changes)
        found = normalised(store.arrays["images"], mean, std)
        assert found.shape == (4, 3, side, side) and found.dtype == torch.float32
        for row, path in enumerate(task.dataset.paths):
            image = read_square(path)
            if changes:
                name = task.dataset.table["id"][row]
                image = augmented(image, augmentation, name=name, copy=1)
            assert torch.allclose(found[row], prepare(image), atol=1e-5)


def test_published_squares_by_hand(task, tmp_path):
    """64 x 64 on 16 x 16: every fourth pixel of a mask; 80 x 60 is padded to 80, every fifth."""
    store = task_squares(task, SIDE, cache_dir=tmp_path)
    assert np.array_equal(masks_of(store)[2], task.read(2)[:, ::4, ::4])
    padded = np.pad(task.read(0), ((0, 0), (10, 10), (0, 0)))
    assert np.array_equal(masks_of(store)[0], padded[:, ::5, ::5])
    seen = np.asarray(read_square(task.dataset.paths[2]))
    # Half-way between two old pixels cubic weights are -3/32, 19/32, 19/32, -3/32 (a = -0.75).
    weights = np.array([-3, 19, 19, -3]) / 32
    row = np.array([weights @ seen[4 * i : 4 * i + 4] for i in range(16)])
    slow = np.array([weights @ row[:, 4 * i : 4 * i + 4].T for i in range(16)]).T
    expected = np.clip(slow, 0, 255)
    assert np.abs(store.arrays["images"][2, ..., 0] - expected).max() < 1.5


def test_published_masks_move_by_about_half_a_pixel():
    y, x = np.mgrid[:896, :896]
    disc = (x - 447.5) ** 2 + (y - 447.5) ** 2 < 300**2
    for reduce, shift in ((sampled_mask, 0.375), (reduced_mask, 0.0)):
        places = np.argwhere(reduce(disc, 224))
        # Of four old pixels the first is taken, whose middle lies 1.5 old pixels off.
        assert places.mean(axis=0) == pytest.approx([111.5 + shift] * 2, abs=0.05)


def test_normalised_by_hand():
    images = np.zeros((1, 1, 2, 3), np.uint8)
    images[0, 0, 1] = (255, 51, 0)
    found = normalised(images, (0.5, 0.2, 0.1), (0.5, 0.1, 0.2))
    assert found[0, :, 0, 0].tolist() == pytest.approx([-1, -2, -0.5])
    assert found[0, :, 0, 1].tolist() == pytest.approx([1, 0, -0.5], abs=1e-6)


def test_memory_of_normalised_images_is_their_own(task, tmp_path):
    images = task_squares(task, SIDE, cache_dir=tmp_path).arrays["images"]
    normalised(images, (0, 0, 0), (1, 1, 1)).zero_()
    assert images.max() > 0


@pytest.mark.parametrize("shape", [(8, 8), (3, 16, 16), (2, 5, 24, 24)])
def test_packed_masks_come_back(shape):
    masks = np.random.default_rng(0).random(shape) < 0.3
    packed = pack(masks)
    assert packed.dtype == np.uint8 and packed.nbytes == masks.size // 8
    assert np.array_equal(unpack(packed, shape[-1]), masks)


def test_what_is_there_is_read_and_what_differs_is_made(task, tmp_path, computed):
    first = task_squares(task, SIDE, cache_dir=tmp_path)
    assert computed == [0, 1, 2, 3]
    again = task_squares(task, SIDE, cache_dir=tmp_path)
    assert len(computed) == 4 and again.folder == first.folder
    rows = np.array([False, True, True, False])
    others = [
        task_squares(task, 24, cache_dir=tmp_path),
        task_squares(task, SIDE, cache_dir=tmp_path, **OURS),
        task_squares(task, SIDE, cache_dir=tmp_path, rows=rows),
        task_squares(task, SIDE, cache_dir=tmp_path, augmentation=MOVING),
        task_squares(task, SIDE, cache_dir=tmp_path, augmentation=MOVING, copy=1),
        task_squares(task, SIDE, cache_dir=tmp_path, augmentation=replace(MOVING, seed=1)),
        task_squares(replace(task, fingerprint="other"), SIDE, cache_dir=tmp_path),
    ]
    assert len({first.folder, *(store.folder for store in others)}) == 8
    assert first.folder.parent == tmp_path / "squares"


def test_another_version_is_made_anew(task, tmp_path, monkeypatch, computed):
    task_squares(task, SIDE, cache_dir=tmp_path)
    monkeypatch.setattr(squares, "VERSION", squares.VERSION + 1)
    task_squares(task, SIDE, cache_dir=tmp_path)
    assert computed == [0, 1, 2, 3] * 2


def test_masks_that_change_are_not_read_from_the_cache(tmp_path, computed):
    task = write(tmp_path / "own")
    before = masks_of(task_squares(task, SIDE, cache_dir=tmp_path))
    mask = Image.open(tmp_path / "own" / "disc2.png")
    pad_to_square(mask).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "own" / "disc2.png")
    changed = structure_task("shapes", tmp_path / "own")
    after = masks_of(task_squares(changed, SIDE, cache_dir=tmp_path))
    assert len(computed) == 8 and (before[2, 1] != after[2, 1]).any()
    assert np.array_equal(before[:2], after[:2])


@pytest.mark.parametrize("changes", [{}, {"augmentation": Augmentation(), "copy": 2}])
def test_rows_of_a_subset_are_those_of_the_whole(task, tmp_path, changes):
    rows = np.array([False, True, False, True])
    whole = task_squares(task, SIDE, cache_dir=tmp_path, **changes)
    part = task_squares(task, SIDE, cache_dir=tmp_path, rows=rows, **changes)
    for name, array in whole.arrays.items():
        assert np.array_equal(array[rows], part.arrays[name])


def test_images_that_have_gone_are_named(tmp_path):
    task = write(tmp_path / "own")
    (tmp_path / "own" / "1.png").unlink()
    with pytest.raises(ImageError, match=r"missing.*1\.png"):
        task_squares(task, SIDE, cache_dir=tmp_path)
