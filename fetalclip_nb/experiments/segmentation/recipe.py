"""What a segmentation decoder learns from and how, checked before training starts."""

from dataclasses import dataclass

import numpy as np
import torch

from fetalclip_nb.errors import ParameterError, refuse
from fetalclip_nb.experiments.segmentation.decoder import UPSCALING
from fetalclip_nb.models.embed import require_preparation
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.splits import Split, rows_of

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Features (n, 4, width, S/16, S/16), normalised images (n, 3, S, S) and masks (n, C, S, S)."""

WARM_UP = 0.1
"""Share of the steps over which the rate of a short schedule rises."""


@dataclass(frozen=True)
class DecoderRecipe:
    """What decoders are given, how they are built and trained; the defaults are the protocol's.

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
        side: Side of the decoder's images in pixels, a multiple of 16.
        blocks: Which blocks features are taken of, as `models.blocks.chosen_blocks` takes it.
        preparation: How images and masks are made small, as `squares.task_squares` takes it.
        copies: Augmented copies of an image that is trained on; 0 for the image itself.
        runs: Decoders a fold.

    Raises:
        ParameterError: Naming all numbers that no decoder could be trained with.

    Source: Protocol of the paper's segmentation probing.
    """

    filters: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    batch_size: int = 8
    epochs: int = 100
    patience: int = 0
    decay: bool = False
    side: int = 224
    blocks: str = "published"
    preparation: str = "published"
    copies: int = 5
    runs: int = 5

    def __post_init__(self) -> None:
        require_preparation(self.preparation)
        least = {"copies": 0, "runs": 1, "epochs": 1, "batch": 1, "patience": 0}
        values = {**vars(self), "batch": self.batch_size}
        low = [name for name, n in least.items() if values[name] < n]
        wrong = [f"{name} = {values[name]}, less than {least[name]}" for name in low]
        if self.side < UPSCALING or self.side % UPSCALING:
            wrong.append(f"side = {self.side}, not a multiple of {UPSCALING}")
        if self.filters < 2 or self.filters % 2:
            wrong.append(f"filters = {self.filters}, not an even number from 2 up")
        if not 0 < self.learning_rate < 1:
            wrong.append(f"learning rate = {self.learning_rate}, not between 0 and 1")
        if wrong:
            raise ParameterError(
                "Decoders cannot be trained with these parameters",
                expected="numbers that a decoder can be trained with",
                found="; ".join(wrong),
            )

    @property
    def training(self) -> dict[str, object]:
        """The settings that decide what one decoder makes of its rows."""
        of_rows = ("side", "blocks", "preparation", "copies", "runs")
        return {name: value for name, value in vars(self).items() if name not in of_rows}

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


def as_they_are(rows: np.ndarray) -> np.ndarray:
    """Pairs (0, row): rows of images that were not augmented, int64 of shape (n, 2)."""
    return np.stack([np.zeros_like(rows), rows], axis=1)


def require_shown(task: MaskTask, split: Split) -> None:
    """Refuse a split in which test or training shows some structure in no image.

    Validation may go without a structure.
    """
    sides = {"test": split.test}
    sides |= {f"training of fold {i}": fold.train for i, fold in enumerate(split.folds)}
    missing = [
        f"no {structure} in {side}"
        for side, patients in sides.items()
        for structure, areas in zip(task.structures, task.areas.T, strict=True)
        if not areas[rows_of(task.items.table, patients)].any()
    ]
    refuse(
        missing,
        "Structures are shown by no image of a side",
        where=f"{task.dataset.root}, {task.name}",
        expected="each structure in an image of test and of each fold's training",
        fix="name other patients in the column split, or leave these masks out",
    )
