"""Checkpoints of DINOv2, DINOv3, MAE and USFM as published, recognised by the names in them.

Width, depth, patches, registers and LayerScale are read from shapes, so that smaller networks in
the same layout load as well; timm's classes compute them.
"""

import math
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import LayerNorm, SwiGLUPacked
from timm.models import beit, eva, vision_transformer
from torch import nn

from fetalclip_nb.errors import ModelError, listing, reading, refuse
from fetalclip_nb.models.checkpoints import put_weights, read_weights

PIXELS = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
"""Normalisation with which all four were trained."""

ENDINGS = (".pth", ".pt", ".safetensors", ".bin")

_PATCHES = "patch_embed.proj.weight"

# What these checkpoints hold for their training alone.
_TRAINING = re.compile(r"(decoder|head|\w+_head|mask_token|local_cls_norm)(?![a-z0-9])")

State = dict[str, torch.Tensor]


def create(folder: Path, *, untrained: bool = False) -> tuple[nn.Module, int, dict]:
    """Build the network of the one checkpoint in a folder.

    Args:
        folder: With one file that ends in one of `ENDINGS`.
        untrained: Leave the weights random, of the same shape.

    Returns:
        The network, the side of its images in pixels, and what it was built with.

    Raises:
        ModelError: No or several checkpoints, another layout, or weights missing or left over.

    Source: Key names of facebookresearch/dinov2, dinov3 and mae, and of openmedlab/USFM.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in ENDINGS)
    if len(files) != 1:
        raise ModelError(
            "Folder holds no model that is known",
            where=folder,
            expected="open_clip_config.json, a config.json of timm or transformers, or exactly one "
            f"checkpoint ({', '.join(ENDINGS)}) of DINOv2, DINOv3, MAE or USFM",
            found=listing(path.name for path in files) or "no checkpoint",
        )
    state = _tower(read_weights(files[0]), files[0])
    name = _recognised(state)
    fix = f"give the publisher's own file; this one has names of {name} and other shapes"
    with reading(files[0], "Checkpoint is in no layout that is known", error=ModelError, fix=fix):
        network, convert, side, settings = _BUILT[name](state)
        kept = {key: each for key, each in state.items() if not _TRAINING.match(key)}
        kept = convert(kept, network)
    if not untrained:
        put_weights(network, kept, files[0], f"the layout of {name}")
    return network, side, {"layout": name, **settings}


def _tower(flat: dict, path: Path) -> State:
    """The weights of one image tower, by the names that its publisher's class gives them."""
    starts = [key.removesuffix(_PATCHES) for key in flat if f".{key}".endswith(f".{_PATCHES}")]
    starts.sort(key=lambda start: ("teacher" not in start, "ema" in start.lower()))
    if not starts:
        raise ModelError(
            "Checkpoint is in no layout that is known",
            where=path,
            expected=f"DINOv2, DINOv3, MAE or USFM, with a tensor {_PATCHES}",
            found=listing(flat, 3),
            fix="give a folder of timm or transformers, or a function of yours (FILE.py:NAME)",
        )
    if len(starts) > 1:
        print(f"{path.name} holds towers {starts}: {starts[0]!r} is read.", file=sys.stderr)
    start = starts[0]
    state = {key[len(start) :]: each for key, each in flat.items() if key.startswith(start)}
    # Blocks that were split among machines have the number of their part before their own.
    state = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", k): each for k, each in state.items()}
    wanted = [key for key in ("cls_token", "blocks.0.norm1.weight") if key not in state]
    refuse(wanted, "Checkpoint lacks weights", error=ModelError, where=path)
    return state


def _recognised(state: State) -> str:
    if any(key.endswith("relative_position_bias_table") for key in state):
        return "USFM"
    if "rope_embed.periods" in state:
        return "DINOv3"
    return "DINOv2" if "blocks.0.ls1.gamma" in state else "MAE"


def _sizes(state: State) -> dict:
    """Arguments that all of timm's classes call the same, seen at shapes; 64 numbers a head."""
    width, _, patch, _ = state[_PATCHES].shape
    first = ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.w12.weight", "blocks.0.mlp.w1.weight")
    hidden = len(next((state[name] for name in first if name in state), ()))
    depth = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks."))
    sizes = {"patch_size": patch, "embed_dim": width, "depth": depth, "num_classes": 0}
    # Half a number more: timm multiplies by the width again, and cuts what follows the point.
    return {**sizes, "num_heads": max(1, width // 64), "mlp_ratio": (hidden + 0.5) / width}


Built = tuple[nn.Module, Callable[[State, nn.Module], State], int, dict]


def _plain(state: State) -> Built:
    """DINOv2 and MAE: learned or fixed positions, and registers without any."""
    sizes = _sizes(state)
    registers = state["register_tokens"].shape[1] if "register_tokens" in state else 0
    side = math.isqrt(state["pos_embed"].shape[1] - 1) * sizes["patch_size"]
    settings = {**sizes, "img_size": side, "qkv_bias": "blocks.0.attn.qkv.bias" in state}
    settings |= {"reg_tokens": registers, "no_embed_class": registers > 0}
    if "blocks.0.ls1.gamma" in state:
        settings |= {"init_values": 1e-5}
    elif (sizes["embed_dim"], sizes["patch_size"]) == (1280, 14):
        settings |= {"num_heads": 16}  # MAE's ViT-H
    if gated := "blocks.0.mlp.w12.weight" in state:
        settings |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
    settings |= {"global_pool": "avg" if "fc_norm.weight" in state else "token"}
    network = vision_transformer.VisionTransformer(**settings)
    # timm knows by its presence that names are DINOv2's.
    mark = {"mask_token": state["cls_token"][0]} if registers or gated else {}
    return (
        network,
        lambda kept, made: vision_transformer.checkpoint_filter_fn({**kept, **mark}, made),
        side,
        {key: str(value) for key, value in settings.items()},
    )


def _rotary(state: State) -> Built:
    """DINOv3: positions turn queries and keys; heads follow from the number of periods."""
    sizes, periods = _sizes(state), state["rope_embed.periods"].float()
    bias = state.get("blocks.0.attn.qkv.bias")
    if bias is not None and "blocks.0.attn.qkv.bias_mask" not in state:
        found = ["blocks.0.attn.qkv.bias"] if bias.chunk(3)[1].any() else []
        what = "Keys have a bias, which DINOv3's have not"
        refuse(found, what, error=ModelError, where="checkpoint in the layout of DINOv3")
    gated = "blocks.0.mlp.w1.weight" in state
    settings = {
        **sizes,
        "img_size": 14 * sizes["patch_size"],
        "num_heads": sizes["embed_dim"] // (4 * len(periods)),
        "qkv_bias": bias is not None,
        "init_values": 1e-5 if "blocks.0.ls1.gamma" in state else None,
        "num_reg_tokens": state["storage_tokens"].shape[1] if "storage_tokens" in state else 0,
        "swiglu_mlp": gated,
        "swiglu_align_to": int(gated),
    }
    network = eva.Eva(
        **settings,
        global_pool="token",
        dynamic_img_size=True,
        rope_type="dinov3",
        rope_rotate_half=True,
        rope_temperature=100,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        use_fc_norm=False,
        norm_layer=partial(LayerNorm, eps=1e-5),
    )
    network.rope.periods.copy_(periods)  # rounded to 16 bits in training
    mark = {} if "storage_tokens" in state else {"storage_tokens": None}
    settings["periods"] = periods.tolist()

    def convert(kept: State, made: nn.Module) -> State:
        named = eva.checkpoint_filter_fn({**kept, **mark}, made)
        return {key: each for key, each in named.items() if each is not None}

    return network, convert, settings["img_size"], settings


def _biased(state: State) -> Built:
    """USFM: BEiT's network, each block or all together with a table of relative positions."""
    sizes = _sizes(state)
    name = next(key for key in state if key.endswith("relative_position_bias_table"))
    places, heads = state[name].shape
    side = (math.isqrt(places - 3) + 1) // 2 * sizes["patch_size"]  # (2g - 1)^2 + 3 rows
    settings = {
        **sizes,
        "img_size": side,
        "num_heads": heads,
        "qkv_bias": "blocks.0.attn.q_bias" in state,
        "init_values": 0.1 if "blocks.0.gamma_1" in state else None,
        "use_abs_pos_emb": "pos_embed" in state,
        "use_rel_pos_bias": name.startswith("blocks."),
        "use_shared_rel_pos_bias": name.startswith("rel_pos_bias."),
        "use_fc_norm": "fc_norm.weight" in state,
        "global_pool": "avg",
    }
    network = beit.Beit(**settings)
    if not {"norm.weight", "fc_norm.weight"} & state.keys():  # as its trunk is trained
        network.norm = nn.Identity()
    return network, beit.checkpoint_filter_fn, side, settings


_BUILT: dict[str, Callable[[State], Built]] = {
    "USFM": _biased,
    "DINOv3": _rotary,
    "DINOv2": _plain,
    "MAE": _plain,
}
