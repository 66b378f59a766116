"""From a model's source to its network: shipped, open_clip's, or config and checkpoint.

Config and checkpoint files of open_clip models, checked before they are used.
"""

import hashlib
import json
import logging
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from fetalclip_nb.downloads.fetch import require_not_lfs_pointer
from fetalclip_nb.errors import ModelError, listing, refuse
from fetalclip_nb.models.names import UNTRAINED, parts
from fetalclip_nb.paths import SHIPPED, resolve

_UNTRAINED_SEED = 0

_PAIRS = {
    "phantomclip": f"local-dir:{SHIPPED}",
    # OpenAI trained with QuickGELU: plain "ViT-L-14" would load with a warning and score lower.
    "clip": "ViT-L-14-quickgelu/openai",
    "biomedclip": "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
}

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
    """
    base = source.removesuffix(UNTRAINED)
    config, weights = parts(base)
    if config and source != base:
        return _build(read_config(config), seed=_UNTRAINED_SEED)
    if config and weights:
        return _create_from_config(config, weights)
    return _create_from_open_clip(_PAIRS.get(source, source))


def _create_from_config(config: Path, weights: Path):
    made = _build(read_config(config))
    load_weights(made[0], weights)
    return made


def _build(config: dict, *, seed: int | None = None):
    """An open_clip model from a config's content, with random weights."""
    names = ("mean", "std", "interpolation", "resize_mode")
    options = {f"image_{k}": v for k, v in config["preprocess_cfg"].items() if k in names}
    text = json.dumps(config["model_cfg"], sort_keys=True)
    name = f"fetalclip-nb-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.json"
        path.write_text(text, "utf-8")
        open_clip.add_model_config(path)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        # open_clip's warning that weights are random: here that is meant, or passing.
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            return _with_tokenizer(name, **options)
        finally:
            logging.disable(before)


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


_CONFIG_KEYS = ("embed_dim", "vision_cfg", "text_cfg")


def read_config(path: Path) -> dict:
    """Read an open_clip config: bare, or with model_cfg and preprocess_cfg.

    Returns:
        {"model_cfg": {...}, "preprocess_cfg": {...}}; the second may be empty.
    """
    _require_file(path, "config")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError("Config is no JSON", where=path, found=str(error)) from None
    model = content.get("model_cfg", content) if isinstance(content, dict) else {}
    missing = [f"no {key}" for key in _CONFIG_KEYS if key not in model]
    refuse(missing, "Config lacks keys", error=ModelError, where=path)
    return {"model_cfg": model, "preprocess_cfg": content.get("preprocess_cfg", {})}


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a checkpoint into a network that must fit it exactly.

    Args:
        network: An open_clip model with weights to overwrite.
        path: .safetensors, or a torch file that holds only tensors and plain containers.
    """
    _require_file(path, "checkpoint")
    require_not_lfs_pointer(path)
    state = _unwrapped(_read(path))
    expected = network.state_dict()
    # Older checkpoints store tensors that follow from the config.
    for name in {"attn_mask", "input_resolution", "context_length"} - expected.keys():
        state.pop(name, None)
    missing = sorted(expected.keys() - state.keys())
    unexpected = sorted(state.keys() - expected.keys())
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}"
        for key in sorted(expected.keys() & state.keys())
        if state[key].shape != expected[key].shape
    ]
    if missing or unexpected or shapes:
        raise ModelError(
            "Config and weights do not fit",
            where=path,
            expected=f"{len(expected)} tensors as the config asks for",
            found=f"{len(missing)} missing ({listing(missing, 3)}), {len(unexpected)} unexpected "
            f"({listing(unexpected, 3)}), {len(shapes)} of another shape ({listing(shapes, 3)})",
            fix="pair the checkpoint with the config that it was trained with",
        )
    network.load_state_dict(state)


def _require_file(path: Path, kind: str) -> None:
    if not path.is_file():
        raise ModelError(
            f"Model {kind} is missing",
            where=path,
            fix="`fetalclip-nb download fetalclip` fetches FetalCLIP; for your own model give "
            "CONFIG.json+CHECKPOINT",
        )


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(
            "Checkpoint cannot be read",
            where=path,
            expected="a whole .safetensors or torch file that holds only tensors",
            found=f"{path.stat().st_size} bytes; {str(error).splitlines()[0]}",
            fix="download it again",
        ) from None


def _unwrapped(content: object) -> dict[str, torch.Tensor]:
    """The state dict itself, without training wrappers and `module.` prefixes."""
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise ModelError("Checkpoint holds no state dict", found=type(content).__name__)
    return {str(key).removeprefix("module."): value for key, value in content.items()}
