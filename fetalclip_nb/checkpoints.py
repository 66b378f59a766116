"""Config and checkpoint files of open_clip models, checked before they are used."""

import json
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from fetalclip_nb.downloads import require_not_lfs_pointer
from fetalclip_nb.errors import ModelError, listing

_CONFIG_KEYS = ("embed_dim", "vision_cfg", "text_cfg")
_WRAPPERS = ("state_dict", "model")


def read_config(path: Path) -> dict:
    """Read an open_clip config: bare, or with model_cfg and preprocess_cfg.

    Returns:
        {"model_cfg": {...}, "preprocess_cfg": {...}}; the second may be empty.

    Raises:
        ModelError: Missing file, no JSON, or no embed_dim, vision_cfg and text_cfg.
    """
    _require_file(path, "config")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError("Config is no JSON", where=path, found=str(error)) from None
    model = content.get("model_cfg", content) if isinstance(content, dict) else {}
    missing = [key for key in _CONFIG_KEYS if key not in model]
    if missing:
        raise ModelError(
            "Config lacks keys", where=path, expected=", ".join(_CONFIG_KEYS), found=f"no {missing}"
        )
    return {"model_cfg": model, "preprocess_cfg": content.get("preprocess_cfg", {})}


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a checkpoint into a network that must fit it exactly.

    Args:
        network: An open_clip model with weights to overwrite.
        path: .safetensors, or a torch file that holds only tensors and plain containers.

    Raises:
        ModelError: Missing or damaged file, or names and shapes that do not fit the config.
        DownloadError: A Git LFS pointer in place of the file.
    """
    _require_file(path, "checkpoint")
    require_not_lfs_pointer(path)
    state = _unwrapped(_read(path))
    expected = network.state_dict()
    state = {key: tensor for key, tensor in state.items() if not _is_derived(key, expected)}
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
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not content:
        raise ModelError("Checkpoint holds no state dict", found=type(content).__name__)
    return {str(key).removeprefix("module."): value for key, value in content.items()}


def _is_derived(key: str, expected: dict) -> bool:
    """Tensors that older checkpoints store although they follow from the config."""
    return key not in expected and key in ("attn_mask", "input_resolution", "context_length")
