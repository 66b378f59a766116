"""Features of four blocks: which blocks, which tokens, where they lie, and how they are kept."""

import json
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import Transformer
from torch import nn

from fetalclip_nb.data.augmentation import Augmentation, augmented
from fetalclip_nb.data.images import read_square, resize_cubic
from fetalclip_nb.errors import ModelError, ParameterError
from fetalclip_nb.experiments.segmentation.decoder import Decoder
from fetalclip_nb.models.blocks import (
    BlockEncoder,
    block_features,
    chosen_blocks,
    on_grid,
)
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.store import stored_arrays
from fetalclip_nb.models.tower import vision_tower
from towers import model_of, timm_visual, tiny_model

CHANGE = Augmentation(seed=3)


def pixels_for(side, n=2):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"), layers=6)


@pytest.fixture(scope="module")
def encoder(model):
    return BlockEncoder(model)


@pytest.mark.parametrize(
    ("blocks", "published", "even"),
    [
        (24, (6, 8, 12, 24), (6, 12, 18, 24)),  # ViT-L/14, in the paper's own words
        (12, (3, 4, 6, 12), (3, 6, 9, 12)),  # ViT-B/16
        (32, (8, 10, 16, 32), (8, 16, 24, 32)),  # ViT-H/14
        (6, (1, 2, 3, 6), (1, 3, 4, 6)),  # phantomclip
        (9, (2, 3, 4, 9), (2, 4, 6, 9)),
        (4, (1, 2, 3, 4), (1, 2, 3, 4)),  # the stages of MobileFetalCLIP
    ],
)
def test_blocks_of_both_spacings(blocks, published, even):
    assert chosen_blocks(blocks) == published
    assert chosen_blocks(blocks, "even") == even


@pytest.mark.parametrize("blocks", range(1, 60))
@pytest.mark.parametrize("spacing", ["published", "even"])
def test_blocks_are_four_ascending_ones_or_refused(blocks, spacing):
    too_few = (1, 2, 3, 5, 8) if spacing == "published" else (1, 2, 3)
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
    found = encoder.encode_images(pixels)
    assert (found.shape, found.dtype) == ((2, 4, 4, 4, 32), np.float16)
    assert (encoder.name, encoder.width, encoder.grid) == (model.name, 32, 4)
    assert encoder.blocks == chosen_blocks(6, spacing)
    with torch.inference_mode():
        for place, tokens in enumerate(one_by_one(model.network, pixels, encoder.blocks)):
            for row in range(4):
                for column in range(4):
                    patch = tokens[:, 1 + 4 * row + column].numpy()
                    assert found[:, place, row, column] == pytest.approx(patch, abs=2e-3)


def test_16_bits_keep_a_thousandth(model, encoder):
    found = encoder.encode_images(pixels_for(32))
    with torch.inference_mode():
        for place, tokens in enumerate(one_by_one(model.network, pixels_for(32), encoder.blocks)):
            exact = tokens[:, 1:].reshape(2, 4, 4, 32).numpy()
            np.testing.assert_allclose(found[:, place], exact, rtol=1e-3, atol=1e-6)


def test_tokens_before_images_are_turned_round(model, encoder):
    inner = model.network.visual.transformer
    other = Transformer(32, 6, 2, batch_first=False)
    other.load_state_dict(inner.state_dict())
    expected = encoder.encode_images(pixels_for(32))
    try:
        model.network.visual.transformer = other.eval()
        assert vision_tower(model).batch_first is False
        found = BlockEncoder(model).encode_images(pixels_for(32))
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
    encoder, pixels, tower = BlockEncoder(model), pixels_for(160), vision_tower(model)
    tokens = {}
    for number, block in enumerate(tower.blocks, start=1):
        block.register_forward_hook(lambda *given, at=number: tokens.update({at: given[2]}))
    model.encode_images(pixels)
    expected = [tokens[block][:, prefix:].unflatten(1, (10, 10)) for block in encoder.blocks]
    found = encoder.encode_images(pixels)
    assert (found.shape, encoder.grid, encoder.width) == ((2, 4, 10, 10, 64), 10, 64)
    assert found == pytest.approx(torch.stack(expected, 1).numpy(), abs=3e-3)
    assert torch.equal(tower.maps(tokens[1]), tokens[1][:, prefix:].mT.unflatten(2, (10, 10)))


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
    own = BlockEncoder(model).encode_images(pixels_for(160)).astype(float)
    found = BlockEncoder(model, grid=7).encode_images(pixels_for(160))
    assert found.shape == (2, 4, 7, 7, 64)
    assert BlockEncoder(model, grid=7).grid == 7
    for image in range(2):
        for place in range(4):
            slow = bilinear(own[image, place], 7)
            assert found[image, place] == pytest.approx(slow, abs=5e-3)


def test_smaller_grid_is_stored_as_it_is(model, encoder):
    larger = BlockEncoder(model, grid=14)
    assert larger.grid == 4
    assert np.array_equal(
        larger.encode_images(pixels_for(32)), encoder.encode_images(pixels_for(32))
    )
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


def open_clip_visual(name):
    config = open_clip.get_model_config(name)
    quick = {"quick_gelu": "quickgelu" in name}
    return open_clip.model._build_vision_tower(config["embed_dim"], config["vision_cfg"], **quick)


def trunk_of(name, **options):
    side = timm.get_pretrained_cfg(name).input_size[-1]
    visual = TimmModel(name, 16, image_size=options.get("img_size", side))
    visual.trunk = timm.create_model(name, num_classes=0, **options)
    return visual


@pytest.mark.parametrize(
    ("make", "name", "prefix", "blocks", "own", "width"),
    [
        (open_clip_visual, "ViT-L-14-quickgelu", 1, (6, 8, 12, 24), 16, 1024),
        (open_clip_visual, "ViT-L-14-336", 1, (6, 8, 12, 24), 24, 1024),
        (open_clip_visual, "coca_ViT-L-14", 1, (6, 8, 12, 24), 16, 1024),
        (trunk_of, "vit_base_patch16_224", 1, (3, 4, 6, 12), 14, 768),  # BiomedCLIP's
        (trunk_of, "vit_base_patch16_siglip_256", 0, (3, 4, 6, 12), 16, 768),
        (trunk_of, "vit_large_patch14_reg4_dinov2", 5, (6, 8, 12, 24), 37, 1024),
        (trunk_of, "eva02_base_patch16_clip_224", 1, (3, 4, 6, 12), 14, 768),
    ],
)
def test_arithmetic_of_real_shapes(monkeypatch, make, name, prefix, blocks, own, width):
    # Without weights, so that no time is lost on numbers: shapes alone.
    monkeypatch.setattr(Model, "autocast", lambda _: nullcontext())  # knows no such device
    with torch.device("meta"):
        model = model_of(make(name), "meta")
    encoder, tower = BlockEncoder(model, grid=14), vision_tower(model)
    assert (encoder.blocks, encoder.grid, encoder.width) == (blocks, 14, width)
    assert (tower.prefix, tower.grid, tower.width) == (prefix, own, width)


def resnet(**options):
    return open_clip.modified_resnet.ModifiedResNet((1, 1, 1, 1), 16, 1, 32, width=8, **options)


@pytest.mark.parametrize(
    ("make", "blocks", "own", "widths"),
    [
        (resnet, (1, 2, 3, 5), 8, (8, 32, 64, 256)),
        (lambda: trunk_of("test_convnext"), (1, 2, 3, 4), 40, (24, 32, 48, 64)),
        (lambda: trunk_of("fastvit_mci0"), (1, 2, 3, 4), 64, (64, 128, 256, 512)),  # MobileCLIP's
    ],
    ids=["ResNet", "ConvNeXt", "FastViT"],
)
def test_towers_of_stages_are_brought_to_one_grid_and_width(make, blocks, own, widths):
    torch.manual_seed(0)
    model = model_of(make())
    encoder = BlockEncoder(model, "even", grid=7)
    assert (encoder.blocks, encoder.grid, encoder.width) == (blocks, 7, widths[-1])
    assert BlockEncoder(model, "even").grid == own
    visual = model.network.visual
    pixels = pixels_for(int(np.max(visual.image_size)))
    found = encoder.encode_images(pixels).astype(float)
    with torch.inference_mode():
        stages = visual.forward_intermediates(pixels)["image_intermediates"]
    for place, (block, width) in enumerate(zip(blocks, widths, strict=True)):
        assert not found[:, place, :, :, width:].any()
        for image, stage in enumerate(stages[block - 1].permute(0, 2, 3, 1).double().numpy()):
            slow = bilinear(stage, 7)
            assert found[image, place, :, :, :width] == pytest.approx(slow, abs=5e-3, rel=2e-3)


def changed(change):
    """A tiny tower whose last block gives something else than one token a patch."""
    visual = timm_visual()
    visual.trunk.blocks[-1].register_forward_hook(lambda *given: change(given[2]))
    return visual


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (nn.Identity, "AttributeError, .*image_size"),
        (lambda: trunk_of("test_vit", img_size=(160, 96)), "a grid of 10 x 6"),
        (lambda: changed(lambda tokens: tokens[:, :-1]), "RuntimeError, .*shape"),
    ],
    ids=["nothing", "oblong", "merged tokens"],
)
def test_other_towers_are_refused(make, found):
    with pytest.raises(ModelError, match=f"made up.*forward_intermediates.*Found: {found}"):
        BlockEncoder(model_of(make()))


@pytest.mark.parametrize(("value", "found"), [(7e4, "7000"), (float("nan"), "nan")])
def test_what_16_bits_cannot_hold_is_refused(tmp_path, value, found):
    model = tiny_model(tmp_path, layers=6)
    # From block 3 on; the patches' own tokens, not the class token, are what counts.
    model.network.visual.transformer.resblocks[2].mlp.c_proj.bias[5] = value
    with pytest.raises(ModelError, match=f"16 bits.*tiny.*block 3.*65504.*Found: {found}"):
        BlockEncoder(model).encode_images(pixels_for(32))


def test_large_class_tokens_do_no_harm(tmp_path):
    model = tiny_model(tmp_path, layers=6)
    block = model.network.visual.transformer.resblocks[5]
    block.register_forward_hook(lambda *given: given[2].index_fill(1, torch.tensor([0]), 1e6))
    assert np.isfinite(BlockEncoder(model).encode_images(pixels_for(32))).all()


def test_lower_precision_is_that_of_the_model(model, encoder):
    lower = BlockEncoder(replace(model, precision="bf16"))
    found, exact = lower.encode_images(pixels_for(32)), encoder.encode_images(pixels_for(32))
    assert not np.array_equal(found, exact)
    assert found == pytest.approx(exact, abs=0.1)


def test_fingerprint_covers_blocks_grid_precision_and_weights(model, encoder):
    others = [
        BlockEncoder(model, "even"),
        BlockEncoder(model, grid=3),
        BlockEncoder(replace(model, precision="bf16")),
        BlockEncoder(replace(model, fingerprint="1" * 16)),
    ]
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 5


@pytest.mark.parametrize("copy", [None, 0, 1])
def test_stored_features_equal_one_image_at_a_time(model, encoder, heads, tmp_path, copy):
    change = {} if copy is None else {"augmentation": CHANGE, "copy": copy}
    store = block_features(encoder, heads, cache_dir=tmp_path, batch_size=4, **change)
    blocks = store.arrays["blocks"]
    assert (blocks.shape, blocks.dtype) == ((6, 4, 4, 4, 32), np.float16)
    for path, name, found in zip(heads.paths, heads.table["id"], blocks, strict=True):
        image = read_square(path)
        if change:
            image = augmented(image, CHANGE, name=name, copy=copy)
        slow = encoder.encode_images(model.preprocess(resize_cubic(image))[None])[0]
        assert found == pytest.approx(slow, abs=2e-3)
    assert store.folder.parent == tmp_path / "blocks"
    meta = json.loads((store.folder / "journal.json").read_text())["meta"]
    assert meta == store.meta
    assert meta.get("augmentation") == ({**CHANGE.settings, "copy": copy} if change else None)
    assert meta["dataset_fingerprint"] == heads.fingerprint
    assert (meta["model"], meta["model_fingerprint"]) == (encoder.name, encoder.fingerprint)
