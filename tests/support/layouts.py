"""Checkpoints of image-only encoders with random weights, in the layouts of their publishers.

Each is written from a network of timm's, which stays the answer to what a reader makes of it.
"""

from pathlib import Path

import timm
import torch
from torch import nn

SMALL = {"embed_dim": 128, "depth": 6, "num_classes": 0}
NETWORKS = {  # timm's name of it, and what is smaller
    "dinov2": ("vit_small_patch14_dinov2", {"num_heads": 2, "img_size": 56}),
    "dinov2, registers": ("vit_small_patch14_reg4_dinov2", {"num_heads": 2, "img_size": 56}),
    "dinov2, gated": ("vit_giant_patch14_dinov2", {"num_heads": 2, "img_size": 56}),
    "dinov3": ("vit_small_patch16_dinov3_qkvb", {"num_heads": 2, "global_pool": "token"}),
    "dinov3, gated": ("vit_small_plus_patch16_dinov3", {"num_heads": 2, "global_pool": "token"}),
    "mae": ("vit_base_patch16_224", {"num_heads": 2, "img_size": 64}),
    "usfm": ("beit_base_patch16_224", {"num_heads": 4, "img_size": 64}),
    "usfm, shared": (
        "beit_base_patch16_224",
        {"num_heads": 2, "img_size": 64, "use_fc_norm": False, "use_rel_pos_bias": False}
        | {"use_shared_rel_pos_bias": True},
    ),
}


def write_layout(name: str, path: Path, **smaller: object) -> nn.Module:
    """Write one of `NETWORKS`; the network that it was written from."""
    architecture, own = NETWORKS[name]
    torch.manual_seed(sorted(NETWORKS).index(name))
    network = timm.create_model(architecture, **{**SMALL, **own, **smaller}).eval()
    if name == "usfm, shared":
        network.norm = nn.Identity()
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(std=0.1)
    state = {key: each.clone() for key, each in network.state_dict().items()}
    torch.save(_AS_PUBLISHED[name.partition(",")[0]](state, network), path)
    return network


def _dinov2(state: dict, network: nn.Module) -> dict:
    width = network.embed_dim
    if "reg_token" in state:
        state["register_tokens"] = state.pop("reg_token")
        first = torch.full((1, 1, width), 0.25)
        state["pos_embed"] = torch.cat([first, state["pos_embed"]], 1)
        state["cls_token"] = state["cls_token"] - first
    if "Glu" in type(network.blocks[0].mlp).__name__:
        state = {k.replace("fc1", "w12").replace("fc2", "w3"): v for k, v in state.items()}
    return {**state, "mask_token": torch.zeros(1, width)}


def _dinov3(state: dict, network: nn.Module) -> dict:
    names = {"gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma", "reg_token": "storage_tokens"}
    names |= {"mlp.fc1_g": "mlp.w1", "mlp.fc1_x": "mlp.w2", "mlp.fc2": "mlp.w3"}
    if "blocks.0.mlp.fc1_g.weight" not in state:
        names.pop("mlp.fc2")
    made = {}
    for key, each in state.items():
        if key.endswith("q_bias"):
            keys, values = torch.zeros_like(each), state[key.replace("q_bias", "v_bias")]
            bias = key.replace("q_bias", "qkv.bias")
            made[bias] = torch.cat([each, keys, values])
            made[f"{bias}_mask"] = torch.full_like(made[bias], torch.nan)
        elif not key.endswith("v_bias"):
            for ours, theirs in names.items():
                key = key.replace(ours, theirs)
            made[key] = each
    periods = network.rope.periods
    periods.copy_(periods.bfloat16())
    extra = {"mask_token": torch.zeros(1, network.embed_dim), "rope_embed.periods": periods}
    return {**made, **extra, "local_cls_norm.weight": torch.ones(network.embed_dim)}


def _mae(state: dict, network: nn.Module) -> dict:
    extra = {"mask_token": torch.zeros(1, 1, 32), "decoder_pos_embed": torch.zeros(1, 17, 32)}
    extra["decoder_blocks.0.norm1.weight"] = torch.ones(32)
    return {"model": {**state, **extra}}


def _usfm(state: dict, network: nn.Module) -> dict:
    biased = network.rel_pos_bias or network.blocks[0].attn
    index = biased.relative_position_index
    indices = {
        f"blocks.{n}.attn.relative_position_index": index for n in range(len(network.blocks))
    }
    return {**state, **indices, "head.weight": torch.zeros(6, network.embed_dim)}


_AS_PUBLISHED = {"dinov2": _dinov2, "dinov3": _dinov3, "mae": _mae, "usfm": _usfm}
