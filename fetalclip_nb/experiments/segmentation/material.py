"""What decoders are trained and tested on: features, images and masks of a task's rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torchvision.transforms import Normalize

from fetalclip_nb.data.augmentation import Augmentation
from fetalclip_nb.data.dataset import image_sizes
from fetalclip_nb.experiments.segmentation.decoder import BLOCKS, UPSCALING
from fetalclip_nb.experiments.segmentation.recipe import Batch, DecoderRecipe
from fetalclip_nb.experiments.segmentation.squares import normalised, task_squares, unpack
from fetalclip_nb.models.blocks import BlockEncoder, NoFeatures, block_features, on_grid
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.splits import Split, rows_of


@dataclass(frozen=True)
class Preparation:
    """All images as they are, or one augmented copy of those that are trained on.

    Attributes:
        blocks: Features of four blocks, float16 of shape (n, 4, g, g, width).
        images: Squares, uint8 of shape (n, side, side, 3).
        masks: Packed masks, uint8 of shape (n, C, side * side / 8).
        place: Where each row of the task lies in them, int64 of shape (N,); -1 for nowhere.
        key: What they hold.
    """

    blocks: np.ndarray
    images: np.ndarray
    masks: np.ndarray
    place: np.ndarray
    key: str


@dataclass(frozen=True)
class Material:
    """A task as one encoder sees it; all that is large stays on disk.

    Attributes:
        task: The task.
        side: Side of images, masks and logits in pixels.
        mean: Of the encoder's input, one number a channel.
        std: Of the encoder's input, one number a channel.
        sizes: Width and height of the images themselves in pixels, int64 of shape (N, 2).
        preparations: The images as they are, then their augmented copies.
    """

    task: MaskTask
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sizes: np.ndarray
    preparations: tuple[Preparation, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Width of the features and number of structures."""
        return self.preparations[0].blocks.shape[-1], len(self.task.structures)

    @property
    def key(self) -> str:
        """What all preparations hold, and in which form it is handed out."""
        form = [self.task.fingerprint, self.side, self.mean, self.std]
        text = repr([*form, *(preparation.key for preparation in self.preparations)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def pixel_mm(self) -> np.ndarray:
        """Pixel size of each image in mm, float64 of shape (N,); NaN where it is not known."""
        table = self.task.dataset.table
        unknown = np.full(len(table), np.nan)
        return table["pixel_mm"].to_numpy(float) if "pixel_mm" in table else unknown

    @property
    def square_pixel_mm(self) -> np.ndarray:
        """Pixel size of the squares that a decoder sees in mm, float64 of shape (N,)."""
        return self.pixel_mm * self.sizes.max(axis=1) / self.side

    def batch(self, pairs: np.ndarray, device: str = "cpu") -> Batch:
        """Features, images and masks as a decoder takes them, float32.

        Args:
            pairs: Preparation and row of the task, int64 of shape (n, 2).
            device: Where they go, before 16-bit features become 32-bit ones.
        """
        prepared = [(p := self.preparations[which], p.place[row]) for which, row in pairs]
        blocks = np.stack([p.blocks[place] for p, place in prepared])
        images = np.stack([p.images[place] for p, place in prepared])
        masks = unpack(np.stack([p.masks[place] for p, place in prepared]), self.side)
        return (
            on_grid(blocks, self.side // UPSCALING, device),
            normalised(images, self.mean, self.std).to(device),
            torch.from_numpy(masks).to(device).float(),
        )

    def pairs(self, rows: np.ndarray) -> np.ndarray:
        """Training pairs of some rows: all their copies, or the images as they are."""
        which = range(1, len(self.preparations)) or (0,)
        return np.concatenate([np.stack([np.full_like(rows, i), rows], 1) for i in which])

    def masks(self, rows: np.ndarray) -> np.ndarray:
        """Annotated masks of images as they are, boolean of shape (n, C, side, side)."""
        return unpack(np.asarray(self.preparations[0].masks[rows]), self.side)


def gather(
    encoder: BlockEncoder | NoFeatures,
    task: MaskTask,
    trained: np.ndarray,
    recipe: DecoderRecipe,
    *,
    cache_dir: Path,
    seed: int = 0,
    batch_size: int = 64,
) -> Material:
    """Compute or read features, images and masks of a task.

    Args:
        encoder: What features are taken from.
        task: The task.
        trained: Rows that are trained on, boolean of shape (N,): they get copies.
        recipe: Side of the squares and how they are made, number of copies.
        cache_dir: Folder that all notebooks share.
        seed: Seed of the augmentation.
        batch_size: Images in the encoder's forward pass.
    """

    def prepared(rows: np.ndarray, **changes: Augmentation | int) -> Preparation:
        how = {"cache_dir": cache_dir, "preparation": recipe.preparation, **changes}
        squares = task_squares(task, recipe.side, rows=rows, **how)
        if isinstance(encoder, NoFeatures):
            shape = (rows.sum(), BLOCKS, 1, 1, encoder.width)
            blocks, key = np.broadcast_to(np.float16(0), shape), encoder.fingerprint
        else:
            images = task.dataset.where(rows)
            store = block_features(encoder, images, batch_size=batch_size, **how)
            blocks, key = store.arrays["blocks"], store.folder.name
        arrays = (squares.arrays["images"], squares.arrays["masks"])
        place = np.where(rows, np.cumsum(rows) - 1, -1)
        return Preparation(blocks, *arrays, place, f"{key} {squares.folder.name}")

    changes = Augmentation(seed=seed)
    copies = (prepared(trained, augmentation=changes, copy=i) for i in range(recipe.copies))
    parts = (prepared(np.ones(len(task.dataset), bool)), *copies)
    sizes = image_sizes(task.dataset.root, task.dataset.table["path"])
    return Material(task, recipe.side, *_normalisation(encoder), sizes, parts)


def trained_rows(task: MaskTask, *splits: Split) -> np.ndarray:
    """Rows that any fold of some splits trains on, boolean of shape (N,)."""
    folds = [fold for split in splits for fold in split.folds]
    return rows_of(task.items.table, {patient for fold in folds for patient in fold.train})


def _normalisation(encoder: BlockEncoder | NoFeatures) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation that the encoder's own preparation takes."""
    for step in getattr(encoder.preprocess, "transforms", ()):
        if isinstance(step, Normalize):
            return tuple(map(float, step.mean)), tuple(map(float, step.std))
    return OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
