"""How fast this device is, and what the chapters of a profile take on it.

Statistics, figures, linear layers and the reading of images are not in the minutes.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import joblib
import open_clip
import pandas as pd
import torch
from PIL import Image

from fetalclip_nb.errors import ModelError, ParameterError
from fetalclip_nb.experiments.segmentation.decoder import BLOCKS, UPSCALING, Decoder
from fetalclip_nb.experiments.segmentation.training import dice_loss
from fetalclip_nb.models.blocks import BlockEncoder
from fetalclip_nb.models.model import Model, load_model, pick_device, pick_precision
from fetalclip_nb.models.names import UNTRAINED, is_fetched, model_files, model_name, split_spec
from fetalclip_nb.profiles import Profile
from fetalclip_nb.workflow.estimate import works

LIKE = {
    "fetalclip": "ViT-L-14",
    "clip": "ViT-L-14-quickgelu",
    "biomedclip": "ViT-B-16",
    "unimed-clip": "ViT-B-16",
    "mobilefetalclip": "MobileCLIP2-S0",
}
"""Architecture, with random weights, that is timed where a model is not here."""

SENTENCE = "An ultrasound image of a fetal head at 20 weeks and 3 days, 0.47 mm a pixel."


class Rates(NamedTuple):
    """What a model does on this device."""

    timed: str  # the model, or the architecture in its place
    images: float  # a second
    sentences: float  # a second
    width: int  # channels of the features of its blocks; 0 where it has none
    memory_gb: float  # of a GPU, the most that was taken; on a CPU, of the weights in 32 bits


def probe(spec: str, profile: Profile, seconds: float = 10) -> Rates:
    """Time a model, or its architecture where it is not here, for about so many seconds.

    Raises:
        ModelError: Neither is known.
    """
    model = _stand_in(spec, profile)
    if on_gpu := model.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    batch, width = (64 if on_gpu else 4), 0
    pixels = torch.stack([model.preprocess(Image.new("L", (224, 224), 128))] * batch)
    images = _a_second(lambda: model.encode_images(pixels), seconds / 2)
    sentences = float("inf")  # those of an image encoder alone take no time
    if model.reads_text:
        sentences = _a_second(lambda: model.encode_text([SENTENCE] * 4 * batch), seconds / 2)
    with contextlib.suppress(ModelError, ParameterError):
        width = BlockEncoder(model).width
    memory = torch.cuda.max_memory_allocated() if on_gpu else 4 * model.parameters
    return Rates(model.source, batch * images, 4 * batch * sentences, width, memory / 1e9)


def _stand_in(spec: str, profile: Profile) -> Model:
    device, source = pick_device(profile.device), split_spec(spec)[1].removesuffix(UNTRAINED)
    files = model_files(spec)
    if source.startswith("timm:") and not files:
        spec = f"{spec.removesuffix(UNTRAINED)}{UNTRAINED}"
    if not is_fetched(spec) and all(map(Path.is_file, files)):
        return load_model(spec, device=device, precision=profile.precision)
    name = LIKE.get(source, source.partition("/")[0])
    if name not in open_clip.list_models():
        raise ModelError("Nothing to time", where=spec, fix="download it")
    network, _, preprocess = open_clip.create_model_and_transforms(name)
    network.eval().requires_grad_(False).to(device)
    parts = (preprocess, open_clip.get_tokenizer(name), "", device)
    precision = pick_precision(profile.precision, device)
    return Model(model_name(spec), f"{name}, random weights", network, *parts, precision)


def steps_a_second(width: int, values: Mapping[str, object], device: str, seconds: float) -> float:
    """Training steps of decoders of one structure; on a CPU one is trained on each core.

    Args:
        width: Of the features.
        values: With "side", "filters" and "decoder_batch".
        device: "cpu" or "cuda".
        seconds: How long to look.
    """
    side, batch = values["side"], values["decoder_batch"]
    decoder = Decoder(width, 1, values["filters"]).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(decoder.parameters(), fused=True)
    grid = side // UPSCALING
    blocks = torch.rand(batch, BLOCKS, width, grid, grid, device=device)
    pictures, masks = (torch.rand(batch, n, side, side, device=device) for n in (3, 1))

    def step() -> None:
        optimizer.zero_grad()
        loss = dice_loss(decoder(blocks, pictures), masks.round())
        loss.backward()
        optimizer.step()
        loss.item()  # waits for the GPU

    return _a_second(step, seconds) * (1 if device.startswith("cuda") else joblib.cpu_count())


def _a_second(work: Callable[[], object], seconds: float) -> float:
    """How often a second something is done, after a first time that does not count."""
    work()
    began, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - began < seconds:
        work()
        done += 1
    return done / (time.perf_counter() - began)


def table(profile: Profile, names: Iterable[str] = (), seconds: float = 10) -> pd.DataFrame:
    """Work, minutes and gigabytes of each notebook and model; twins are timed once."""
    rates, steps, rows = {}, {}, []
    for name, spec, values, work in works(profile, names):
        alike = split_spec(spec)[1].removesuffix(UNTRAINED)
        if alike not in rates:
            rates[alike] = None
            with contextlib.suppress(ModelError):
                rates[alike] = probe(spec, profile, seconds)
        known, spent = rates[alike], float("nan")
        width = known.width if known else 0
        if known:
            spent = (work.images + work.maps * width) / known.images
            spent += work.sentences / known.sentences
        if width and work.steps:
            size = (width, *(values[key] for key in ("side", "filters", "decoder_batch")))
            if size not in steps:
                steps[size] = steps_a_second(width, values, pick_device(profile.device), seconds)
            spent += work.steps / steps[size]
        rows.append(
            {
                "notebook": name,
                "model": model_name(spec),
                "images": work.images + work.maps * width,
                "sentences": work.sentences,
                "decoder steps": work.steps * bool(width),
                "minutes": spent / 60,
                "GB on disk": work.kept * BLOCKS * 14**2 * width * 2 / 1e9,
                "GB of memory": known.memory_gb if known else float("nan"),
                "timed": known.timed if known else "nothing",
            }
        )
    return pd.DataFrame(rows)
