"""Checkpoints: the weights in a file, however a trainer has wrapped them, into a network."""

import pickle
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from fetalclip_nb.downloads.fetch import require_not_lfs_pointer
from fetalclip_nb.downloads.registry import registry
from fetalclip_nb.errors import ModelError, listing, reading

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# What older checkpoints hold beside weights and follows from the config.
_BESIDE = {"attn_mask", "input_resolution", "context_length", "vocab_size", "position_ids"}

# Scores and counters of numpy beside the weights; each type of number is a class of its own.
_NUMBERS = [np._core.multiarray.scalar, np.dtype, *map(type, map(np.dtype, "?bBhHiIlLqQefdg"))]
_NUMBERS += [(np._core.multiarray.scalar, "numpy.core.multiarray.scalar")]

_ALONE = 'save the weights alone, as floats: torch.save(model.state_dict(), "weights.pt")'


def load_weights(network: nn.Module, path: Path, config: Path) -> None:
    """Load a checkpoint into a network that must fit it exactly.

    Args:
        network: An open_clip model with weights to overwrite.
        path: A .safetensors or torch file. Dicts around the weights, and what wrappers write
            before each name ("module.", "model.", "_orig_mod."), are seen through. UniMed-CLIP's
            ``text_encoder`` is open_clip's ``text``.
        config: What the network was built from, for the message.
    """
    state = _weights(read_weights(path), network.state_dict(), path.name)
    put_weights(network, state, path, config.name)


def read_weights(path: Path) -> dict[str, object]:
    """All that a checkpoint holds beside what follows from its config, with names joined by dots.

    Raises:
        ModelError: It is not there, cut, or holds more than numbers.
    """
    require_file(path, "checkpoint")
    require_not_lfs_pointer(path)
    what, whole = "Checkpoint cannot be read", "a whole .safetensors or torch file"
    fix = f"{_ALONE}; copy it again if it was cut on its way"
    with reading(path, what, error=ModelError, expected=whole, fix=fix):
        flat = _flat(_read(path))
        return {name: each for name, each in flat if name.split(".")[-1] not in _BESIDE}


def put_weights(network: nn.Module, state: dict, path: Path, asked: str) -> None:
    """Load weights into a network that they must fit exactly, or tell what does not fit.

    Args:
        network: With weights to overwrite.
        state: Tensors by the network's names.
        path: Where they come from, for the message.
        asked: What asks for the network's names and shapes.
    """
    wanted = network.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    forms = {key: (_form(state[key]), _form(wanted[key])) for key in wanted if key in state}
    unlike = [f"{key} {found} for {form}" for key, (found, form) in forms.items() if found != form]
    if missing or unexpected or unlike:
        raise ModelError(
            "Config and weights do not fit",
            where=path,
            expected=f"{len(wanted)} tensors as {asked} asks for",
            found=f"{len(missing)} missing ({listing(missing, 3)}), {len(unexpected)} unexpected "
            f"({listing(unexpected, 3)}), {len(unlike)} of another form ({listing(unlike, 3)})",
            fix=f"pair the checkpoint with the config that it was trained with, and {_ALONE}",
        )
    network.load_state_dict({key: state[key].reshape(wanted[key].shape) for key in wanted})


def require_file(path: Path, kind: str) -> None:
    """Refuse a config or checkpoint that is not there."""
    if not path.is_file():
        models = [entry for entry in registry().values() if entry.kind == "model"]
        names = [each.name for each in models if path.name in [file.path for file in each.files]]
        fix = "for your own model give CONFIG.json+CHECKPOINT"
        fix = "".join(f"`fetalclip-nb download {name}` fetches it; " for name in names) + fix
        raise ModelError(f"Model {kind} is missing", where=path, fix=fix)


def _read(path: Path) -> object:
    with path.open("rb") as file:
        if file.read(9)[8:] == b"{":  # of safetensors: the length of the header, then the header
            return load_file(path)
    try:
        with torch.serialization.safe_globals(_NUMBERS):  # torch's older files cannot be mapped
            return torch.load(path, "cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        what = re.search(r"GLOBAL (\S+)", str(error))
        said = f"an object of the class {what[1]}" if what else str(error).rpartition("error: ")[2]
        raise ValueError(said) from error


def _weights(flat: dict[str, object], wanted: dict, file: str) -> dict[str, object]:
    """The part of a checkpoint that is a network's weights, by the network's own names.

    Averaged weights ("ema") come second; where several fit, standard error says what was read.
    """
    if any(name.startswith("text.") for name in wanted):
        flat = {re.sub(r"(^|\.)text_encoder\.", r"\1text.", key): flat[key] for key in flat}
    first = next(iter(wanted))
    starts = [name.removesuffix(first) for name in flat if f".{name}".endswith(f".{first}")]
    parts = {s: {name[len(s) :]: flat[name] for name in flat if name.startswith(s)} for s in starts}
    fitting = [start for start in starts if parts[start].keys() == wanted.keys()]
    fitting.sort(key=lambda start: "ema" in start.lower())
    if len(fitting) > 1:
        print(f"{file} holds weights {', '.join(fitting)}: {fitting[0]} are read.", file=sys.stderr)
    return parts[fitting[0]] if fitting else max(parts.values(), key=len, default=flat)


def _flat(content: object, above: tuple = (), name: str = "") -> list[tuple[str, object]]:
    """What nested dicts hold, by the names of all dicts and its own, joined by dots."""
    if not isinstance(content, dict) or id(content) in above:  # the latter holds itself
        return [(name, content)]
    inner = ((f"{name}.{key}".lstrip("."), each) for key, each in content.items())
    return [pair for key, each in inner for pair in _flat(each, (*above, id(content)), key)]


def _form(value: object) -> str:
    """What must agree for a value to become a network's, not cast (whole numbers) or dropped."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
        return f"no plain tensor ({type(value).__name__})"
    kind = "floats" if value.dtype in _FLOATS else str(value.dtype).removeprefix("torch.")
    return f"{kind} {tuple(value.shape) if value.numel() > 1 else 1}"
