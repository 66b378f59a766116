"""What decoders are given: the right image, masks and features of a row, copies moved alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from torch.nn import functional

from fetalclip_nb.data.augmentation import Augmentation, augmented, augmented_masks
from fetalclip_nb.data.images import pad_to_square, read_square
from fetalclip_nb.experiments.segmentation import squares as squares_module
from fetalclip_nb.experiments.segmentation.material import gather, trained_rows
from fetalclip_nb.experiments.segmentation.squares import unpack
from fetalclip_nb.models.blocks import BlockEncoder, NoFeatures
from fetalclip_nb.tasks.splits import Fold, Split
from segments import (
    MEAN,
    RECIPE,
    SIDE,
    STD,
    rows_by_hand,
    shapes,
    tiny_encoder,
    trained_patients,
)

COPIES = 2
COPIED = replace(RECIPE, copies=COPIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def copied(trunks, encoder, folder):
    """Images as they are and two copies of those that are trained on."""
    return gather(encoder, trunks, trained_patients(trunks), COPIED, cache_dir=folder, seed=5)


def share_of_cells(mask, side):
    """What part of each cell of a coarser grid lies inside."""
    scale = len(mask) / side
    lower, pixel = np.arange(side)[:, None] * scale, np.arange(len(mask))
    covered = np.minimum(pixel + 1, lower + scale) - np.maximum(pixel, lower)
    weights = covered.clip(0) / scale
    return weights @ mask.astype(float) @ weights.T


def slow_row(task, encoder, side, row, which, seed=5):
    """Image, shares of structures in each pixel and blocks of one row, straight from the files."""
    image = read_square(task.dataset.paths[row])
    masks = [np.asarray(pad_to_square(Image.fromarray(m.astype("u1")))) for m in task.read(row)]
    if which:
        settings = {"name": task.dataset.table["id"][row], "copy": which - 1}
        image = augmented(image, Augmentation(seed=seed), **settings)
        masks = augmented_masks(np.stack(masks) > 0, Augmentation(seed=seed), **settings)
    shares = [share_of_cells(mask, side) for mask in masks]
    pixels = encoder.preprocess(image)[None]
    blocks = torch.from_numpy(encoder.encode_images(pixels)).float()[0].permute(0, 3, 1, 2)
    grid = (side // 16, side // 16)
    blocks = functional.interpolate(blocks, grid, mode="bilinear", align_corners=False)
    small = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    return blocks, (small / 255 - MEAN) / STD, np.stack(shares)


@pytest.mark.parametrize(("side", "grid"), [(32, None), (64, None), (96, None), (32, 2)])
def test_batch_is_what_files_and_encoder_give(trunks, encoder, folder, tmp_path, side, grid):
    """Stored 4 x 4 (or 2 x 2) features become 2 x 2, 4 x 4 and 6 x 6."""
    seen = encoder if grid is None else tiny_encoder(tmp_path, grid=grid)
    kept = trained_patients(trunks)
    recipe = replace(COPIED, side=side, preparation="ours")
    found = gather(seen, trunks, kept, recipe, cache_dir=folder, seed=5)
    rows = np.flatnonzero(kept)
    pairs = np.array([[2, rows[-1]], [0, 0], [1, rows[0]], [0, len(kept) - 1], [2, rows[2]]])
    blocks, images, masks = found.batch(pairs)
    assert blocks.shape == (5, 4, 16, side // 16, side // 16) and images.shape == (5, 3, side, side)
    assert masks.shape == (5, 3, side, side)
    assert blocks.dtype == images.dtype == masks.dtype == torch.float32
    for i, (which, row) in enumerate(pairs):
        # Features of a smaller stored grid were resampled before they were stored.
        features, image, share = slow_row(trunks, seen, side, row, which)
        torch.testing.assert_close(blocks[i], features, atol=5e-3, rtol=5e-3)
        np.testing.assert_allclose(images[i].permute(1, 2, 0), image, atol=1e-5)
        clear = abs(share - 0.5) > 1e-4  # at one half, sums of another order may fall either way
        assert clear.mean() > 0.99 and share.max() > 0.9
        np.testing.assert_array_equal(masks[i].numpy()[clear], (share > 0.5)[clear])


def test_rows_and_copies_are_told_apart(copied):
    """No two rows or copies are alike, so a wrong place in a batch would show."""
    rows = np.flatnonzero(copied.preparations[1].place >= 0)
    pairs = np.array([(which, row) for which in range(COPIES + 1) for row in rows])
    for part in copied.batch(pairs):
        assert len({item.numpy().tobytes() for item in part}) == len(pairs)


def test_a_copys_image_and_mask_are_moved_alike(encoder, tmp_path):
    """Images that are their own masks still are, but for pixels at the border."""
    task = shapes(tmp_path / "shapes")
    kept = np.array([True, True, False, True, True, True])
    found = gather(encoder, task, kept, replace(RECIPE, side=64, copies=3), cache_dir=tmp_path)
    plain, *copies = found.preparations
    moved = 0
    for which, part in enumerate((plain, *copies)):
        for row in np.flatnonzero(part.place >= 0):
            _, images, masks = found.batch(np.array([[which, row]]))
            light = images[0].mean(0).numpy()
            light = light > (light.max() + light.min()) / 2
            mask = masks[0, 0].numpy() > 0
            assert (light != mask).sum() < 0.1 * mask.sum()
            before = unpack(plain.masks[row], 64)[0]
            moved += (mask != before).sum() > 0.3 * before.sum()
    assert moved > 10


def test_only_rows_that_are_trained_on_have_copies(trunks, copied):
    kept = trained_patients(trunks)
    assert len(copied.preparations) == 1 + COPIES and 0 < (~kept).sum() < len(kept)
    plain, *copies = copied.preparations
    assert plain.place.tolist() == list(range(len(kept))) and len(plain.images) == len(kept)
    for part in copies:
        assert np.array_equal(part.place >= 0, kept)
        assert part.place[kept].tolist() == list(range(kept.sum()))
        assert len(part.blocks) == len(part.images) == len(part.masks) == kept.sum()


def test_pairs_are_all_copies_of_the_rows_or_the_rows_as_they_are(copied, squares):
    rows = np.flatnonzero(copied.preparations[1].place >= 0)[[3, 1]]
    found = [tuple(pair) for pair in copied.pairs(rows).tolist()]
    assert sorted(found) == sorted((which, int(row)) for which in (1, 2) for row in rows)
    assert squares.pairs(rows).tolist() == [[0, rows[0]], [0, rows[1]]]


def test_key_changes_with_all_that_decoders_are_given(trunks, encoder, tmp_path):
    kept = trained_patients(trunks)
    fewer = kept.copy()
    fewer[np.flatnonzero(kept)[0]] = False
    once = replace(RECIPE, copies=1)
    usual = {"encoder": encoder, "task": trunks, "trained": kept, "recipe": once}
    other_encoders = {
        "none": NoFeatures(),
        "grid": tiny_encoder(tmp_path, grid=2),
        "blocks": BlockEncoder(encoder._model, "even"),
    }
    changes = {
        "usual": {},
        "side": {"recipe": replace(once, side=48)},
        "copies": {"recipe": COPIED},
        "none copied": {"recipe": RECIPE},
        "seed": {"seed": 1},
        "trained": {"trained": fewer},
        "masks": {"task": replace(trunks, fingerprint="f" * 16)},
        **{name: {"encoder": value} for name, value in other_encoders.items()},
    }
    for name in ("copies", "seed", "trained"):
        changes[f"none, {name}"] = changes["none"] | changes[name]
    keys = {
        name: gather(**usual | change, cache_dir=tmp_path).key for name, change in changes.items()
    }
    assert len(set(keys.values())) == len(keys), keys
    # Read again, elsewhere, and with other batches: the same.
    for options in ({"cache_dir": tmp_path}, {"cache_dir": tmp_path / "b", "batch_size": 3}):
        assert gather(**usual, **options).key == keys["usual"]


def test_key_covers_the_form_in_which_they_are_handed_out(squares):
    changes = {"mean": (0.5,) * 3, "std": (0.7,) * 3, "side": 48}
    keys = {replace(squares, **{name: value}).key for name, value in changes.items()}
    assert len(keys | {squares.key}) == 4


def test_images_are_normalised_as_the_encoders_own_are(squares, trunks, tmp_path):
    assert (squares.mean, squares.std) == (MEAN, STD)
    kept = trained_patients(trunks)
    blind = gather(NoFeatures(), trunks, kept, RECIPE, cache_dir=tmp_path)
    assert (blind.mean, blind.std) == (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)


def test_without_an_encoder_features_are_zeros_and_images_are_the_same(squares, trunks, tmp_path):
    kept = trained_patients(trunks)
    blind = gather(NoFeatures(), trunks, kept, COPIED, cache_dir=tmp_path)
    assert blind.shape == (8, 3) and squares.shape == (16, 3)
    blocks, _, masks = blind.batch(np.array([[0, 2], [1, np.flatnonzero(kept)[-1]]]))
    assert blocks.shape == (2, 4, 8, 2, 2) and not blocks.any()
    assert torch.equal(masks[:1], squares.batch(np.array([[0, 2]]))[2])
    assert np.array_equal(blind.preparations[0].images, squares.preparations[0].images)
    assert not (tmp_path / "blocks").exists()


def test_what_was_computed_is_read(trunks, encoder, copied, folder, monkeypatch):
    def fails(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(BlockEncoder, "encode_images", fails)
    monkeypatch.setattr(squares_module, "_square", fails)
    kept = trained_patients(trunks)
    again = gather(encoder, trunks, kept, COPIED, cache_dir=folder, seed=5)
    pairs = copied.pairs(np.flatnonzero(kept))
    for one, other in zip(again.batch(pairs), copied.batch(pairs), strict=True):
        assert torch.equal(one, other)


def test_pixel_sizes_by_hand(trunks, heads, head_squares, encoder, tmp_path):
    """A head 360 pixels wide of 0.4 mm is 32 pixels of 4.5 mm; 243 high does not matter."""
    table = heads.dataset.table
    longer = np.maximum(table["width"], table["height"])
    expected = table["pixel_mm"] * longer / SIDE
    np.testing.assert_allclose(head_squares.square_pixel_mm, expected)
    np.testing.assert_array_equal(head_squares.sizes, table[["width", "height"]])
    np.testing.assert_array_equal(head_squares.pixel_mm, table["pixel_mm"])
    unknown = shapes(tmp_path / "shapes")
    found = gather(encoder, unknown, np.ones(6, bool), RECIPE, cache_dir=tmp_path)
    assert np.isnan(found.pixel_mm).all() and np.isnan(found.square_pixel_mm).all()
    sizes = [Image.open(path).size for path in unknown.dataset.paths]
    assert found.sizes.tolist() == [list(size) for size in sizes] and found.sizes.dtype == np.int64


def test_structures_have_the_same_area_in_mm_on_squares(squares, trunks):
    """Areas in square millimetres from the squares and from the annotations themselves."""
    true = trunks.areas * squares.pixel_mm[:, None] ** 2
    small = unpack(squares.preparations[0].masks, SIDE).sum((2, 3))
    found = small * squares.square_pixel_mm[:, None] ** 2
    body = trunks.structures.index("abdominal_circumference")
    np.testing.assert_allclose(found[:, body], true[:, body], rtol=0.05)


def test_trained_rows_are_those_of_all_folds(trunks):
    table = trunks.items.table
    names = sorted(set(table["patient"]))
    folds = (Fold((names[0], names[2]), (names[1],)), Fold((names[2], names[3]), (names[0],)))
    first = Split("own", (names[4],), folds)
    second = Split("own", (names[4],), (Fold((names[1],), (names[2],)),))
    for splits, patients in (((first,), [0, 2, 3]), ((first, second), [0, 1, 2, 3])):
        found = np.flatnonzero(trained_rows(trunks, *splits))
        assert found.tolist() == rows_by_hand(table, [names[i] for i in patients])
