"""From a model's source to its network: config and checkpoint, or what open_clip fetches."""

import contextlib
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import open_clip
import torch
from torch import nn

from fetalclip_nb.downloads.registry import file_hash, registered
from fetalclip_nb.errors import ModelError, listing, reading, refuse
from fetalclip_nb.models.checkpoints import load_weights, require_file
from fetalclip_nb.models.names import FETALCLIP, IN_FOLDER, UNTRAINED, parts
from fetalclip_nb.paths import SHIPPED

_UNTRAINED_SEED = 0

_PAIRS = {
    "phantomclip": f"{IN_FOLDER}{SHIPPED}",
    # OpenAI trained with QuickGELU: plain "ViT-L-14" would load with a warning and score lower.
    "clip": "ViT-L-14-quickgelu/openai",
    "biomedclip": "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
}

Parts = tuple[nn.Module, Callable, Callable, dict]
"""Network, PIL image to tensor, sentences to token ids, settings that the network is built with."""


def create(source: str) -> Parts:
    """A network with its weights and all of `Parts`, from a `load_model` source without NAME=."""
    source = _PAIRS.get(source, source)
    config, weights = parts(source)
    if config and weights:
        made = _build(config, in_folder=source.startswith(IN_FOLDER))
        load_weights(made[0], weights)
        return made
    if config and source.endswith(UNTRAINED):
        return _build(config, seed=_UNTRAINED_SEED)
    return _create_from_open_clip(source)


@cache
def published_as(source: str) -> str:
    """Name under which scores of these weights, known by hash or fetched, are published, or ""."""
    fetched = {_PAIRS[name]: name for name in ("clip", "biomedclip")}
    given = zip(parts(source), map(registered("fetalclip").file, FETALCLIP), strict=True)
    known = all(
        path and path.stat().st_size == file.bytes and file_hash(path, file.hash) == file.hash
        for path, file in given
    )
    return "fetalclip" if known else fetched.get(_PAIRS.get(source, source), "")


def _build(path: Path, *, in_folder: bool = False, seed: int | None = None) -> Parts:
    """An open_clip model from a config, with random weights; in a folder with its tokenizer."""
    config = read_config(path)
    text = json.dumps(config["model_cfg"], sort_keys=True)
    name = f"fetalclip-nb-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.json").write_text(text, "utf-8")
        open_clip.add_model_config(folder)
    fix = f"correct it, or take the open_clip that wrote it (here: {open_clip.__version__}); towers"
    named = listing(re.findall(r'_name": "([^"]+)', text)) or "none"
    fix += f" and tokenizers of other libraries ({named}) need the network unless they are here"
    # open_clip's warning that weights are random: here that is meant, or passing.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with (
        contextlib.ExitStack() as stack,
        reading(path, "Model cannot be built from its config", error=ModelError, fix=fix),
        torch.random.fork_rng(devices=[], enabled=seed is not None),
    ):
        stack.callback(logging.disable, before)
        if seed is not None:
            torch.manual_seed(seed)
        names = ("mean", "std", "interpolation", "resize_mode")
        options = {f"image_{k}": v for k, v in config["preprocess_cfg"].items() if k in names}
        name, options = (f"{IN_FOLDER}{path.parent}", {}) if in_folder else (name, options)
        return _with_tokenizer(name, load_weights=False, pretrained_text=False, **options)


def _create_from_open_clip(source: str) -> Parts:
    source = source if source.startswith("hf-hub:") else _require_pair(source)
    name, _, pretrained = source.partition("/") if ":" not in source else (source, "", "")
    fix = "check the name, the network connection and that `transformers` is installed where the "
    fix += "text tower needs it"
    with reading(source, "Model cannot be loaded", error=ModelError, fix=fix):
        return _with_tokenizer(name, pretrained=pretrained or None, require_pretrained=True)


def _with_tokenizer(name: str, **options) -> Parts:
    network, _, preprocess = open_clip.create_model_and_transforms(name, **options)
    return network, preprocess, open_clip.get_tokenizer(name), open_clip.get_model_config(name)


def _require_pair(source: str) -> str:
    """Check ARCHITECTURE/PRETRAINED against what open_clip offers."""
    name, _, pretrained = source.partition("/")
    if name not in open_clip.list_models() or not pretrained:
        raise ModelError(
            "Unknown model",
            found=source,
            expected="phantomclip, phantomclip-untrained, clip, biomedclip, fetalclip, "
            "ARCHITECTURE/PRETRAINED, hf-hub:..., local-dir:..., or CONFIG.json+CHECKPOINT",
            fix="open_clip.list_pretrained() names all pairs",
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        raise ModelError(
            "open_clip has no such weights for this architecture",
            where=source,
            expected=", ".join(tags) or "none at all",
            found=pretrained,
        )
    if pretrained == "openai" and f"{name}-quickgelu" in open_clip.list_models():
        right = f"{name}-quickgelu/openai"
        raise ModelError("OpenAI's weights need QuickGELU", where=source, expected=right)
    return source


def read_config(path: Path) -> dict:
    """Model_cfg and preprocess_cfg (it may be empty) of an open_clip config, which may be bare."""
    require_file(path, "config")
    with reading(path, "Config is no JSON", error=ModelError, fix="correct it"):
        content = json.loads(path.read_text("utf-8"))
    content = content if isinstance(content, dict) else {}
    model = content.get("model_cfg", content)
    keys = model if isinstance(model, dict) else ()
    missing = [f"no {key}" for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in keys]
    fix = "give a config of open_clip"
    refuse(missing, "Config lacks keys", error=ModelError, where=path, fix=fix)
    return {"model_cfg": model, "preprocess_cfg": content.get("preprocess_cfg", {})}
