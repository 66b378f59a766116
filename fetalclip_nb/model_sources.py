"""From a model's source to its network: shipped, open_clip's, or config and checkpoint."""

import contextlib
import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import open_clip
import torch
from torch import nn

from fetalclip_nb.checkpoints import load_weights, read_config
from fetalclip_nb.downloads import require_not_lfs_pointer
from fetalclip_nb.errors import ModelError, listing
from fetalclip_nb.paths import models_folder, resolve

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped models."""

UNTRAINED = "-untrained"
"""Ending of a name that asks for seeded random weights."""

_UNTRAINED_SEED = 0
_PAIRS = {
    # OpenAI trained with QuickGELU: plain "ViT-L-14" would load with a warning and score lower.
    "clip": "ViT-L-14-quickgelu/openai",
    "biomedclip": "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
}
_CHECKPOINTS = {"fetalclip": ("FetalCLIP_config.json", "FetalCLIP_weights.pt")}
_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

Parts = tuple[nn.Module, Callable, Callable, dict]
"""Network, preprocess, tokenizer, config."""


def create(source: str) -> Parts:
    """Build network, preprocess and tokenizer.

    Args:
        source: A source as `models.load_model` takes it, without its NAME= part.

    Returns:
        The network with its weights, PIL image to tensor, sentences to token ids, and the
        settings that the network was built with.

    Raises:
        ModelError: Unknown name, missing or unfitting weights.
        DownloadError: A Git LFS pointer in place of weights.
    """
    base = source.removesuffix(UNTRAINED)
    if base == "phantomclip":
        return _create_phantomclip(trained=base == source)
    if source != base and (base in _CHECKPOINTS or base.endswith(".json")):
        config = models_folder() / base / _CHECKPOINTS[base][0] if base in _CHECKPOINTS else base
        return _build(read_config(resolve(config)), seed=_UNTRAINED_SEED)
    if source in _CHECKPOINTS:
        config, weights = (models_folder() / source / part for part in _CHECKPOINTS[source])
        return _create_from_config(config, weights)
    if "+" in source and source.split("+")[0].endswith(".json"):
        config, _, weights = source.partition("+")
        return _create_from_config(resolve(config), resolve(weights))
    return _create_from_open_clip(_PAIRS.get(source, source))


def _create_phantomclip(*, trained: bool):
    folder = WEIGHTS / "phantomclip"
    if trained:
        return _create_from_open_clip(f"local-dir:{folder}")
    return _build(read_config(folder / "open_clip_config.json"), seed=_UNTRAINED_SEED)


def _create_from_config(config: Path, weights: Path):
    made = _build(read_config(config))
    load_weights(made[0], weights)
    return made


def _build(config: dict, *, seed: int | None = None):
    """An open_clip model from a config's content, with random weights."""
    text = json.dumps(config["model_cfg"], sort_keys=True)
    name = f"fetalclip-nb-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.json"
        path.write_text(text, "utf-8")
        open_clip.add_model_config(path)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        with _without_warnings():
            return _with_tokenizer(name, **_preprocess_options(config))


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence open_clip's warning that weights are random: here that is meant, or passing."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _preprocess_options(config: dict) -> dict:
    given = config.get("preprocess_cfg", {})
    names = {"mean": "image_mean", "std": "image_std", "interpolation": "image_interpolation"}
    names["resize_mode"] = "image_resize_mode"
    return {names[key]: value for key, value in given.items() if key in names}


def _create_from_open_clip(source: str):
    if source.startswith("local-dir:"):
        folder = resolve(source.removeprefix("local-dir:"))
        _require_local_folder(folder)
        source = f"local-dir:{folder}"
    elif not source.startswith("hf-hub:"):
        source = _require_pair(source)
    name, _, pretrained = source.partition("/") if ":" not in source else (source, "", "")
    try:
        return _with_tokenizer(name, pretrained=pretrained or None)
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        raise ModelError(
            "Model cannot be loaded",
            where=source,
            found=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            fix="check the name, the network connection and that `transformers` is installed "
            "where the text tower needs it",
        ) from error


def _with_tokenizer(name: str, **options):
    network, _, preprocess = open_clip.create_model_and_transforms(name, **options)
    return network, preprocess, open_clip.get_tokenizer(name), open_clip.get_model_config(name)


def _require_local_folder(folder: Path) -> None:
    """Refuse a folder that open_clip would load with random weights and only a warning."""
    weights = [folder / name for name in _WEIGHT_FILES if (folder / name).is_file()]
    if not weights or not (folder / "open_clip_config.json").is_file():
        raise ModelError(
            "Model folder is missing or incomplete",
            where=folder,
            expected=f"open_clip_config.json beside one of {', '.join(_WEIGHT_FILES)}",
            found=listing(sorted(path.name for path in folder.glob("*"))) or "nothing",
        )
    require_not_lfs_pointer(weights[0])


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
    if pretrained not in open_clip.list_pretrained_tags_by_model(name):
        raise ModelError(
            "open_clip has no such weights for this architecture",
            where=source,
            expected=", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none at all",
            found=pretrained,
        )
    if pretrained == "openai" and f"{name}-quickgelu" in open_clip.list_models():
        raise ModelError(
            "OpenAI's weights need the QuickGELU architecture",
            where=source,
            expected=f"{name}-quickgelu/openai",
            found=source,
        )
    return source
