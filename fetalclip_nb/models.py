"""A model by name: the shipped phantom CLIP, any open_clip model, config + checkpoint."""

import contextlib
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import nn

from fetalclip_nb.checkpoints import load_weights, read_config
from fetalclip_nb.errors import ModelError, ParameterError
from fetalclip_nb.paths import models_folder

WEIGHTS = Path(__file__).parent / "weights"
UNTRAINED = "-untrained"
_UNTRAINED_SEED = 0
_PAIRS = {
    # OpenAI trained with QuickGELU: plain "ViT-L-14" would load with a warning and score lower.
    "clip": "ViT-L-14-quickgelu/openai",
    "biomedclip": "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
}
_CHECKPOINTS = {"fetalclip": ("FetalCLIP_config.json", "FetalCLIP_weights.pt")}
PRECISIONS = ("auto", "fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Model:
    """An image encoder and a text encoder that share a space.

    Attributes:
        name: Short name, used in tables and file names.
        source: What was loaded.
        network: The open_clip module, in evaluation mode.
        preprocess: PIL image to tensor (3, S, S).
        tokenizer: Sentences to token ids (N, context length).
        fingerprint: 16 hexadecimal digits over config, preparation and weights.
        device: "cpu", "cuda", ...
        precision: "fp32", "tf32" or "bf16".
    """

    name: str
    source: str
    network: nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor]
    fingerprint: str
    device: str
    precision: str

    @torch.inference_mode()
    def encode_images(self, pixels: torch.Tensor) -> np.ndarray:
        """Un-normalised image embeddings.

        Args:
            pixels: Preprocessed images, float32 of shape (N, 3, S, S).

        Returns:
            float32 of shape (N, D).
        """
        with self._autocast():
            return self.network.encode_image(pixels.to(self.device)).float().cpu().numpy()

    @torch.inference_mode()
    def encode_text(self, sentences: Sequence[str], batch_size: int = 512) -> np.ndarray:
        """Un-normalised text embeddings, float32 of shape (N, D).

        Sentences of similar length share a batch, and each batch is cut at its longest
        sentence where the text tower is causal (see `trimmed_text`).
        """
        tokens = self.tokenizer(list(sentences))
        order = torch.argsort((tokens != 0).sum(1), stable=True)
        parts = []
        for rows in order.split(batch_size):
            with self._autocast():
                parts.append(trimmed_text(self.network, tokens[rows].to(self.device)).float().cpu())
        vectors = torch.empty_like(torch.cat(parts))
        vectors[order] = torch.cat(parts)
        return vectors.numpy()

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.network.parameters())

    def _autocast(self) -> torch.autocast:
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")


def trimmed_text(network: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Encode text at the length of its longest sentence instead of the full context.

    In a causal tower a position sees only what precedes it, and the feature is taken at the
    end-of-text token: what follows cannot matter, so cutting it is exact and several times
    faster. Other towers (BERT with its own padding mask) are run at full length.

    Args:
        network: An open_clip model.
        tokens: Token ids of shape (N, context length), padded with 0.

    Returns:
        Un-normalised text features of shape (N, D).
    """
    if not _is_causal(network):
        return network.encode_text(tokens)
    # The end-of-text token has the largest id of the vocabulary.
    length = int(tokens.argmax(dim=1).max()) + 1
    tokens = tokens[:, :length]
    kind = network.transformer.get_cast_dtype()
    x = network.token_embedding(tokens).to(kind) + network.positional_embedding[:length].to(kind)
    x = network.transformer(x, attn_mask=network.attn_mask[:length, :length])
    x = network.ln_final(x)
    x = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=1)]
    projection = network.text_projection
    return projection(x) if isinstance(projection, nn.Linear) else x @ projection


def _is_causal(network: nn.Module) -> bool:
    return (
        isinstance(network, open_clip.CLIP)
        and getattr(network, "attn_mask", None) is not None
        and network.text_pool_type == "argmax"
        and network.text_projection is not None
    )


def load_model(spec: str, *, device: str = "auto", precision: str = "auto") -> Model:
    """Load a model.

    Args:
        spec: One of

            - ``phantomclip`` or ``phantomclip-untrained`` (same shape, seeded random weights);
            - ``clip``, ``biomedclip``, ``fetalclip``;
            - ``ARCHITECTURE/PRETRAINED``, any pair that open_clip knows;
            - ``hf-hub:ORGANISATION/NAME`` or ``local-dir:FOLDER``;
            - ``CONFIG.json+CHECKPOINT`` (.pt, .pth, .bin or .safetensors).

            Any of them may be preceded by ``NAME=`` to choose the name in tables.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1".
        precision: "auto" (fp32 on CPU, tf32 on GPU), "fp32", "tf32" or "bf16".

    Raises:
        ModelError: Unknown name, missing or unfitting weights, LFS pointer.
        ParameterError: A device that is not there, an unknown precision.
    """
    name, _, rest = spec.strip().rpartition("=")
    source = rest.strip()
    device = pick_device(device)
    precision = pick_precision(precision, device)
    network, preprocess, tokenizer = _create(source)
    network.eval().requires_grad_(False)
    fingerprint = _fingerprint(network, preprocess)
    name = name.strip() or _short_name(source)
    network.to(device)
    return Model(name, source, network, preprocess, tokenizer, fingerprint, device, precision)


def parse_models(text: str) -> list[str]:
    """Split a comma-separated list of model names, as notebooks take it.

    >>> parse_models("phantomclip, phantomclip-untrained")
    ['phantomclip', 'phantomclip-untrained']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ParameterError("No model named", where="models", expected="at least one name")
    return names


def pick_device(device: str) -> str:
    """Resolve "auto", and refuse a device that this machine lacks.

    Raises:
        ParameterError: If the device is unknown or absent.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        raise ParameterError(
            "Unknown device",
            where="device",
            expected="auto, cpu, cuda, cuda:N or mps",
            found=device,
        )
    absent = (device.startswith("cuda") and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise ParameterError(
            "No such accelerator on this machine",
            where="device",
            expected="cpu or auto",
            found=device,
            fix="set device to auto, or install a torch build for your GPU",
        )
    return device


def pick_precision(precision: str, device: str) -> str:
    """Resolve "auto" and set torch's matrix precision accordingly."""
    if precision not in PRECISIONS:
        raise ParameterError(
            "Unknown precision", where="precision", expected=", ".join(PRECISIONS), found=precision
        )
    if precision == "auto":
        precision = "tf32" if device.startswith("cuda") else "fp32"
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    return precision


def _create(source: str):
    """Network, preprocess and tokenizer of a source without its NAME= part."""
    base = source.removesuffix(UNTRAINED)
    if base == "phantomclip":
        return _create_phantomclip(trained=base == source)
    if source in _CHECKPOINTS:
        config, weights = (models_folder() / source / part for part in _CHECKPOINTS[source])
        return _create_from_config(config, weights)
    if "+" in source and source.split("+")[0].endswith(".json"):
        config, _, weights = source.partition("+")
        return _create_from_config(Path(config).expanduser(), Path(weights).expanduser())
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
        _require_local_folder(Path(source.removeprefix("local-dir:")).expanduser())
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
    return network, preprocess, open_clip.get_tokenizer(name)


def _require_local_folder(folder: Path) -> None:
    if not (folder / "open_clip_config.json").is_file():
        raise ModelError(
            "Model folder is missing or incomplete",
            where=folder,
            expected="open_clip_config.json beside open_clip_model.safetensors",
        )


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


def _fingerprint(network: nn.Module, preprocess: object) -> str:
    digest = hashlib.sha256(repr(preprocess).encode())
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _short_name(source: str) -> str:
    """A name for tables and files: letters, digits, dots, dashes."""
    tail = source.split("+")[-1] if "+" in source else source
    tail = Path(tail).stem if "+" in source else tail.split(":")[-1]
    return re.sub(r"[^A-Za-z0-9.-]+", "-", tail).strip("-").lower()
