"""The fast image tower gives what the slow one gives."""

from dataclasses import replace

import pytest
import torch

from fetalclip_nb.models.model import load_model
from fetalclip_nb.models.tower import ClassTokenBlock, PointwiseLinear, fast_tower
from towers import model_of, timm_visual, tiny_model


def same(model, side, images=17):
    """Largest difference of both towers, in units of the embeddings' spread."""
    pixels = torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        slow, fast = model.network.encode_image(pixels), fast_tower(model)(pixels)
    return float((slow - fast).abs().max() / slow.std())


# Fewer and more pictures than the number from which on convolutions are used.
@pytest.mark.parametrize("images", [1, 15, 16, 33])
def test_same_embeddings_of_any_number_of_images(images):
    assert same(load_model("phantomclip", device="cpu"), 64, images) < 1e-4


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_heads": 2},
        {"final_ln_after_pool": True},
        {"ls_init_value": 0.1},
        {"qk_norm": True},  # open_clip's other kind of block
        {"layers": 1},
    ],
    ids=str,
)
def test_same_embeddings_of_other_vision_transformers(tmp_path, vision):
    assert same(tiny_model(tmp_path, **vision), 32) < 1e-4


def test_only_a_class_token_leaves_the_last_block(tmp_path):
    kinds = {}
    for pool in ("tok", "avg"):
        tower = fast_tower(tiny_model(tmp_path, pool_type=pool))
        kinds[pool] = [type(block) is ClassTokenBlock for block in tower.transformer.resblocks]
    assert kinds["tok"][-1] and not any(kinds["tok"][:-1])
    assert not any(kinds["avg"])


def test_convolutions_are_used_for_full_precision_on_a_cpu(tmp_path):
    model = tiny_model(tmp_path)
    for precision, used in (("fp32", True), ("bf16", False)):
        tower = fast_tower(replace(model, precision=precision))
        kinds = [type(module) for module in tower.modules()]
        assert (PointwiseLinear in kinds) is used


def test_a_timm_trunk_is_left_as_it_is():
    assert same(model_of(timm_visual()), 160, images=2) == 0


def test_weights_are_shared_and_hooks_are_not(tmp_path):
    model = tiny_model(tmp_path)
    tower = fast_tower(model)
    mine = {id(p) for p in model.network.visual.parameters()}
    assert {id(p) for p in tower.parameters()} <= mine
    called = []
    model.network.visual.transformer.resblocks[0].register_forward_hook(lambda *_: called.append(1))
    tower(torch.zeros(16, 3, 32, 32))
    assert not called
    assert type(model.network.visual.transformer.resblocks[-1]) is not ClassTokenBlock
