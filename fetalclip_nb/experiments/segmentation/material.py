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
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.images import image_size
from fetalclip_nb.errors import ParameterError, listing
from fetalclip_nb.experiments.segmentation.decoder import BLOCKS, UPSCALING
from fetalclip_nb.experiments.segmentation.squares import normalised, task_squares, unpack
from fetalclip_nb.models.blocks import BlockEncoder, NoFeatures, block_features, on_grid
from fetalclip_nb.models.store import Store
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
        encoder: Name of the encoder.
        side: Side of images, masks and logits in pixels.
        mean: Of the encoder's input, one number a channel.
        std: Of the encoder's input, one number a channel.
        sizes: Width and height of the images themselves in pixels, int64 of shape (N, 2).
        preparations: The images as they are, then their augmented copies.
    """

    task: MaskTask
    encoder: str
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
    def copies(self) -> int:
        """Number of augmented copies."""
        return len(self.preparations) - 1

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

    def batch(
        self, pairs: np.ndarray, device: str = "cpu"
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features, images and masks as a decoder takes them.

        Args:
            pairs: Preparation and row of the task, int64 of shape (n, 2).
            device: Where they go, before 16-bit features become 32-bit ones.

        Returns:
            Features (n, 4, width, side/16, side/16), images (n, 3, side, side) and masks
            (n, C, side, side), float32.
        """
        found = [(p := self.preparations[which], p.place[row]) for which, row in pairs]
        blocks = np.stack([p.blocks[place] for p, place in found])
        images = np.stack([p.images[place] for p, place in found])
        masks = unpack(np.stack([p.masks[place] for p, place in found]), self.side)
        return (
            on_grid(blocks, self.side // UPSCALING, device),
            normalised(images, self.mean, self.std).to(device),
            torch.from_numpy(masks).to(device).float(),
        )

    def pairs(self, rows: np.ndarray) -> np.ndarray:
        """Training pairs of some rows: all their copies, or the images as they are.

        Args:
            rows: Row numbers, int64 of shape (n,).

        Raises:
            ParameterError: If an image has no copies although others have.
        """
        bare = [row for row in rows if any(p.place[row] < 0 for p in self.preparations[1:])]
        if bare:
            raise ParameterError(
                "Images to train on have no augmented copies",
                where=self.task.name,
                found=listing(self.task.dataset.table["id"].iloc[bare]),
                fix="gather the task's material with these rows among those trained on",
            )
        which = range(1, self.copies + 1) if self.copies else (0,)
        return np.concatenate([np.stack([np.full_like(rows, i), rows], 1) for i in which])


def gather(
    encoder: BlockEncoder | NoFeatures,
    task: MaskTask,
    trained: np.ndarray,
    *,
    side: int,
    copies: int,
    cache_dir: Path,
    seed: int = 0,
    batch_size: int = 64,
) -> Material:
    """Compute or read features, images and masks of a task.

    Args:
        encoder: What features are taken from.
        task: The task.
        trained: Rows that are trained on, boolean of shape (N,): they get copies.
        side: Side of the decoder's images in pixels, a multiple of 16.
        copies: Augmented copies of each image that is trained on; 0 for none.
        cache_dir: Folder that all notebooks share.
        seed: Seed of the augmentation.
        batch_size: Images in the encoder's forward pass.

    Raises:
        ParameterError: If the side is no multiple of 16, or no row is trained on.
        CacheError: If the cache holds something else than its key promises, or the disk is full.
    """
    require_side(side)
    if not trained.any():
        raise ParameterError("No image is trained on", where=task.name)
    parts = [_preparation(encoder, task, None, side, None, 0, cache_dir, batch_size)]
    for copy in range(copies):
        augmentation = Augmentation(seed=seed)
        parts.append(
            _preparation(encoder, task, trained, side, augmentation, copy, cache_dir, batch_size)
        )
    mean, std = _normalisation(encoder)
    return Material(task, encoder.name, side, mean, std, _sizes(task.dataset), tuple(parts))


def trained_rows(task: MaskTask, *splits: Split) -> np.ndarray:
    """Rows that any fold of some splits trains on, boolean of shape (N,)."""
    folds = [fold for split in splits for fold in split.folds]
    return rows_of(task.items.table, {patient for fold in folds for patient in fold.train})


def require_side(side: int) -> None:
    """Refuse a side that cannot be doubled four times from a whole grid.

    Raises:
        ParameterError: If it is no positive multiple of 16.
    """
    if side < UPSCALING or side % UPSCALING:
        raise ParameterError(
            "Side cannot be used",
            where="side",
            expected=f"a positive multiple of {UPSCALING}",
            found=side,
        )


def _sizes(dataset: Dataset) -> np.ndarray:
    """Width and height of each image in pixels, int64 of shape (N, 2)."""
    if dataset.name == "hc18":  # its reader has read them; a user's own columns may mean anything
        return dataset.table[["width", "height"]].to_numpy(np.int64)
    return np.array([image_size(path) for path in dataset.paths], dtype=np.int64)


def _preparation(
    encoder: BlockEncoder | NoFeatures,
    task: MaskTask,
    rows: np.ndarray | None,
    side: int,
    augmentation: Augmentation | None,
    copy: int,
    cache_dir: Path,
    batch_size: int,
) -> Preparation:
    kept = np.arange(len(task.dataset)) if rows is None else np.flatnonzero(rows)
    place = np.full(len(task.dataset), -1)
    place[kept] = np.arange(len(kept))
    changes = {"augmentation": augmentation, "copy": copy}
    seen = task_squares(task, side, cache_dir=cache_dir, rows=rows, **changes)
    dataset = task.dataset if rows is None else task.dataset.where(rows)
    if isinstance(encoder, NoFeatures):
        blank = np.zeros((1, BLOCKS, 1, 1, encoder.width), np.float16)
        blocks, key = np.broadcast_to(blank, (len(kept), *blank.shape[1:])), encoder.fingerprint
    else:
        store = block_features(
            encoder, dataset, cache_dir=cache_dir, batch_size=batch_size, **changes
        )
        blocks, key = store.arrays["blocks"], _name(store)
    arrays = seen.arrays["images"], seen.arrays["masks"]
    return Preparation(blocks, *arrays, place, f"{key} {_name(seen)}")


def _name(store: Store) -> str:
    return store.folder.name


def _normalisation(encoder: BlockEncoder | NoFeatures) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation that the encoder's own preparation takes."""
    for step in getattr(encoder.preprocess, "transforms", ()):
        if isinstance(step, Normalize):
            return tuple(map(float, step.mean)), tuple(map(float, step.std))
    return OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
