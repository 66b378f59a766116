"""Features of four blocks of a frozen vision transformer, computed once and kept on disk."""

import contextlib
import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Subset

from fetalclip_nb.data.augmentation import Augmentation
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import ModelError, ParameterError, ShapeError
from fetalclip_nb.models.embed import PreparedImages, image_batches, image_meta
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.store import Compute, Store, stored_arrays
from fetalclip_nb.models.tower import vision_tower

VERSION = 1
"""Raised when the same encoder and image give other features; they are then computed anew."""

SPACINGS = {
    "published": lambda blocks: (blocks // 4, blocks // 3, blocks // 2, blocks),
    "even": lambda blocks: (blocks // 4, 2 * blocks // 4, 3 * blocks // 4, blocks),
}
"""Which blocks are taken of so many."""


def chosen_blocks(blocks: int, spacing: str = "published") -> tuple[int, int, int, int]:
    """Numbers of the blocks whose features are taken, the deepest last.

    Args:
        blocks: Number n of the encoder's blocks.
        spacing: "published" for n//4, n//3, n//2 and n, or "even" for n//4, 2n//4, 3n//4 and n.

    Returns:
        Block numbers, counted from 1.

    Raises:
        ParameterError: If the spacing is unknown, or the encoder has too few blocks for four
            different ones.

    Source: Protocol of the paper's segmentation probing; its figure shows the even spacing.

    >>> chosen_blocks(24), chosen_blocks(24, "even")
    ((6, 8, 12, 24), (6, 12, 18, 24))
    """
    if spacing not in SPACINGS:
        raise ParameterError(
            "Unknown spacing of blocks",
            where="blocks",
            expected=", ".join(SPACINGS),
            found=repr(spacing),
        )
    taken = SPACINGS[spacing](blocks)
    if taken[0] < 1 or len(set(taken)) < len(taken):
        raise ParameterError(
            "Encoder has too few blocks for this spacing",
            where=f"blocks {spacing!r}",
            expected="four different blocks",
            found=f"blocks {', '.join(map(str, taken))} of {blocks}",
            fix="set blocks to even (from 4 blocks on), or take another encoder",
        )
    return taken


class BlockEncoder:
    """Encodes images as the patch tokens after four blocks of a model's vision transformer.

    Class and register tokens are dropped; the others lie on the grid of the patches.

    Args:
        model: A model whose image tower is open_clip's own vision transformer or one of timm's.
        spacing: Which blocks, as `chosen_blocks` takes it.
        grid: Side of the grid that a decoder needs; None for the encoder's own. A larger own
            grid is resampled to it (bilinear), a smaller one is kept: see `on_grid`.

    Attributes:
        name: The model's name.
        blocks: Block numbers, counted from 1.
        width: Numbers a token.
        grid: Side of the grid of `encode`.
        fingerprint: 16 hexadecimal digits over all that the features of an image depend on.

    Raises:
        ModelError: If the image tower is something else, or its grid is no square.
        ParameterError: If spacing or grid is impossible.

    Source: Protocol of the paper's segmentation probing (16 x 16 patches to 14 x 14).
    """

    def __init__(self, model: Model, spacing: str = "published", grid: int | None = None) -> None:
        self._model = model
        self._tower = vision_tower(model)
        own = self._tower.grid
        _require_grid(own if grid is None else grid)
        self.name, self.device, self.precision = model.name, model.device, model.precision
        self.preprocess = model.preprocess
        self.blocks = chosen_blocks(len(self._tower.blocks), spacing)
        self.width = self._tower.width
        self.grid = own if grid is None else min(own, grid)
        words = f"blocks-{VERSION} {model.fingerprint} {model.precision} {self.blocks} {self.grid}"
        self.fingerprint = hashlib.sha256(words.encode()).hexdigest()[:16]

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> np.ndarray:
        """Features of the four blocks.

        Args:
            pixels: Preprocessed images, float32 of shape (N, 3, S, S).

        Returns:
            float16 of shape (N, 4, grid, grid, width).

        Raises:
            ModelError: If a feature is too large for 16 bits or no number, or a block does not
                give a token a patch.
        """
        found: dict[int, torch.Tensor] = {}
        with contextlib.ExitStack() as hooks:
            for block in self.blocks:
                keep = partial(_keep, found, block)
                hook = self._tower.blocks[block - 1].register_forward_hook(keep)
                hooks.callback(hook.remove)
            self._model.encode_images(pixels)
        features = [self._feature(block, found[block]) for block in self.blocks]
        return torch.stack(features, dim=1).cpu().numpy()

    def _feature(self, block: int, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of one block on the grid, float16 of shape (N, grid, grid, width)."""
        maps = _resampled(self._tower.maps(block, tokens), self.grid)
        if not torch.isfinite(maps.half()).all():
            raise ModelError(
                "Feature cannot be stored in 16 bits",
                where=f"{self.name}, block {block}",
                expected=f"values up to {torch.finfo(torch.float16).max:g}",
                found=f"{maps.abs().max().item():g}",
                fix="check the model's weights, or its precision",
            )
        return maps.half().permute(0, 2, 3, 1)


@dataclass(frozen=True)
class NoFeatures:
    """Zeros in place of features: the baseline whose decoder sees the image alone.

    Attributes:
        grid: Side of the stored grid; any grid can be made of it, so 1 is enough.

    Raises:
        ParameterError: If the grid is not a positive whole number.

    >>> NoFeatures().encode(torch.zeros(2, 3, 8, 8)).shape
    (2, 4, 1, 1, 8)
    """

    grid: int = 1
    name: ClassVar[str] = "image only"
    width: ClassVar[int] = 8
    blocks: ClassVar[tuple[int, ...]] = ()
    device: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "fp32"
    preprocess: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Refuse a grid that cannot be."""
        _require_grid(self.grid)

    @property
    def fingerprint(self) -> str:
        """What the features depend on, in place of a hash of weights."""
        return f"image-only-{VERSION}-{self.width}-{self.grid}"

    def encode(self, pixels: torch.Tensor) -> np.ndarray:
        """Zeros for N images: float16 of shape (N, 4, grid, grid, 8)."""
        return np.zeros((len(pixels), 4, self.grid, self.grid, self.width), dtype=np.float16)


def block_features(
    encoder: BlockEncoder | NoFeatures,
    dataset: Dataset,
    *,
    cache_dir: Path,
    augmentation: Augmentation | None = None,
    copy: int = 0,
    batch_size: int = 64,
    workers: int | None = None,
) -> Store:
    """Features of every image of a data set, computed once and read from the disk.

    A batch is stored as soon as it is computed: neither the memory needed nor what an
    interrupted run loses depends on the number of images.

    Args:
        encoder: Gives the features.
        dataset: A whole data set, or any subset of it where images are augmented.
        cache_dir: Folder that all notebooks share.
        augmentation: How far images are changed; None for not at all.
        copy: Number of the augmented copy, from 0.
        batch_size: Images a forward pass; it changes results by rounding at most.
        workers: Decoding processes; None for none on a CPU and up to 8 beside a GPU.

    Returns:
        A store of one array, "blocks": float16 of shape (N, 4, grid, grid, width) in table order.

    Raises:
        ParameterError: If images of a subset are not augmented.
        CacheError: If the disk has too little room or the cache holds something else than its
            key promises.
        ImageError: If an image cannot be decoded.
        ModelError: If a feature cannot be stored.
    """
    if augmentation is None and not dataset.whole:
        # Its key is the whole's, whose next reader would miss images.
        raise ParameterError(
            "Features of a subset are not kept",
            where="block_features",
            expected="a whole data set, as its reader gave it, or an augmentation",
            found=f"{len(dataset)} images picked from {dataset.name}",
            fix="compute those of the whole data set, then pick the subset's rows",
        )
    meta = {
        **image_meta(encoder, dataset, augmentation, copy),
        "blocks": encoder.blocks,
        "grid": encoder.grid,
    }
    compute = _zeros(encoder)
    if encoder.blocks:
        images = PreparedImages(dataset, encoder.preprocess, augmentation, copy)
        compute = _features(encoder, images, batch_size, workers)
    return stored_arrays(cache_dir, "blocks", meta, len(dataset), compute, chunk=batch_size)


def on_grid(blocks: np.ndarray, grid: int, device: str = "cpu") -> torch.Tensor:
    """Stored features as a decoder takes them.

    Args:
        blocks: Features of shape (N, 4, g, g, width), as `block_features` stores them.
        grid: Side of the decoder's grid; another one than g is reached by bilinear resampling
            (corners not aligned).
        device: Where the features go, in 16 bits, before all else is done to them.

    Returns:
        float32 of shape (N, 4, width, grid, grid).

    Raises:
        ShapeError: If the features have another shape.
        ParameterError: If the grid is not a positive whole number.
    """
    _require_grid(grid)
    if blocks.ndim != 5 or blocks.shape[2] != blocks.shape[3]:
        raise ShapeError(
            "Features do not lie on a square grid",
            where="on_grid",
            expected="(N, 4, g, g, width)",
            found=blocks.shape,
        )
    # Copied: a memory map cannot be written to, which torch does not know.
    stored = torch.from_numpy(np.array(blocks)).to(device)
    maps = stored.float().permute(0, 1, 4, 2, 3)
    return _resampled(maps.flatten(0, 1), grid).unflatten(0, maps.shape[:2])


def _features(
    encoder: BlockEncoder, images: PreparedImages, batch_size: int, workers: int | None
) -> Compute:
    batches = None

    def compute(rows: range) -> dict[str, np.ndarray]:
        nonlocal batches
        if batches is None:  # the first rows asked for: a run that goes on begins later
            todo = Subset(images, range(rows.start, len(images)))
            loader = image_batches(todo, encoder.device, batch_size=batch_size, workers=workers)
            batches = iter(loader)
        return {"blocks": encoder.encode(next(batches))}

    return compute


def _zeros(encoder: NoFeatures) -> Compute:
    return lambda rows: {"blocks": encoder.encode(torch.empty(len(rows), 0))}


def _keep(found: dict, block: int, _module: nn.Module, _inputs: tuple, output: object) -> None:
    found[block] = output


def _resampled(maps: torch.Tensor, grid: int) -> torch.Tensor:
    """Maps of shape (N, C, g, g) on another grid; on their own they stay as they are."""
    if maps.shape[-1] == grid:
        return maps
    return functional.interpolate(maps, (grid, grid), mode="bilinear", align_corners=False)


def _require_grid(grid: int) -> None:
    if not isinstance(grid, int) or grid < 1:
        raise ParameterError(
            "Grid of features cannot be made",
            where="grid",
            expected="a whole number of at least 1",
            found=repr(grid),
        )
