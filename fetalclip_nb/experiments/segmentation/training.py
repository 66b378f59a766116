"""Training one segmentation decoder: Dice loss, best epoch on validation, resumable."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.segmentation.decoder import Decoder
from fetalclip_nb.experiments.segmentation.recipe import (
    Batch,
    DecoderJob,
    DecoderRecipe,
    as_they_are,
)
from fetalclip_nb.files import whole

SAVE_EVERY = 30.0
"""Seconds after which an epoch's end is written to disk, so that a killed run goes on there."""

TRAINING = 1
"""Raised when the same job gives another decoder; cached decoders are then trained anew."""

_START = threading.Lock()


@dataclass(frozen=True)
class TrainedDecoder:
    """A decoder after its best epoch.

    Attributes:
        weights: State of the decoder, on the CPU.
        epoch: Best epoch, counted from 1.
        losses: Validation loss after each epoch; NaN after an early stop.
    """

    weights: dict[str, torch.Tensor]
    epoch: int
    losses: np.ndarray


def dice_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice loss of independent structures from logits, over all pixels of a batch.

    Args:
        logits: Shape (B, C, S, S).
        masks: 0 or 1, of the same shape.

    Returns:
        The mean over the structures of 1 - 2 sum(p y) / (sum(p) + sum(y)). A structure that no
        image of a batch has adds a constant and no gradient.

    Source: Protocol of the paper's segmentation probing (multilabel, from logits).
    """
    probability, pixels = torch.sigmoid(logits), (0, 2, 3)
    hits = (probability * masks).sum(pixels)
    false, missed = probability.sum(pixels) - hits, masks.sum(pixels) - hits
    # Added up as MONAI does, so that training gives the same weights to the last digit.
    return (1 - 2 * hits / (2 * (hits + 0.5 * false + 0.5 * missed) + 1e-7)).mean()


def train_decoder(
    batch: Callable[[np.ndarray], Batch],
    job: DecoderJob,
    recipe: DecoderRecipe,
    shape: tuple[int, int],
    *,
    device: str = "cpu",
    precision: str = "fp32",
    checkpoint: Path | None = None,
) -> TrainedDecoder:
    """Train a decoder and keep its weights after the epoch with the lowest validation loss.

    Args:
        batch: Pairs (preparation, row) of shape (n, 2) to features, images and masks.
        job: What it learns from.
        recipe: How.
        shape: Width of the features and number of structures.
        device: "cpu" or "cuda".
        precision: "bf16" computes the decoder in it; the loss stays in float32.
        checkpoint: File that an interrupted training goes on from; removed at the end. It must
            belong to exactly this job. None for none.

    Returns:
        The decoder after its best epoch.

    Raises:
        ParameterError: If no epoch has a finite validation loss.
    """
    run = _begun(checkpoint, batch, job, recipe, shape, device, precision)
    saved = time.monotonic()
    while not run.finished:
        run.epoch()
        if checkpoint and time.monotonic() - saved > SAVE_EVERY and not run.finished:
            run.save(checkpoint)
            saved = time.monotonic()
    if not run.best:
        raise ParameterError(
            "Decoder diverged",
            where=f"seed {job.seed}",
            expected="a finite validation loss after one epoch at least",
            fix="lower the learning rate",
        )
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    epoch = int(np.nanargmin(run.losses)) + 1
    return TrainedDecoder(run.best, epoch, run.losses)


@torch.inference_mode()
def predict(
    weights: dict[str, torch.Tensor],
    batch: Callable[[np.ndarray], Batch],
    rows: np.ndarray,
    recipe: DecoderRecipe,
    shape: tuple[int, int],
    *,
    device: str = "cpu",
    precision: str = "fp32",
) -> Iterator[tuple[np.ndarray, torch.Tensor, torch.Tensor]]:
    """Logits of images as they are, batch by batch.

    Args:
        weights: State of the decoder.
        batch: Pairs (preparation, row) of shape (n, 2) to features, images and masks.
        rows: Rows, int64 of shape (n,).
        recipe: How the decoder was trained.
        shape: Width of the features and number of structures.
        device: "cpu" or "cuda".
        precision: "bf16" computes the decoder in it.

    Yields:
        Positions in ``rows``, logits (on the CPU) and masks (where ``batch`` has put them),
        float32 of shape (b, C, S, S).
    """
    # Begun like all others: its numbers are drawn too, though they are not kept.
    decoder = _started(shape, recipe.filters, seed=0)
    decoder.load_state_dict(weights)
    decoder.to(device, memory_format=torch.channels_last).eval()
    for places, (blocks, images, masks) in _batches(batch, as_they_are(rows), recipe.batch_size):
        with _autocast(device, precision):
            logits = decoder(blocks.to(device), images.to(device))
        yield places, logits.float().cpu(), masks


class _Run:
    """State of one training between epochs."""

    def __init__(
        self,
        batch: Callable[[np.ndarray], Batch],
        job: DecoderJob,
        recipe: DecoderRecipe,
        shape: tuple[int, int],
        device: str,
        precision: str,
    ) -> None:
        self.batch, self.job, self.recipe = batch, job, recipe
        self.device, self.precision = device, precision
        decoder = _started(shape, recipe.filters, job.seed)
        self.decoder = decoder.to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(
            decoder.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.losses = np.full(recipe.epochs, np.nan)
        self.done = 0
        self.best: dict[str, torch.Tensor] = {}

    @property
    def finished(self) -> bool:
        if self.done == self.recipe.epochs:
            return True
        losses = self.losses[: self.done]
        if not self.recipe.patience or not np.isfinite(losses).any():
            return False
        return self.done - 1 - int(np.nanargmin(losses)) >= self.recipe.patience

    def epoch(self) -> None:
        """One pass over the training rows, then the validation loss."""
        # A stream an epoch: a resumed run needs no state of a generator.
        order = np.random.default_rng([self.job.seed, self.done]).permutation(len(self.job.train))
        size = self.recipe.batch_size
        rows = self.job.train[order[: len(order) // size * size]]
        self.decoder.train()
        for places, items in _batches(self.batch, rows, size):
            share = self.done + places[0] / len(rows)
            self.optimizer.param_groups[0]["lr"] = self.recipe.rate(share / self.recipe.epochs)
            loss = self._loss(*items)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        self.losses[self.done] = self._validation_loss()
        self.done += 1
        losses = self.losses[: self.done]
        if np.isfinite(losses).any() and np.nanargmin(losses) == self.done - 1:
            self.best = _copy(self.decoder.state_dict())

    def load(self, state: dict) -> None:
        """Go on from what `save` has written."""
        self.decoder.load_state_dict(state["decoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        losses = state["losses"].cpu().numpy()
        self.losses[: len(losses)], self.done = losses, len(losses)
        self.best = _copy(state["best"])

    def save(self, checkpoint: Path) -> None:
        """Write all that `load` needs, whole or not at all."""
        state = {
            "decoder": self.decoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "losses": torch.from_numpy(self.losses[: self.done].copy()),
            "best": self.best,
        }
        with whole(checkpoint) as made:
            torch.save(state, made)

    def _loss(
        self, blocks: torch.Tensor, images: torch.Tensor, masks: torch.Tensor
    ) -> torch.Tensor:
        with _autocast(self.device, self.precision):
            logits = self.decoder(blocks.to(self.device), images.to(self.device))
        return dice_loss(logits.float(), masks.to(self.device))

    @torch.no_grad()
    def _validation_loss(self) -> float:
        """Mean over the validation images of their batch's loss."""
        self.decoder.eval()
        total = 0.0
        for places, items in _batches(
            self.batch, as_they_are(self.job.validation), self.recipe.batch_size
        ):
            total += float(self._loss(*items)) * len(places)
        return total / len(self.job.validation)


def _begun(checkpoint: Path | None, *run: object) -> _Run:
    """A training at its start, or after the last saved epoch."""
    begun = _Run(*run)
    if checkpoint is None or not checkpoint.is_file():
        return begun
    try:
        begun.load(torch.load(checkpoint, map_location="cpu", weights_only=True))
    except Exception:  # a damaged file raises whatever its bytes say: begin again
        return _Run(*run)
    return begun


def _batches(
    batch: Callable[[np.ndarray], Batch], pairs: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Batches in order, the next one being read while the last one is used."""
    parts = np.split(np.arange(len(pairs)), range(size, len(pairs), size))
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(batch, pairs[parts[0]])
        for places, following in zip(parts, [*parts[1:], None], strict=True):
            items = waiting.result()
            if following is not None:
                waiting = reader.submit(batch, pairs[following])
            yield places, items


def _started(shape: tuple[int, int], filters: int, seed: int) -> Decoder:
    """A decoder whose random start depends on the seed alone, whatever other threads do."""
    with _START, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Decoder(*shape, filters)


def _copy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def _autocast(device: str, precision: str) -> contextlib.AbstractContextManager:
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16")
