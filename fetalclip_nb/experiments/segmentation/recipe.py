"""What a segmentation decoder learns from and how, checked before training starts.

Parameters of the segmentation chapters, checked before any image is encoded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fetalclip_nb.errors import DataError, ParameterError, listing
from fetalclip_nb.experiments.segmentation.decoder import UPSCALING
from fetalclip_nb.models.blocks import SPACINGS
from fetalclip_nb.tasks.items import Items
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.splits import Split, rows_of

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


def require_decoder_settings(
    splits: Mapping[str, tuple[Items, Sequence[Split]]],
    *,
    side: int,
    copies: int,
    runs: int,
    recipe: DecoderRecipe,
    blocks: str = "published",
) -> None:
    """Refuse a chapter's parameters that no decoder could be trained with.

    Args:
        splits: What a message shall call a task ("head, 4 patients") to its items and splits;
            all their folds are counted from 0, as in the tables of splits.
        side: Side of the decoder's images in pixels.
        copies: Augmented copies of an image that is trained on; 0 for the image itself.
        runs: Decoders a fold.
        recipe: How they are trained.
        blocks: Which blocks, as `models.blocks.chosen_blocks` takes it.

    Raises:
        ParameterError: Numbers out of range, and training sets with fewer rows than a batch:
            all of them at once.
    """
    wrong = _out_of_range(side, copies, runs, recipe)
    if blocks not in SPACINGS:
        wrong.append(f"blocks = {blocks!r}, not one of {', '.join(SPACINGS)}")
    few = []
    if copies >= 0 and recipe.batch_size >= 1:
        few = [
            f"{name}: {short}, batch {recipe.batch_size}"
            for name, (items, parts) in splits.items()
            if (short := _short_sets(items, parts, max(copies, 1), recipe.batch_size))
        ]
    if wrong or few:
        raise ParameterError(
            "Decoders cannot be trained with these parameters",
            expected="as many training images in each set as in a batch, counting copies"
            if few
            else "numbers that a decoder can be trained with",
            found="; ".join([*wrong, *few]),
            fix="more copies, a smaller batch, or larger sets" if few else "",
        )


def require_shown(task: MaskTask, split: Split) -> None:
    """Refuse a split in which no image of a side shows some structure, before work starts.

    Args:
        task: The task.
        split: Its split; validation may go without a structure.

    Raises:
        DataError: Naming all structures that a fold trains on, or that is tested, without one
            image of them.
    """
    sides = {"test": split.test}
    sides |= {f"training of fold {i}": fold.train for i, fold in enumerate(split.folds)}
    missing = [
        f"no {structure} in {side}"
        for side, patients in sides.items()
        for structure, areas in zip(task.structures, task.areas.T, strict=True)
        if not areas[rows_of(task.items.table, patients)].any()
    ]
    if missing:
        raise DataError(
            "Structures are shown by no image of a side",
            where=f"{task.dataset.root}, {task.name}",
            expected="each structure in an image of test and of each fold's training",
            found=listing(missing),
            fix="name other patients in the column split, or leave these masks out",
        )


def schedule_text(recipe: DecoderRecipe, *, side: int, copies: int, decoders: int) -> str:
    """What a chapter says of its schedule.

    Args:
        recipe: How decoders are trained.
        side: Side of the decoder's images in pixels.
        copies: Augmented copies of an image that is trained on.
        decoders: Decoders of the headline model on heads.

    >>> schedule_text(DecoderRecipe(), side=224, copies=5, decoders=25)
    '100 epochs at a rate of 0.0003, 8 images a step, images of 224 pixels a side, 32 filters, \
5 augmented copies of each image, 25 decoders a model on heads'
    """
    falling = ", which rises and falls," if recipe.decay else ","
    several = "decoder" if decoders == 1 else "decoders"
    seen = f"{copies} augmented copies of each image" if copies else "images as they are"
    return (
        f"{recipe.epochs} epochs at a rate of {recipe.learning_rate:g}{falling} "
        f"{recipe.batch_size} images a step, images of {side} pixels a side, "
        f"{recipe.filters} filters, {seen}, {decoders} {several} a model on heads"
    )


def further_differences(*, blocks: str, decay: bool, patience: int = 0) -> list[str]:
    """How settings that are no numbers of the protocol differ from it, one text each.

    >>> further_differences(blocks="even", decay=False, patience=3)
    ['evenly spaced blocks', 'stop after 3 epochs without progress']
    """
    stop = f"stop after {patience} epochs without progress" if patience else ""
    texts = ("evenly spaced blocks" * (blocks == "even"), "falling rate" * decay, stop)
    return [text for text in texts if text]


def _out_of_range(side: int, copies: int, runs: int, recipe: DecoderRecipe) -> list[str]:
    """What is wrong with the numbers themselves, one text each."""
    least = {
        "copies": (copies, 0),
        "runs": (runs, 1),
        "epochs": (recipe.epochs, 1),
        "batch": (recipe.batch_size, 1),
        "patience": (recipe.patience, 0),
    }
    wrong = [f"{name} = {n}, less than {low}" for name, (n, low) in least.items() if n < low]
    if side < UPSCALING or side % UPSCALING:
        wrong.append(f"side = {side}, not a multiple of {UPSCALING}")
    if recipe.filters < 2 or recipe.filters % 2:
        wrong.append(f"filters = {recipe.filters}, not an even number from 2 up")
    if not 0 < recipe.learning_rate < 1:
        wrong.append(f"learning rate = {recipe.learning_rate}, not between 0 and 1")
    return wrong


def _short_sets(items: Items, splits: Sequence[Split], copies: int, batch: int) -> str:
    """Sets with fewer rows than a batch, or "" if there are none."""
    folds = [fold for split in splits for fold in split.folds]
    rows = [copies * int(rows_of(items.table, fold.train).sum()) for fold in folds]
    return listing(f"set {i}: {n} training images" for i, n in enumerate(rows) if n < batch)
