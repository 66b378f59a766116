"""A user's own function or class as an image encoder: FILE.py:NAME or MODULE:NAME."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch import nn

from fetalclip_nb.errors import ModelError, reading
from fetalclip_nb.files import key
from fetalclip_nb.models.names import parts
from fetalclip_nb.paths import project_root

SIDE = 224
"""Pixels along a side of the images that a function without a `preprocess` gets."""

_CONTRACT = "a function of float32 images (N, 3, 224, 224) from 0 to 1 that returns (N, D) numbers"


class Function(nn.Module):
    """What a user wrote, checked at each answer."""

    def __init__(self, call: object, source: str) -> None:
        super().__init__()
        self.call, self.source = call, source

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, D), float32, of pixels (N, 3, S, S)."""
        fix = f"correct the function: {_CONTRACT}"
        with reading(self.source, "Your function fails", error=ModelError, fix=fix):
            answer = torch.as_tensor(self.call(pixels))
            answer = answer.detach().float()
        if answer.ndim != 2 or len(answer) != len(pixels):
            raise ModelError(
                "Your function gives another shape",
                where=self.source,
                expected=f"({len(pixels)}, D), a row an image",
                found=tuple(answer.shape),
                fix=fix,
            )
        norms = answer.norm(dim=1)
        if not (norms.isfinite() & (norms > 0)).all():
            found = "NaN or infinity" if not norms.isfinite().all() else "zeros"
            what = "Your function gives vectors without direction"
            raise ModelError(what, where=self.source, found=found, fix=fix)
        return answer


def create(source: str) -> tuple[nn.Module, object, None, dict]:
    """Load what a source names: the network, its preprocess, no tokenizer, and its settings.

    A class is called without arguments; an attribute `preprocess` turns a PIL image into a tensor.
    """
    place, _, name = source.rpartition(":")
    file = parts(source)[1]
    fix = f"name it FILE.py:NAME or MODULE:NAME; it is {_CONTRACT}"
    with reading(source, "Your encoder cannot be loaded", error=ModelError, fix=fix):
        found = getattr(_imported(place, file), name)
        call = found() if isinstance(found, type) else found
    if not callable(call):
        kind = type(call).__name__
        raise ModelError("Your encoder is no function", where=source, found=kind, fix=fix)
    whole = PreprocessCfg(SIDE, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="squash")
    preprocess = getattr(call, "preprocess", None) or image_transform_v2(whole, is_train=False)
    network = Function(call, source).eval()
    with reading(source, "Your encoder's preprocess fails", error=ModelError, fix=fix):
        picture = torch.stack([preprocess(image) for image in _pictures()])
    with torch.inference_mode():
        answer = network.encode_image(picture)
    code = hashlib.sha256(file.read_bytes()).hexdigest() if file else place
    rounded = np.asarray(answer.numpy(), np.float16).tobytes()
    settings = {"code": code, "name": name, "answer": hashlib.sha256(rounded).hexdigest()}
    return network, preprocess, None, settings


def _imported(place: str, file: Path | None) -> object:
    """The module of a file, read anew, or one that is installed."""
    if file is None:
        return importlib.import_module(place)
    for folder in (file.parent, project_root()):  # where what it imports lies
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
    name = f"{file.stem}_{key(str(file))}"
    spec = importlib.util.spec_from_file_location(name, file)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pictures() -> list[Image.Image]:
    """Two fixed pictures: a ramp, and the same turned."""
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE) // 2) % 256
    return [Image.fromarray(each.astype(np.uint8)).convert("RGB") for each in (ramp, ramp[::-1])]
