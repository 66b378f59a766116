"""Time segmentation decoders on cached features, and with the encoder run in every epoch."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.lib.format import open_memmap
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from timing import Measure, in_turns, peak_memory

from fetalclip_nb import phantoms
from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.data.images import pad_to_square, read_square
from fetalclip_nb.experiments.segmentation.decoder import UPSCALING
from fetalclip_nb.experiments.segmentation.material import Material, Preparation, gather
from fetalclip_nb.experiments.segmentation.recipe import (
    Batch,
    DecoderJob,
    DecoderRecipe,
    as_they_are,
)
from fetalclip_nb.experiments.segmentation.squares import normalised
from fetalclip_nb.experiments.segmentation.training import Setup, TrainedDecoder, train_decoder
from fetalclip_nb.models.blocks import BlockEncoder, on_grid
from fetalclip_nb.models.model import load_model
from fetalclip_nb.tasks.masks import MaskTask, head_task

VIT_L_14 = {"image_size": 224, "layers": 24, "width": 1024, "patch_size": 14}
"""FetalCLIP's image tower."""

TEXT = {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
"""The text tower is not used: the smallest will do."""

HEADS = {"whole": 999, "tested": 161, "copies": 5, "folds": 5}
"""HC18 and its released split, as in the protocol."""


class Sizes(NamedTuple):
    """What is trained on how many images: the first ones, the others are validation."""

    spec: str
    side: int
    filters: int
    batch: int
    patients: int
    trained: int
    runs: int


PHANTOM = Sizes("phantomclip", side=128, filters=16, batch=4, patients=97, trained=96, runs=5)
REAL_WIDTH = Sizes("", side=224, filters=32, batch=8, patients=16, trained=16, runs=3)


def segmentation() -> dict[str, float | Measure]:
    """One epoch of a decoder with the phantom CLIP's and with a ViT-L/14's features."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        found = _compared(PHANTOM, Path(folder) / "phantom")
        real = REAL_WIDTH._replace(spec=untrained(VIT_L_14, Path(folder)))
        large = _compared(real, Path(folder) / "large")
    return {f"phantomclip: {name}": figure for name, figure in found.items()} | {
        f"ViT-L/14: {name}": figure for name, figure in (large | _as_published(large)).items()
    }


def untrained(vision: dict, folder: Path) -> str:
    """A model of random weights as `load_model` takes it, from its image tower's shape."""
    path = folder / "vision.json"
    config = {"embed_dim": 768, "vision_cfg": vision, "text_cfg": TEXT}
    stated = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    path.write_text(json.dumps({"model_cfg": config, "preprocess_cfg": stated}))
    return f"{path}-untrained"


def phantom_heads(root: Path, patients: int) -> MaskTask:
    """Phantom heads, about five images of four patients."""
    phantoms.write_hc18(root, patients=patients, seed=0)
    return head_task(read_hc18(root))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread an operation, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Epoch:
    """One epoch of one decoder; a process that is handed it opens the cache itself."""

    sizes: Sizes
    material: Material
    files: tuple[str, ...]
    place: np.ndarray

    @classmethod
    def of(cls, sizes: Sizes, material: Material) -> "Epoch":
        """An epoch without what its features, images and masks lie in but its files' names."""
        (cached,) = material.preparations
        files = tuple(array.filename for array in (cached.blocks, cached.images, cached.masks))
        return cls(sizes, replace(material, preparations=()), files, cached.place)

    @property
    def cached(self) -> Callable[[np.ndarray], Batch]:
        """Batches from the cache."""
        arrays = [open_memmap(path, "r") for path in self.files]
        return replace(self.material, preparations=(Preparation(*arrays, self.place, ""),)).batch

    def trained(self, batch: Callable[[np.ndarray], Batch], width: int) -> TrainedDecoder:
        """The decoder after the epoch and its validation."""
        sizes = self.sizes
        train, validation = np.split(np.arange(len(self.place)), [sizes.trained])
        job = DecoderJob(as_they_are(train), validation, seed=0)
        recipe = DecoderRecipe(filters=sizes.filters, batch_size=sizes.batch, epochs=1)
        shape = width, len(self.material.task.structures)
        return train_decoder(Setup(batch, recipe, shape), job)


@dataclass(frozen=True)
class Together:
    """Batches as they are made without a cache: images read, prepared and encoded for each."""

    encoder: BlockEncoder
    material: Material

    def batch(self, pairs: np.ndarray) -> Batch:
        """What `Material.batch` gives, from the files of the data set."""
        side = self.material.side
        pixels, images, masks = self.read(pairs)
        return (
            on_grid(self.encoder.encode_images(pixels), side // UPSCALING),
            normalised(images, self.material.mean, self.material.std),
            torch.from_numpy(masks),
        )

    def read(self, pairs: np.ndarray) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """What encoder and decoder see, and masks."""
        task, side = self.material.task, (self.material.side, self.material.side)
        squares = [read_square(task.dataset.paths[row]) for _, row in pairs]
        seen = [s.convert("RGB").resize(side, Image.Resampling.BICUBIC) for s in squares]
        masks = [[_reduced(mask, side) for mask in task.read(row)] for _, row in pairs]
        pixels = torch.stack([self.encoder.preprocess(square) for square in squares])
        return pixels, np.stack(seen), np.array(masks, dtype=np.float32)


def _reduced(mask: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    square = np.asarray(pad_to_square(Image.fromarray(mask.astype(np.uint8))), np.float32)
    return cv2.resize(square, side, interpolation=cv2.INTER_AREA) >= 0.5


def _compared(sizes: Sizes, folder: Path) -> dict[str, float | Measure]:
    """Making the cache, an epoch on it, and an epoch without it."""
    task = phantom_heads(folder / "heads", sizes.patients)
    encoder = _encoder(sizes)
    numbers = count()

    def make() -> Material:
        every = np.ones(len(task.dataset), bool)
        where = folder / f"cache-{next(numbers)}"
        recipe = DecoderRecipe(side=sizes.side, copies=0, preparation="ours")
        return gather(encoder, task, every, recipe, cache_dir=where, batch_size=sizes.batch)

    epoch = Epoch.of(sizes, make())
    together = Together(encoder, epoch.material)
    read = partial(_read_all, together, len(task.dataset))
    kept, computed, reading, making = in_turns(
        lambda: epoch.trained(epoch.cached, encoder.width),
        lambda: epoch.trained(together.batch, encoder.width),
        read,
        make,
        runs=sizes.runs,
    )
    images = len(task.dataset)
    losses = [run.result.losses[0] for run in (kept, computed)]
    return {
        "images in an epoch": Measure(images, ""),
        "epoch, cached": kept.wall,
        "epoch, together": computed.wall,
        "epoch, cached, processor": kept.processor,
        "epoch, together, processor": computed.processor,
        "of it reading and preparing, processor": reading.processor,
        "making the cache": making.wall,
        "making the cache, processor": making.processor,
        "together against cached, processor": Measure(computed.processor / kept.processor, "times"),
        "paid off after": Measure(
            making.processor / (computed.processor - kept.processor), "epochs"
        ),
        "cache on disk": Measure(_mebibytes(folder / "cache-0") / images, "MiB an image"),
        "validation losses unlike": Measure(float(100 * abs(losses[1] / losses[0] - 1)), "%"),
        "epoch, cached, memory": peak_memory(
            partial(_ready, (epoch, encoder.width)), _epoch_cached
        ),
        "epoch, together, memory": peak_memory(
            partial(_ready, (epoch, encoder.width)), _epoch_together
        ),
    }


def _as_published(found: dict[str, float | Measure]) -> dict[str, float | Measure]:
    """Measured images scaled to the protocol's heads: copies of all that are not tested."""
    rest = HEADS["whole"] - HEADS["tested"]
    stored = HEADS["whole"] + HEADS["copies"] * rest
    checked = math.ceil(rest / HEADS["folds"])
    an_epoch = HEADS["copies"] * (rest - checked) + checked
    return {
        "paid off after, protocol's heads, EXTRAPOLATED": Measure(
            found["paid off after"].value * stored / an_epoch, "epochs"
        ),
        "cache on disk, protocol's heads, EXTRAPOLATED": Measure(
            found["cache on disk"].value * stored / 1024, "GiB"
        ),
    }


def _encoder(sizes: Sizes) -> BlockEncoder:
    model = load_model(sizes.spec, device="cpu", precision="fp32")
    return BlockEncoder(model, grid=sizes.side // UPSCALING)


def _read_all(together: Together, images: int) -> None:
    for row in range(images):
        together.read(np.array([[0, row]]))


def _mebibytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def _ready(given: tuple[Epoch, int]) -> tuple[Epoch, int]:
    torch.set_num_threads(1)
    return given


def _epoch_cached(given: tuple[Epoch, int]) -> None:
    epoch, width = given
    epoch.trained(epoch.cached, width)


def _epoch_together(given: tuple[Epoch, int]) -> None:
    epoch, width = given
    epoch.trained(Together(_encoder(epoch.sizes), epoch.material).batch, width)
