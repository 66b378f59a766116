"""What a decoder sees beside the encoder's features, and what it must outline."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image

from fetalclip_nb import __version__
from fetalclip_nb.data.augmentation import Augmentation, augmented, augmented_masks
from fetalclip_nb.data.images import read_square, resize_cubic
from fetalclip_nb.data.mask_files import padded_mask, reduced_mask, sampled_mask
from fetalclip_nb.files import key
from fetalclip_nb.models.store import Store, stored_arrays
from fetalclip_nb.tasks.masks import MaskTask

VERSION = 1
"""Raised when the same images and masks give other squares; they are then made anew."""


def task_squares(
    task: MaskTask,
    side: int,
    *,
    preparation: str = "published",
    cache_dir: Path,
    augmentation: Augmentation | None = None,
    copy: int = 0,
    rows: np.ndarray | None = None,
) -> Store:
    """Images and masks as small squares, computed once and kept on disk.

    Both are padded to a square, changed in the same way where copies are asked for, and then
    reduced. Published are OpenCV's cubic interpolation for images and its nearest one for masks,
    both without smoothing; ours are the bicubic one of encoders, and the pixels that lie at least
    half inside.

    Args:
        task: Images and masks.
        side: Side of the squares in pixels, a multiple of 8.
        preparation: "published" or "ours".
        cache_dir: Folder that all notebooks share.
        augmentation: How far images and masks are changed; None for not at all.
        copy: Number of the augmented copy.
        rows: Which rows, boolean of shape (N,); None for all.

    Returns:
        A store with "images", uint8 of shape (n, side, side, 3), and "masks", packed bits,
        uint8 of shape (n, C, side * side / 8): see `unpack`.

    Source: Protocol of the paper's segmentation probing, and its repository.
    """
    kept = np.arange(len(task.dataset)) if rows is None else np.flatnonzero(rows)
    make = partial(_square, task, side, preparation, augmentation, copy)

    def compute(chunk: range) -> dict[str, np.ndarray]:
        with ThreadPoolExecutor(joblib.cpu_count()) as pool:
            images, masks = zip(*pool.map(make, kept[list(chunk)]), strict=True)
        return {"images": np.stack(images), "masks": np.stack(masks)}

    meta = {
        "task": task.name,
        "version": VERSION,
        "fingerprint": task.fingerprint,
        "side": side,
        "preparation": preparation,
        "augmentation": augmentation and {**augmentation.settings, "copy": copy},
        "images": key(task.dataset.table["id"].iloc[kept].tolist()),
        "package": __version__,
    }
    return stored_arrays(cache_dir, "squares", meta, len(kept), compute)


def unpack(masks: np.ndarray, side: int) -> np.ndarray:
    """Packed masks of shape (..., side * side / 8) as booleans of shape (..., side, side)."""
    bits = np.unpackbits(masks, axis=-1).astype(bool)
    return bits.reshape(*masks.shape[:-1], side, side)


def pack(masks: np.ndarray) -> np.ndarray:
    """Boolean masks of shape (..., side, side) as bits, uint8 of shape (..., side * side / 8).

    >>> bool((unpack(pack(np.eye(8, dtype=bool)), 8) == np.eye(8)).all())
    True
    """
    return np.packbits(masks.reshape(*masks.shape[:-2], -1), axis=-1)


def normalised(images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Images (n, side, side, 3) as a decoder takes them, float32 of shape (n, 3, side, side).

    Mean and standard deviation of each channel are shares of white.
    """
    values = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def _square(
    task: MaskTask,
    side: int,
    preparation: str,
    augmentation: Augmentation | None,
    copy: int,
    row: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Image and packed masks of one row."""
    image = read_square(task.dataset.paths[row])
    masks = np.stack([padded_mask(mask) for mask in task.read(row)])
    if augmentation is not None:
        name = task.dataset.table["id"].iloc[row]
        image = augmented(image, augmentation, name=name, copy=copy)
        masks = augmented_masks(masks, augmentation, name=name, copy=copy)
    if preparation == "published":
        small = resize_cubic(image, side)
        masks = [sampled_mask(mask, side) for mask in masks]
    else:
        small = image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        masks = [reduced_mask(mask, side) for mask in masks]
    return np.asarray(small.convert("RGB")), pack(np.stack(masks))
