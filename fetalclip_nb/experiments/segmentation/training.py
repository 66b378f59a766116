"""Training one segmentation decoder: Dice loss, best epoch on validation, resumable."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from fetalclip_nb.errors import CacheError, ParameterError
from fetalclip_nb.experiments.segmentation.decoder import Decoder
from fetalclip_nb.experiments.segmentation.recipe import (
    Batch,
    DecoderJob,
    DecoderRecipe,
    as_they_are,
)
from fetalclip_nb.files import keep, kept

SAVE_EVERY = 30.0
"""Seconds after which an epoch's end is written to disk, so that a killed run goes on there."""

TRAINING = 2
"""Raised when the same job gives another decoder; cached decoders are then trained anew."""

_START = threading.Lock()


@dataclass(frozen=True)
class Setup:
    """What training and testing of a decoder share.

    Attributes:
        batch: Pairs (preparation, row) of shape (n, 2) to features, images and masks.
        recipe: How decoders are built and trained.
        shape: Width of the features and number of structures.
        device: "cpu" or "cuda".
        precision: "bf16" computes the decoder in it; the loss stays in float32.
    """

    batch: Callable[[np.ndarray], Batch]
    recipe: DecoderRecipe
    shape: tuple[int, int]
    device: str = "cpu"
    precision: str = "fp32"

    def started(self, seed: int) -> Decoder:
        """A decoder whose random start depends on the seed alone, whatever other threads do."""
        with _START, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            decoder = Decoder(*self.shape, self.recipe.filters)
        return decoder.to(self.device, memory_format=torch.channels_last)

    def logits(self, decoder: Decoder, blocks: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Logits of a batch, float32 of shape (b, C, S, S) on the device."""
        kind, rough = torch.device(self.device).type, self.precision == "bf16"
        with torch.autocast(kind, torch.bfloat16, enabled=rough):
            return decoder(blocks.to(self.device), images.to(self.device)).float()

    def batches(self, pairs: np.ndarray) -> Iterator[tuple[np.ndarray, Batch]]:
        """Batches in order, the next one being read while the last one is used."""
        size = self.recipe.batch_size
        parts = np.split(np.arange(len(pairs)), range(size, len(pairs), size))
        with ThreadPoolExecutor(1) as reader:
            waiting = reader.submit(self.batch, pairs[parts[0]])
            for places, following in zip(parts, [*parts[1:], None], strict=True):
                items = waiting.result()
                if following is not None:
                    waiting = reader.submit(self.batch, pairs[following])
                yield places, items


class TrainedDecoder(NamedTuple):
    """State of a decoder after its best epoch, and all validation losses.

    Weights are on the CPU; losses, one an epoch, are NaN after an early stop.
    """

    weights: dict[str, torch.Tensor]
    losses: np.ndarray


def dice_loss(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice loss of independent structures from logits, over all pixels of a batch.

    Args:
        logits: Shape (B, C, S, S).
        masks: 0 or 1, of the same shape.

    Returns:
        The mean over the structures of 1 - 2 sum(p y) / (sum(p) + sum(y)), where a structure
        that no image of a batch has counts 0.

    Source: Protocol of the paper's segmentation probing (multilabel, from logits).

    >>> masks = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]])  # the second structure is absent
    >>> dice_loss(torch.tensor([[[[100.0, 100.0]], [[100.0, 0.0]]]]), masks)  # (1/3 + 0) / 2
    tensor(0.1667)
    """
    return _loss_of(_dice_parts(logits, masks))


def _dice_parts(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Probability inside, outside and missed, summed over pixels: shape (3, C)."""
    probability, pixels = torch.sigmoid(logits), (0, 2, 3)
    hits = (probability * masks).sum(pixels)
    return torch.stack([hits, probability.sum(pixels) - hits, masks.sum(pixels) - hits])


def _loss_of(parts: torch.Tensor) -> torch.Tensor:
    hits, false, missed = parts
    shown = hits + missed > 0
    # Added up as MONAI does, so that training gives the same weights to the last digit.
    loss = 1 - 2 * hits / (2 * (hits + 0.5 * false + 0.5 * missed) + 1e-7)
    return (loss * shown).mean()


def train_decoder(
    setup: Setup, job: DecoderJob, *, checkpoint: Path | None = None
) -> TrainedDecoder:
    """Train a decoder and keep its weights after the epoch with the lowest validation loss.

    An interrupted training goes on from its checkpoint, a file of exactly this job.

    Raises:
        ParameterError: If no epoch has a finite validation loss.
    """
    run = _Run(setup, job)
    if checkpoint:
        with contextlib.suppress(OSError, CacheError):  # none, or a damaged one: begin
            run.load(torch.load(kept(checkpoint), map_location="cpu", weights_only=True))
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
    return TrainedDecoder(run.best, run.losses)


@torch.inference_mode()
def predict(
    setup: Setup, weights: dict[str, torch.Tensor], rows: np.ndarray
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Logits of the images of some rows as they are, batch by batch.

    Yields:
        Positions in ``rows`` and logits on the CPU, float32 of shape (b, C, S, S).
    """
    # Begun like all others: its numbers are drawn too, though they are not kept.
    decoder = setup.started(seed=0).eval()
    decoder.load_state_dict(weights)
    for places, (blocks, images, _) in setup.batches(as_they_are(rows)):
        yield places, setup.logits(decoder, blocks, images).cpu()


class _Run:
    """State of one training between epochs."""

    def __init__(self, setup: Setup, job: DecoderJob) -> None:
        self.setup, self.recipe, self.job = setup, setup.recipe, job
        self.decoder = setup.started(job.seed)
        self.optimizer = torch.optim.AdamW(
            self.decoder.parameters(),
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        self.losses = np.full(self.recipe.epochs, np.nan)
        self.done = 0
        self.best: dict[str, torch.Tensor] = {}

    @property
    def best_epoch(self) -> int:
        """Epoch with the lowest finite loss, counted from 1; 0 while there is none."""
        return int(np.nanargmin(self.losses)) + 1 if np.isfinite(self.losses).any() else 0

    @property
    def finished(self) -> bool:
        stale = self.done - self.best_epoch if self.best_epoch else 0
        return self.done == self.recipe.epochs or 0 < self.recipe.patience <= stale

    def epoch(self) -> None:
        """One pass over the training rows, then the validation loss."""
        # A stream an epoch: a resumed run needs no state of a generator.
        order = np.random.default_rng([self.job.seed, self.done]).permutation(len(self.job.train))
        size = self.recipe.batch_size
        rows = self.job.train[order[: len(order) // size * size]]
        self.decoder.train()
        for places, items in self.setup.batches(rows):
            share = self.done + places[0] / len(rows)
            self.optimizer.param_groups[0]["lr"] = self.recipe.rate(share / self.recipe.epochs)
            loss = self._loss(*items)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
        self.losses[self.done] = self._validation_loss()
        self.done += 1
        if self.best_epoch == self.done:
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
        keep(checkpoint, lambda file: torch.save(state, file))

    def _loss(
        self, blocks: torch.Tensor, images: torch.Tensor, masks: torch.Tensor
    ) -> torch.Tensor:
        logits = self.setup.logits(self.decoder, blocks, images)
        return dice_loss(logits, masks.to(self.setup.device))

    @torch.no_grad()
    def _validation_loss(self) -> float:
        """One loss over the pixels of all validation images."""
        self.decoder.eval()
        parts = 0
        for _, (blocks, images, masks) in self.setup.batches(as_they_are(self.job.validation)):
            logits = self.setup.logits(self.decoder, blocks, images)
            parts = parts + _dice_parts(logits, masks.to(self.setup.device)).double()
        return float(_loss_of(parts))


def _copy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
