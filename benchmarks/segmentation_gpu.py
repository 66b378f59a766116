"""Time a whole decoder run of the protocol on a GPU; run this file for toy sizes on a CPU."""

import math
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from segmentation import VIT_L_14, phantom_heads, untrained
from timing import Measure

from fetalclip_nb.experiments.segmentation import overlap
from fetalclip_nb.experiments.segmentation.decoder import UPSCALING
from fetalclip_nb.experiments.segmentation.material import Material, gather
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe
from fetalclip_nb.experiments.segmentation.squares import task_squares
from fetalclip_nb.experiments.segmentation.training import Setup, predict, train_decoder
from fetalclip_nb.models.blocks import BlockEncoder, block_features
from fetalclip_nb.models.model import load_model
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.own_splits import own_folds
from fetalclip_nb.tasks.splits import rows_of

PRECISIONS = ("fp32", "bf16")


class FullRun(NamedTuple):
    """One decoder from images to its score."""

    patients: int
    vision: dict
    side: int
    recipe: DecoderRecipe
    batch: int = 64


PROTOCOL = FullRun(4_030, VIT_L_14, side=224, recipe=DecoderRecipe())
"""About 5,000 images: a few patients have several."""

TOY = FullRun(
    60,
    {"image_size": 32, "layers": 12, "width": 64, "head_width": 32, "patch_size": 8},
    side=64,
    recipe=DecoderRecipe(filters=4, learning_rate=1e-2, batch_size=4, epochs=10),
)


def segmentation_gpu() -> dict[str, float | Measure]:
    """The protocol's decoder on ViT-L/14 features of 5,000 phantom heads, in two precisions."""
    if not torch.cuda.is_available():
        print("segmentation_gpu: NOT MEASURED, torch finds no GPU on this machine", flush=True)
        return {}
    return full_run(PROTOCOL, "cuda")


def full_run(size: FullRun, device: str) -> dict[str, float | Measure]:
    """Features once, then one decoder to its last epoch, in each precision.

    Args:
        size: How large.
        device: "cuda", or "cpu" for toy sizes; a GPU's memory is then not reported.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = phantom_heads(Path(folder) / "heads", size.patients)
        task_squares(task, size.side, cache_dir=Path(folder))
        spec = untrained(size.vision, Path(folder))
        found: dict[str, float | Measure] = {"images": Measure(len(task.dataset), "")}
        for precision in PRECISIONS:
            run = _one_precision(size, task, spec, device, precision, Path(folder))
            found |= {f"{precision}: {name}": figure for name, figure in run.items()}
    scores = [found[f"{precision}: DSC, pooled"].value for precision in PRECISIONS]
    return found | {"DSC, bf16 less fp32": Measure(scores[1] - scores[0], "points")}


def _one_precision(
    size: FullRun, task: MaskTask, spec: str, device: str, precision: str, cache: Path
) -> dict[str, float | Measure]:
    split = own_folds(task.items.table, seed=0)
    rows = partial(rows_of, task.items.table)
    computed, material = _features(size, task, spec, device, precision, cache, ~rows(split.test))
    fold = split.folds[0]
    train, validation = (np.flatnonzero(rows(part)) for part in (fold.train, fold.validation))
    job = DecoderJob(material.pairs(train), validation, seed=0)
    batch = partial(material.batch, device=device)
    setup = Setup(batch, size.recipe, material.shape, device, precision)
    trained = _measured(device, lambda: train_decoder(setup, job))
    tested = np.flatnonzero(rows(split.test))
    made = predict(setup, trained.result.weights, tested)
    return {
        "features": computed.seconds,
        "features, GPU memory": computed.memory,
        f"decoder, {size.recipe.epochs} epochs": trained.seconds,
        "decoder, GPU memory": trained.memory,
        "DSC, pooled": Measure(100 * _pooled(made, material.masks(tested)), "%"),
    }


def _features(
    size: FullRun,
    task: MaskTask,
    spec: str,
    device: str,
    precision: str,
    cache: Path,
    trained: np.ndarray,
) -> tuple["_Run", Material]:
    """How long the features take, and all that a decoder needs; the encoder is let go."""
    encoder = BlockEncoder(
        load_model(spec, device=device, precision=precision), grid=size.side // UPSCALING
    )
    encoder.encode_images(torch.zeros(1, 3, *[size.vision["image_size"]] * 2))  # loads libraries
    given = {"cache_dir": cache, "batch_size": size.batch}
    computed = _measured(device, lambda: block_features(encoder, task.dataset, **given))
    plain = replace(size.recipe, side=size.side, copies=0)
    return computed, gather(encoder, task, trained, plain, **given)


class _Run(NamedTuple):
    """A long call, timed once."""

    seconds: float
    memory: Measure
    result: object


def _measured(device: str, work: Callable[[], object]) -> _Run:
    """Seconds of a call and the most memory of the GPU that its tensors held, without a GPU NaN."""
    if device == "cpu":
        started = time.perf_counter()
        result = work()
        return _Run(time.perf_counter() - started, Measure(math.nan, "MiB"), result)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return _Run(seconds, Measure(torch.cuda.max_memory_allocated() / 2**20, "MiB"), result)


def _pooled(made: Iterable[tuple], true: np.ndarray) -> float:
    """DSC of all pixels of all images."""
    hits, false, missed = sum(
        overlap.counts((logits > 0).numpy(), true[places]).sum(axis=(0, 1))
        for places, logits in made
    )
    return float(2 * hits / (2 * hits + false + missed))


if __name__ == "__main__":
    for name, figure in full_run(TOY, "cpu").items():
        print(f"{name:30}", figure)
