"""What a segmentation decoder learns from and how, checked before training starts."""

from dataclasses import dataclass

import numpy as np
import torch

from fetalclip_nb.errors import ParameterError

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Features (n, 4, width, S/16, S/16), normalised images (n, 3, S, S) and masks (n, C, S, S)."""

WARM_UP = 0.1
"""Share of the steps over which the rate of a short schedule rises."""


@dataclass(frozen=True)
class DecoderRecipe:
    """How a decoder is built and trained; the defaults are the protocol's.

    Attributes:
        filters: Filters of the decoder, an even number.
        learning_rate: AdamW's, constant (no unit).
        weight_decay: AdamW's.
        batch_size: Images a step; the last incomplete batch of an epoch is dropped.
        epochs: Passes over the training rows, augmented copies included.
        patience: Epochs without a lower validation loss after which training stops; 0 for
            never, as in the protocol.
        decay: Whether the learning rate rises over the first tenth of all steps and then falls to
            zero along half a cosine, which short schedules need; constant in the protocol.

    Source: Protocol of the paper's segmentation probing.
    """

    filters: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    batch_size: int = 8
    epochs: int = 100
    patience: int = 0
    decay: bool = False

    def rate(self, done: float) -> float:
        """Learning rate when a share (0 to 1) of all steps is done.

        >>> constant, short = DecoderRecipe(learning_rate=0.1), DecoderRecipe(decay=True)
        >>> constant.rate(0.9), short.rate(0), short.rate(0.1), short.rate(1)
        (0.1, 0.0, 0.0003, 0.0)
        """
        if not self.decay:
            return self.learning_rate
        if done < WARM_UP:
            return self.learning_rate * done / WARM_UP
        fallen = (done - WARM_UP) / (1 - WARM_UP)
        return float(self.learning_rate * (1 + np.cos(np.pi * fallen)) / 2)


@dataclass(frozen=True)
class DecoderJob:
    """What one decoder learns from.

    Attributes:
        train: Pairs (preparation, row), int64 of shape (n, 2): preparation 0 is the image as
            it is, 1 its first augmented copy, and so on.
        validation: Rows that choose the best epoch, int64 of shape (m,).
        seed: Decides the start and the order of the training rows.
    """

    train: np.ndarray
    validation: np.ndarray
    seed: int

    @property
    def checked(self) -> np.ndarray:
        """The validation rows as pairs: images as they are, int64 of shape (m, 2)."""
        return as_they_are(self.validation)


def as_they_are(rows: np.ndarray) -> np.ndarray:
    """Pairs (0, row): rows of images that were not augmented, int64 of shape (n, 2)."""
    return np.stack([np.zeros_like(rows), rows], axis=1)


def require_rows(job: DecoderJob, recipe: DecoderRecipe) -> None:
    """Refuse a job that no decoder could be trained on.

    Raises:
        ParameterError: Fewer training rows than a batch, no validation row, or no epoch.
    """
    if len(job.train) < recipe.batch_size or not len(job.validation) or recipe.epochs < 1:
        raise ParameterError(
            "Decoder cannot be trained",
            where=f"seed {job.seed}",
            expected=f"{recipe.batch_size} training rows (a batch), one validation row, one epoch",
            found=f"{len(job.train)}, {len(job.validation)} and {recipe.epochs}",
            fix="more copies, a smaller batch, or larger sets",
        )
