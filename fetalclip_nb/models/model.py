"""A model by name: the shipped phantom CLIP, any open_clip model, config + checkpoint."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from PIL import Image
from torch import nn

from fetalclip_nb.errors import ModelError, ParameterError, reading, refuse
from fetalclip_nb.models.names import model_name, split_spec
from fetalclip_nb.models.sources import create

PRECISIONS = ("auto", "fp32", "tf32", "bf16", "fp16")

_SHORT = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Model:
    """An image encoder, and mostly a text encoder that shares its space.

    Attributes:
        name: Short name, used in tables and file names.
        source: What was loaded.
        network: In evaluation mode: open_clip's module, or one with an image tower alone.
        preprocess: PIL image to tensor (3, S, S).
        tokenizer: Sentences to token ids (N, context length); None if it reads no text.
        fingerprint: 16 hexadecimal digits over config, preparation and weights.
        device: "cpu", "cuda", ...
        precision: "fp32", "tf32", "bf16" or "fp16".
    """

    name: str
    source: str
    network: nn.Module
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenizer: Callable[[list[str]], torch.Tensor] | None
    fingerprint: str
    device: str
    precision: str

    @torch.inference_mode()
    def encode_images(self, pixels: torch.Tensor) -> np.ndarray:
        """Un-normalised embeddings (N, D) of preprocessed images (N, 3, S, S), float32."""
        with self.autocast():
            return self.network.encode_image(pixels.to(self.device)).float().cpu().numpy()

    @torch.inference_mode()
    def encode_text(self, sentences: Sequence[str], batch_size: int = 512) -> np.ndarray:
        """Un-normalised text embeddings, float32 of shape (N, D).

        Sentences of similar length share a batch, and each batch is cut at its longest
        sentence where the text tower is causal (see `trimmed_text`).

        Raises:
            ModelError: The model is an image encoder alone.
            ParameterError: Sentences are longer than the text tower reads.
        """
        self.require_text()
        tokens = self.tokenizer(list(sentences))
        padding = self.tokenizer([""])[0, -2]  # the last one may stand for the class
        self._require_whole([sentences[row] for row in (tokens[:, -2] != padding).nonzero()[:, 0]])
        order = torch.argsort((tokens != 0).sum(1), stable=True)
        parts = []
        for rows in order.split(batch_size):
            with self.autocast():
                parts.append(trimmed_text(self.network, tokens[rows].to(self.device)).float().cpu())
        vectors = torch.empty_like(torch.cat(parts))
        vectors[order] = torch.cat(parts)
        return vectors.numpy()

    def _require_whole(self, sentences: Sequence[str]) -> None:
        """Refuse sentences that the tokenizer would cut."""
        length = self.tokenizer([""]).shape[1]

        def is_cut(sentence: str) -> bool:
            more, cut = (self.tokenizer([sentence, ""], length + n) for n in (8, 0))
            return bool((more[0] != more[1, -2]).sum() > (cut[0] != cut[1, -2]).sum())

        if long := list(filter(is_cut, sentences)):
            words = long[0].split()
            while words and is_cut(" ".join(words)):
                words.pop()
            are = "sentences are" if len(long) > 1 else "sentence is"
            raise ParameterError(
                f"{len(long)} {are} longer than the {length} tokens that {self.name} reads",
                found=f"what follows {' '.join(words[-8:])!r} would be cut",
                fix="shorten them, or take a model that reads more",
            )

    @property
    def reads_text(self) -> bool:
        """Whether it has a text tower."""
        return self.tokenizer is not None

    def require_text(self) -> None:
        """Refuse an image encoder alone where sentences are asked."""
        if not self.reads_text:
            raise ModelError(
                "Model reads no text",
                where=self.name,
                fix="leave it to chapters without sentences, or choose a model with a text tower",
            )

    @property
    def image_side(self) -> int:
        """Pixels along a side of the images that its network is given."""
        return int(self.preprocess(Image.new("RGB", (8, 8))).shape[-1])

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.network.parameters())

    def autocast(self) -> torch.autocast:
        """The context of a forward pass in the model's precision."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, _SHORT.get(self.precision), enabled=self.precision in _SHORT)


def trimmed_text(network: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Encode text at the length of its longest sentence instead of the full context.

    Token ids (N, context length), padded with 0, become un-normalised features (N, D).

    In a causal tower a position sees only what precedes it, and the feature is taken at the
    end-of-text token: what follows cannot matter, so cutting it is exact and several times
    faster. Towers of transformers (BERT) mask what is padded: columns of nothing else can go as
    well. Others, like MobileFetalCLIP's, look at all positions and are run at full length.
    """
    if isinstance(text := getattr(network, "text", None), HFTextEncoder):
        used = (tokens != text.config.pad_token_id).any(dim=0).nonzero()
        return network.encode_text(tokens[:, : int(used.max()) + 1])
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
            - ``fetalclip``, ``clip``, ``biomedclip``, ``unimed-clip``, ``mobilefetalclip``;
            - ``fetalclip-untrained`` or ``CONFIG.json-untrained``: a config's untrained twin;
            - ``ARCHITECTURE/PRETRAINED``, any pair that open_clip knows;
            - ``hf-hub:ORGANISATION/NAME`` or ``local-dir:FOLDER``;
            - ``CONFIG.json+CHECKPOINT`` (.pt, .pth, .bin or .safetensors);
            - without text: ``timm:NAME``, ``timm:NAME-untrained``, ``timm:NAME+CHECKPOINT``,
              ``hf:NAME`` (a vision model of transformers), ``local-dir:FOLDER`` with a
              ``config.json`` of either, or with one checkpoint of DINOv2, DINOv3, MAE or USFM, and
              ``FILE.py:NAME`` or ``MODULE:NAME``, a function of yours (see `models.functions`).

            Any of them may be preceded by ``NAME=`` to choose the name in tables. A config states
            mean and standard deviation of the pixels as ``preprocess_cfg``.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:1".
        precision: "auto" (fp32 on CPU, tf32 on GPU), "fp32", "tf32", "bf16", or "fp16" (float16
            on a CUDA GPU, as the paper's zero-shot planes and embeddings; elsewhere fp32).
    """
    source = split_spec(spec)[1]
    device = pick_device(device)
    precision = pick_precision(precision, device)
    network, preprocess, tokenizer, config = create(source)
    network.eval().requires_grad_(False)
    fingerprint = _fingerprint(network, preprocess, tokenizer, config)
    network.to(device)
    made = (network, preprocess, tokenizer, fingerprint, device, precision)
    model = Model(model_name(spec), source, *made)
    _require_answers(model)
    return model


def _require_answers(model: Model) -> None:
    """Refuse weights with NaN, and encoders whose vectors point nowhere: nothing compares."""
    details = {"error": ModelError, "fix": "use an earlier checkpoint, or copy the file again"}
    wrong = [key for key, each in model.network.named_parameters() if not each.isfinite().all()]
    refuse(wrong, "Weights are not finite (NaN, infinity)", where=model.source, **details)
    with reading(model.source, "Model encodes no image or no sentence", **details):
        image = model.preprocess(Image.new("L", (64, 64), 128))[None]
        made = {"image": model.encode_images(image)}
        if model.reads_text:
            made["sentence"] = model.encode_text(["a head"])
    lost = [kind for kind, vector in made.items() if not 0 < np.linalg.norm(vector) < np.inf]
    refuse(lost, "Model gives vectors without direction", where=model.source, **details)
    if not model.reads_text:  # and may not be made for single images
        first = model.encode_images(torch.cat([image, torch.ones_like(image)]))[0]
        allowed = 1e-3 if model.precision == "fp32" else 0.05
        if np.linalg.norm(first - made["image"]) > allowed * np.linalg.norm(first):
            what = "Model gives another answer to the same picture in another batch"
            fix = "switch off what it draws at random, and normalise each picture on its own"
            raise ModelError(what, where=model.source, fix=fix)


def pick_device(device: str) -> str:
    """Resolve "auto", and refuse a device that this machine lacks."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device):
        known = "auto, cpu, cuda, cuda:N or mps"
        raise ParameterError("Unknown device", where="device", expected=known, found=device)
    absent = (device.startswith("cuda") and not torch.cuda.is_available()) or (
        device == "mps" and not torch.backends.mps.is_available()
    )
    if absent:
        raise ParameterError(
            "No such accelerator on this machine",
            where=f"device {device}",
            fix="set device to auto, or install a torch build for your GPU",
        )
    return device


def pick_precision(precision: str, device: str) -> str:
    """Resolve "auto" and set torch's matrix precision accordingly."""
    if precision not in PRECISIONS:
        raise ParameterError(
            "Unknown precision", where="precision", expected=", ".join(PRECISIONS), found=precision
        )
    on_gpu = device.startswith("cuda")
    if precision == "auto":
        precision = "tf32" if on_gpu else "fp32"
    if precision == "fp16" and not on_gpu:
        precision = "fp32"  # a CPU computes 16 bits more slowly
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    # The patch embedding is a convolution: it must follow the same rule.
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return precision


def _fingerprint(network: nn.Module, preprocess: object, tokenizer: object, config: dict) -> str:
    # Weights alone do not tell: activation, heads and pooling have no tensor of their own.
    words = f"{type(tokenizer).__name__} {getattr(tokenizer, 'context_length', '')}"
    settings = json.dumps(config, sort_keys=True, default=str)
    prepared = re.sub(r" at 0x[0-9a-f]+", "", repr(preprocess))  # where a function lies in memory
    digest = hashlib.sha256("\0".join([prepared, words, settings]).encode())
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
