"""Features of four blocks: which blocks, which tokens, where they lie, and how they are kept."""

import json
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.transformer import Transformer
from torch import nn

from fetalclip_nb.data import hc18
from fetalclip_nb.data.augmentation import Augmentation, augmented
from fetalclip_nb.data.images import read_square
from fetalclip_nb.errors import ModelError, ParameterError, ShapeError
from fetalclip_nb.experiments.segmentation.decoder import Decoder
from fetalclip_nb.models.blocks import (
    BlockEncoder,
    NoFeatures,
    block_features,
    chosen_blocks,
    on_grid,
)
from fetalclip_nb.models.model import load_model
from fetalclip_nb.models.store import stored_arrays
from fetalclip_nb.models.tower import vision_tower
from helpers import TINY_CONFIG, write_config, write_heads
from towers import model_of, timm_visual

CHANGE = Augmentation(seed=3)


def tiny_model(folder, layers=6, **vision):
    """An untrained model of a few blocks: 32 pixels, 4 x 4 patches, width 32."""
    vision = {**TINY_CONFIG["vision_cfg"], "layers": layers, **vision}
    path = write_config(folder / "tiny.json", vision_cfg=vision)
    return load_model(f"{path}-untrained", device="cpu")


def pixels_for(side, n=2):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def encoder(model):
    return BlockEncoder(model)


@pytest.fixture
def heads(tmp_path):
    return hc18.read_hc18(write_heads(tmp_path / "heads"))


class Counting(BlockEncoder):
    """Counts its forward passes and gives up after some of them."""

    def __init__(self, model, limit=10**9):
        super().__init__(model)
        self.batches, self.limit = [], limit

    def encode(self, pixels):
        if len(self.batches) == self.limit:
            raise KeyboardInterrupt
        self.batches.append(len(pixels))
        return super().encode(pixels)


@pytest.mark.parametrize(
    ("blocks", "published", "even"),
    [
        (24, (6, 8, 12, 24), (6, 12, 18, 24)),  # ViT-L/14, in the paper's own words
        (12, (3, 4, 6, 12), (3, 6, 9, 12)),  # ViT-B/16
        (32, (8, 10, 16, 32), (8, 16, 24, 32)),  # ViT-H/14
        (6, (1, 2, 3, 6), (1, 3, 4, 6)),  # phantomclip
        (9, (2, 3, 4, 9), (2, 4, 6, 9)),
    ],
)
def test_blocks_of_both_spacings(blocks, published, even):
    assert chosen_blocks(blocks) == published
    assert chosen_blocks(blocks, "even") == even


@pytest.mark.parametrize("blocks", range(1, 60))
@pytest.mark.parametrize("spacing", ["published", "even"])
def test_blocks_are_four_ascending_ones_or_refused(blocks, spacing):
    too_few = (1, 2, 3, 4, 5, 8) if spacing == "published" else (1, 2, 3)
    if blocks in too_few:
        with pytest.raises(ParameterError, match="too few blocks"):
            chosen_blocks(blocks, spacing)
        return
    taken = chosen_blocks(blocks, spacing)
    assert taken == tuple(sorted(set(taken)))
    assert (len(taken), taken[-1]) == (4, blocks)
    assert taken[0] >= 1


def test_impossible_blocks_are_named(tmp_path):
    with pytest.raises(ParameterError, match=r"blocks 2, 2, 4, 8 of 8.*set blocks to even"):
        BlockEncoder(tiny_model(tmp_path, layers=8))
    with pytest.raises(ParameterError, match="published, even.*Found: 'odd'"):
        chosen_blocks(24, "odd")


def one_by_one(network, pixels, blocks):
    """What follows the blocks of open_clip's vision transformer, run by hand."""
    x, found = network.visual._embeds(pixels), []
    for number, block in enumerate(network.visual.transformer.resblocks, start=1):
        x = block(x)
        if number in blocks:
            found.append(x)
    return found


@pytest.mark.parametrize("spacing", ["published", "even"])
def test_features_are_the_patch_tokens_after_the_blocks(model, spacing):
    encoder = BlockEncoder(model, spacing)
    pixels = pixels_for(32)
    found = encoder.encode(pixels)
    assert (found.shape, found.dtype) == ((2, 4, 4, 4, 32), np.float16)
    assert (encoder.name, encoder.width, encoder.grid) == (model.name, 32, 4)
    assert encoder.blocks == chosen_blocks(6, spacing)
    with torch.inference_mode():
        for place, tokens in enumerate(one_by_one(model.network, pixels, encoder.blocks)):
            for row in range(4):
                for column in range(4):
                    patch = tokens[:, 1 + 4 * row + column].numpy()
                    assert found[:, place, row, column] == pytest.approx(patch, abs=2e-3)


def test_tokens_before_images_are_turned_round(model, encoder):
    inner = model.network.visual.transformer
    other = Transformer(32, 6, 2, batch_first=False)
    other.load_state_dict(inner.state_dict())
    expected = encoder.encode(pixels_for(32))
    try:
        model.network.visual.transformer = other.eval()
        assert vision_tower(model).batch_first is False
        found = BlockEncoder(model).encode(pixels_for(32))
    finally:
        model.network.visual.transformer = inner
    assert found == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(
    ("trunk", "prefix"),
    [
        ({}, 1),
        ({"reg_tokens": 3}, 4),
        ({"class_token": False, "reg_tokens": 2, "global_pool": "avg"}, 2),
        ({"class_token": False, "global_pool": "avg"}, 0),
    ],
    ids=["class", "class and registers", "registers", "neither"],
)
def test_tokens_before_the_patches_are_dropped(trunk, prefix):
    model = model_of(timm_visual(**trunk))
    encoder, pixels = BlockEncoder(model), pixels_for(160)
    found = encoder.encode(pixels)
    assert (found.shape, encoder.grid, encoder.width) == ((2, 4, 10, 10, 64), 10, 64)
    assert vision_tower(model).prefix == prefix
    with torch.inference_mode():
        expected = model.network.visual.trunk.forward_intermediates(
            pixels, indices=[block - 1 for block in encoder.blocks], intermediates_only=True
        )
    for place, maps in enumerate(expected):
        assert found[:, place] == pytest.approx(maps.permute(0, 2, 3, 1).numpy(), abs=3e-3)


def bilinear(maps, side):
    """Bilinear resampling, pixel by pixel: centres of pixels, clamped at the border."""
    old = maps.shape[0]
    made = np.empty((side, side, *maps.shape[2:]))
    for row in range(side):
        for column in range(side):
            y, x = (
                np.clip((place + 0.5) * old / side - 0.5, 0, old - 1) for place in (row, column)
            )
            top, left = int(y), int(x)
            low, right = min(top + 1, old - 1), min(left + 1, old - 1)
            dy, dx = y - top, x - left
            above = maps[top, left] * (1 - dx) + maps[top, right] * dx
            below = maps[low, left] * (1 - dx) + maps[low, right] * dx
            made[row, column] = above * (1 - dy) + below * dy
    return made


def test_larger_grid_is_resampled_before_it_is_stored():
    model = model_of(timm_visual())
    own = BlockEncoder(model).encode(pixels_for(160)).astype(float)
    found = BlockEncoder(model, grid=7).encode(pixels_for(160))
    assert found.shape == (2, 4, 7, 7, 64)
    assert BlockEncoder(model, grid=7).grid == 7
    for image in range(2):
        for place in range(4):
            slow = bilinear(own[image, place], 7)
            assert found[image, place] == pytest.approx(slow, abs=5e-3)


def test_smaller_grid_is_stored_as_it_is(model, encoder):
    larger = BlockEncoder(model, grid=14)
    assert larger.grid == 4
    assert np.array_equal(larger.encode(pixels_for(32)), encoder.encode(pixels_for(32)))
    assert larger.fingerprint == encoder.fingerprint


@pytest.mark.parametrize("grid", [3, 4, 14])
def test_stored_features_become_what_a_decoder_takes(grid):
    rng = np.random.default_rng(0)
    blocks = rng.normal(size=(2, 4, 4, 4, 5)).astype(np.float16)
    found = on_grid(blocks, grid)
    assert (found.shape, found.dtype) == ((2, 4, 5, grid, grid), torch.float32)
    for image in range(2):
        for place in range(4):
            slow = bilinear(blocks[image, place].astype(float), grid)
            assert found[image, place].permute(1, 2, 0).numpy() == pytest.approx(slow, abs=1e-5)
    logits = Decoder(5, 1, filters=2)(found, torch.zeros(2, 3, 16 * grid, 16 * grid))
    assert logits.shape == (2, 1, 16 * grid, 16 * grid)


@pytest.mark.filterwarnings("error")
def test_features_are_read_from_the_disk_without_a_warning(tmp_path):
    blocks = np.arange(2 * 4 * 9 * 5, dtype=np.float16).reshape(2, 4, 3, 3, 5)
    stored = stored_arrays(tmp_path, "blocks", {"model": "a"}, 2, lambda rows: {"blocks": blocks})
    found = on_grid(stored.arrays["blocks"][1:], 3)
    assert np.array_equal(found.permute(0, 1, 3, 4, 2).numpy(), blocks[1:])


def test_features_go_to_the_device():
    blocks = np.zeros((2, 4, 3, 3, 5), dtype=np.float16)
    assert on_grid(blocks, 14).device.type == "cpu"
    assert on_grid(blocks, 14, "meta").device.type == "meta"


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (2, 4, 3, 4, 5)])
def test_features_off_a_square_grid_are_refused(shape):
    with pytest.raises(ShapeError, match="square grid.*N, 4, g, g, width"):
        on_grid(np.zeros(shape, dtype=np.float16), 14)


@pytest.mark.parametrize("grid", [0, -1, 2.5])
def test_impossible_grids_are_refused(model, grid):
    for make in (lambda: BlockEncoder(model, grid=grid), lambda: NoFeatures(grid)):
        with pytest.raises(ParameterError, match=f"at least 1.*Found: {grid}"):
            make()


@pytest.mark.parametrize(
    ("name", "blocks", "own", "width"),
    [
        ("ViT-L-14-quickgelu", (6, 8, 12, 24), 16, 1024),
        ("ViT-L-14-336", (6, 8, 12, 24), 24, 1024),
        ("coca_ViT-L-14", (6, 8, 12, 24), 16, 1024),
    ],
)
def test_arithmetic_of_real_shapes(name, blocks, own, width):
    # Without weights, so that no time is lost on numbers: shapes alone.
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        visual = open_clip.model._build_vision_tower(
            config["embed_dim"], config["vision_cfg"], quick_gelu="quickgelu" in name
        )
    encoder = BlockEncoder(model_of(visual), grid=14)
    assert (encoder.blocks, encoder.grid, encoder.width) == (blocks, 14, width)
    tower = vision_tower(model_of(visual))
    assert (tower.prefix, tower.grid) == (1, own)
    with torch.device("meta"):
        side = config["vision_cfg"]["image_size"]
        embedded = visual._embeds(torch.zeros(2, 3, side, side))
        tokens = visual.transformer.resblocks[0](embedded)
    assert tower.maps(1, tokens).shape == (2, width, own, own)


@pytest.mark.parametrize(
    ("name", "side", "prefix", "blocks", "own", "width"),
    [
        ("vit_base_patch16_224", 224, 1, (3, 4, 6, 12), 14, 768),  # BiomedCLIP's
        ("vit_base_patch16_siglip_256", 256, 0, (3, 4, 6, 12), 16, 768),
        ("vit_large_patch14_reg4_dinov2", 518, 5, (6, 8, 12, 24), 37, 1024),
        ("eva02_base_patch16_clip_224", 224, 1, (3, 4, 6, 12), 14, 768),
    ],
)
def test_arithmetic_of_real_trunks(name, side, prefix, blocks, own, width):
    with torch.device("meta"):
        visual = nn.Module()
        visual.trunk = timm.create_model(name, num_classes=0)
        model = model_of(visual)
        kept = []
        visual.trunk.blocks[0].register_forward_hook(lambda *given: kept.append(given[2]))
        visual.trunk(torch.zeros(2, 3, side, side))
    encoder, tower = BlockEncoder(model, grid=14), vision_tower(model)
    assert (encoder.blocks, encoder.grid, encoder.width) == (blocks, 14, width)
    assert (tower.prefix, tower.grid) == (prefix, own)
    assert tower.maps(1, kept[0]).shape == (2, width, own, own)


def test_blocks_of_the_shipped_model():
    encoder = BlockEncoder(load_model("phantomclip", device="cpu"), grid=14)
    assert (encoder.blocks, encoder.grid, encoder.width) == ((1, 2, 3, 6), 8, 128)
    found = encoder.encode(pixels_for(64))
    assert found.shape == (2, 4, 8, 8, 128)
    assert (np.abs(found).reshape(2, 4, -1).max(axis=2) > 0.1).all()


def resnet():
    with torch.device("meta"):
        return open_clip.modified_resnet.ModifiedResNet((1, 1, 1, 1), 16, 1, width=8)


def trunk_of(name):
    with torch.device("meta"):
        visual = nn.Module()
        visual.trunk = timm.create_model(name, num_classes=0)
    return visual


@pytest.mark.parametrize(
    ("visual", "found"),
    [
        (resnet, "ModifiedResNet"),
        (lambda: trunk_of("test_convnext"), "ConvNeXt"),
        (lambda: trunk_of("fastvit_mci0"), "FastVit"),  # MobileCLIP's
        (lambda: trunk_of("swin_tiny_patch4_window7_224"), "SwinTransformer"),
        (nn.Identity, "Identity"),
        (lambda: timm_visual(img_size=(160, 96)), "a grid of 10 x 6"),
    ],
    ids=["ResNet", "ConvNeXt", "FastViT", "Swin", "nothing", "oblong"],
)
def test_other_towers_are_refused(visual, found):
    with pytest.raises(ModelError, match=f"made up.*VisionTransformer.*Found: {found}"):
        BlockEncoder(model_of(visual()))


def test_blocks_without_one_token_a_patch_are_refused(tmp_path):
    # As where tokens are merged on the way.
    model = tiny_model(tmp_path)
    model.network.visual.transformer.resblocks[5].register_forward_hook(
        lambda *given: given[2][:, :-1]
    )
    with pytest.raises(ModelError, match=r"block 6.*\(images, 17, 32\).*\(2, 16, 32\)"):
        BlockEncoder(model).encode(pixels_for(32))


@pytest.mark.parametrize(("value", "found"), [(7e4, "7000"), (float("nan"), "nan")])
def test_what_16_bits_cannot_hold_is_refused(tmp_path, value, found):
    model = tiny_model(tmp_path)
    # From block 3 on; the patches' own tokens, not the class token, are what counts.
    model.network.visual.transformer.resblocks[2].mlp.c_proj.bias[5] = value
    with pytest.raises(ModelError, match=f"16 bits.*tiny.*block 3.*65504.*Found: {found}"):
        BlockEncoder(model).encode(pixels_for(32))


def test_large_class_tokens_do_no_harm(tmp_path):
    model = tiny_model(tmp_path)
    block = model.network.visual.transformer.resblocks[5]
    block.register_forward_hook(lambda *given: given[2].index_fill(1, torch.tensor([0]), 1e6))
    assert np.isfinite(BlockEncoder(model).encode(pixels_for(32))).all()


def hooks_of(model):
    return sum(len(module._forward_hooks) for module in model.network.modules())


def test_hooks_are_removed_even_after_an_error(model, encoder):
    encoder.encode(pixels_for(32))
    assert hooks_of(model) == 0
    with pytest.raises(RuntimeError):
        encoder.encode(torch.zeros(2, 5, 32, 32))
    assert hooks_of(model) == 0


def test_lower_precision_is_that_of_the_model(model, encoder):
    lower = BlockEncoder(replace(model, precision="bf16"))
    found, exact = lower.encode(pixels_for(32)), encoder.encode(pixels_for(32))
    assert not np.array_equal(found, exact)
    assert found == pytest.approx(exact, abs=0.1)
    assert lower.fingerprint != encoder.fingerprint


def test_fingerprint_covers_blocks_grid_and_weights(model, encoder):
    others = [
        BlockEncoder(model, "even"),
        BlockEncoder(model, grid=3),
        BlockEncoder(replace(model, fingerprint="1" * 16)),
    ]
    prints = {encoder.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == 4
    assert all(len(one) == 16 for one in prints)


def test_stored_features_equal_one_image_at_a_time(model, encoder, heads, tmp_path):
    store = block_features(encoder, heads, cache_dir=tmp_path, batch_size=4)
    assert list(store.arrays) == ["blocks"]
    blocks = store.arrays["blocks"]
    assert (blocks.shape, blocks.dtype) == ((6, 4, 4, 4, 32), np.float16)
    for path, found in zip(heads.paths, blocks, strict=True):
        slow = encoder.encode(model.preprocess(read_square(path))[None])[0]
        assert found == pytest.approx(slow, abs=2e-3)
    assert store.folder.parent == tmp_path / "blocks"
    assert store.meta["blocks"] == [1, 2, 3, 6]


def test_augmented_features_are_those_of_augmented_pictures(model, encoder, heads, tmp_path):
    blocks = [
        block_features(encoder, heads, cache_dir=tmp_path, augmentation=CHANGE, copy=copy)
        for copy in (0, 1)
    ]
    assert blocks[0].folder != blocks[1].folder
    for copy, store in enumerate(blocks):
        for row, name in enumerate(heads.table["id"]):
            image = augmented(read_square(heads.paths[row]), CHANGE, name=name, copy=copy)
            slow = encoder.encode(model.preprocess(image)[None])[0]
            assert store.arrays["blocks"][row] == pytest.approx(slow, abs=2e-3)


def test_second_call_reads_and_never_computes(model, heads, tmp_path):
    encoder = Counting(model)
    first = block_features(encoder, heads, cache_dir=tmp_path, batch_size=4)
    again = block_features(encoder, heads, cache_dir=tmp_path, batch_size=2)
    assert encoder.batches == [4, 2]
    assert np.array_equal(first.arrays["blocks"], again.arrays["blocks"])


def test_interrupted_run_goes_on_with_any_batch_size(model, heads, tmp_path):
    whole = block_features(Counting(model), heads, cache_dir=tmp_path / "whole", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        block_features(Counting(model, limit=1), heads, cache_dir=tmp_path / "cut", batch_size=2)
    encoder = Counting(model)
    found = block_features(encoder, heads, cache_dir=tmp_path / "cut", batch_size=3)
    assert encoder.batches == [3, 1]
    assert found.arrays["blocks"] == pytest.approx(whole.arrays["blocks"], abs=2e-3)


def test_worker_processes_give_the_same(encoder, heads, tmp_path):
    alone = block_features(encoder, heads, cache_dir=tmp_path / "a", augmentation=CHANGE)
    helped = block_features(
        encoder, heads, cache_dir=tmp_path / "b", augmentation=CHANGE, workers=2, batch_size=6
    )
    assert np.array_equal(alone.arrays["blocks"], helped.arrays["blocks"])


def test_augmented_subset_has_its_own_entry(encoder, heads, tmp_path):
    rows = np.array([False, True, True, False, False, True])
    options = {"cache_dir": tmp_path, "augmentation": CHANGE, "copy": 1}
    whole = block_features(encoder, heads, **options)
    subset = block_features(encoder, heads.where(rows), **options)
    assert subset.folder != whole.folder
    assert subset.arrays["blocks"] == pytest.approx(whole.arrays["blocks"][rows], abs=2e-3)
    assert block_features(encoder, heads.where(~rows), **options).folder != subset.folder


def test_plain_subset_is_refused(encoder, heads, tmp_path):
    subset = heads.where(np.arange(len(heads)) < 2)
    with pytest.raises(ParameterError, match="block_features.*2 images picked from hc18"):
        block_features(encoder, subset, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_other_encoders_and_grids_are_other_entries(model, heads, tmp_path):
    encoders = [
        BlockEncoder(model),
        BlockEncoder(model, "even"),
        BlockEncoder(model, grid=3),
        NoFeatures(),
        NoFeatures(grid=2),
    ]
    folders = {block_features(one, heads, cache_dir=tmp_path).folder for one in encoders}
    assert len(folders) == len(encoders)


def test_baseline_stores_zeros_and_reads_no_image(heads, tmp_path):
    for path in heads.paths:
        path.unlink()
    blocks = block_features(NoFeatures(), heads, cache_dir=tmp_path, augmentation=CHANGE).arrays[
        "blocks"
    ]
    assert (blocks.shape, blocks.dtype) == ((6, 4, 1, 1, 8), np.float16)
    assert not blocks.any()
    assert on_grid(blocks, 14).shape == (6, 4, 8, 14, 14)
    assert NoFeatures().fingerprint != NoFeatures(grid=2).fingerprint


def test_record_tells_what_was_encoded(encoder, heads, tmp_path):
    store = block_features(encoder, heads, cache_dir=tmp_path, augmentation=CHANGE, copy=2)
    meta = json.loads((store.folder / "journal.json").read_text())["meta"]
    assert meta == store.meta
    assert meta["augmentation"] == {**CHANGE.settings, "copy": 2}
    assert meta["dataset_fingerprint"] == heads.fingerprint
    assert (meta["model"], meta["model_fingerprint"]) == (encoder.name, encoder.fingerprint)
