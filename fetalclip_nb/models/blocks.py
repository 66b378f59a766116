"""Features of four blocks of a frozen image tower, computed once and kept on disk."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from fetalclip_nb.data.augmentation import Augmentation
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import ModelError, ParameterError
from fetalclip_nb.files import key
from fetalclip_nb.models.embed import PreparedImages, stored_features
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.store import Store

VERSION = 1
"""Raised when the same encoder and image give other features; they are then computed anew."""

SPACINGS = {
    "published": lambda blocks: (blocks // 4, blocks // 3, blocks // 2, blocks),
    "even": lambda blocks: (blocks // 4, 2 * blocks // 4, 3 * blocks // 4, blocks),
}
"""Which blocks are taken of so many."""


def chosen_blocks(blocks: int, spacing: str = "published") -> tuple[int, int, int, int]:
    """Numbers, counted from 1, of the blocks whose features are taken, the deepest last.

    Args:
        blocks: Number n of the encoder's blocks; of four (the stages of MobileFetalCLIP's tower)
            all are taken.
        spacing: "published" for n//4, n//3, n//2 and n, or "even" for n//4, 2n//4, 3n//4 and n.

    Source: Protocol of the paper's segmentation probing; its figure shows the even spacing.

    >>> chosen_blocks(24), chosen_blocks(24, "even")
    ((6, 8, 12, 24), (6, 12, 18, 24))
    """
    if spacing not in SPACINGS:
        known = ", ".join(SPACINGS)
        raise ParameterError("Unknown spacing", where="blocks", expected=known, found=repr(spacing))
    taken = SPACINGS[spacing](blocks) if blocks != 4 else (1, 2, 3, 4)
    if taken[0] < 1 or len(set(taken)) < len(taken):
        raise ParameterError(
            "Encoder has too few blocks for this spacing",
            where=f"blocks {spacing!r}",
            found=f"blocks {', '.join(map(str, taken))} of {blocks}",
            fix="set blocks to even (from 4 blocks on), or take another encoder",
        )
    return taken


class BlockEncoder:
    """Encodes images as the features after four blocks of a model's image tower.

    Of a vision transformer these are the tokens of the patches, without class and registers; of
    a tower whose blocks (stages) differ in grid and width, each is brought to one grid and
    filled up with zeros to the greatest width.

    Args:
        model: A model whose image tower gives its intermediate features (open_clip's and timm's).
        spacing: Which blocks, as `chosen_blocks` takes it.
        grid: Side of the grid that a decoder needs; None for the encoder's own (the finest of
            its blocks). A larger own grid is resampled to it (bilinear), a smaller one is kept:
            see `on_grid`.

    Attributes:
        name: The model's name.
        blocks: Block numbers, counted from 1.
        width: Numbers a place on the grid.
        grid: Side of the grid of `encode_images`.
        fingerprint: 16 hexadecimal digits over all that the features of an image depend on.

    Source: Protocol of the paper's segmentation probing (16 x 16 patches to 14 x 14).
    """

    def __init__(self, model: Model, spacing: str = "published", grid: int | None = None) -> None:
        self._model = model
        self.name, self.device, self.precision = model.name, model.device, model.precision
        self.preprocess = model.preprocess
        shapes = _shapes(model)
        self.blocks = chosen_blocks(len(shapes), spacing)
        taken = [shapes[block - 1] for block in self.blocks]
        self.width = max(width for width, _ in taken)
        own = max(side for _, side in taken)
        self.grid = own if grid is None else min(own, grid)
        made_with = ["blocks", VERSION, model.fingerprint, model.precision, self.blocks, self.grid]
        self.fingerprint = key(made_with)

    @staticmethod
    def require(model: Model) -> None:
        """Refuse a model whose image tower gives no features of its blocks."""
        _shapes(model)

    @torch.inference_mode()
    def encode_images(self, pixels: torch.Tensor) -> np.ndarray:
        """Features of preprocessed images (N, 3, S, S): float16 (N, 4, grid, grid, width).

        16 bits move a number by at most 2**-11 of itself, or by 2**-25 where it is below 2**-14.
        """
        maps = _intermediates(self._model, pixels, [block - 1 for block in self.blocks])
        features = [self._feature(*pair) for pair in zip(self.blocks, maps, strict=True)]
        return torch.stack(features, dim=1).cpu().numpy()

    def _feature(self, block: int, maps: torch.Tensor) -> torch.Tensor:
        """What a block gives on the grid, float16 of shape (N, grid, grid, width)."""
        maps = _resampled(maps.float(), self.grid)
        if not torch.isfinite(maps.half()).all():
            raise ModelError(
                "Feature cannot be stored in 16 bits",
                where=f"{self.name}, block {block}",
                expected=f"values up to {torch.finfo(torch.float16).max:g}",
                found=f"{maps.abs().max().item():g}",
                fix="check the model's weights, or its precision",
            )
        features = maps.half().permute(0, 2, 3, 1)
        return functional.pad(features, (0, self.width - features.shape[-1]))


class NoFeatures:
    """In place of an encoder: the baseline whose decoder sees the image alone, and zeros."""

    name: ClassVar[str] = "image only"
    width: ClassVar[int] = 8
    preprocess: ClassVar[None] = None
    fingerprint: ClassVar[str] = "image-only-1-8-1"


def block_features(
    encoder: BlockEncoder,
    dataset: Dataset,
    *,
    cache_dir: Path,
    augmentation: Augmentation | None = None,
    copy: int = 0,
    batch_size: int = 64,
    preparation: str = "published",
) -> Store:
    """Features of every image of a data set, computed once and read from the disk.

    Args:
        encoder: Gives the features.
        dataset: A data set or a subset of it; each has an entry of its own.
        cache_dir: Folder that all notebooks share.
        augmentation: How far images are changed; None for not at all.
        copy: Number of the augmented copy, from 0.
        batch_size: Images a forward pass; it changes results by rounding at most.
        preparation: What is done before the model's own preprocess, see `embed.PREPARATIONS`.

    Returns:
        A store of one array, "blocks": float16 of shape (N, 4, grid, grid, width) in table order.
    """
    images = PreparedImages(dataset, encoder.preprocess, augmentation, copy, preparation)
    return stored_features(encoder, images, "blocks", cache_dir, batch_size)


def on_grid(blocks: np.ndarray, grid: int, device: str = "cpu") -> torch.Tensor:
    """Stored features as a decoder takes them.

    Args:
        blocks: Features of shape (N, 4, g, g, width), as `block_features` stores them.
        grid: Side of the decoder's grid; another one than g is reached by bilinear resampling
            (corners not aligned).
        device: Where the features go, in 16 bits, before all else is done to them.

    Returns:
        float32 of shape (N, 4, width, grid, grid).
    """
    # Copied: a memory map cannot be written to, which torch does not know.
    stored = torch.from_numpy(np.array(blocks)).to(device)
    maps = stored.float().permute(0, 1, 4, 2, 3)
    return _resampled(maps.flatten(0, 1), grid).unflatten(0, maps.shape[:2])


def _intermediates(
    model: Model, pixels: torch.Tensor, indices: list[int] | None
) -> list[torch.Tensor]:
    """Maps of shape (N, width, side, side) after some blocks, or after all of them."""
    with model.autocast():
        return model.network.visual.forward_intermediates(
            pixels.to(model.device), indices, intermediates_only=True
        )["image_intermediates"]


@torch.inference_mode()
def _shapes(model: Model) -> list[tuple[int, int]]:
    """Width and side of what each block gives, seen at a black image."""
    visual = getattr(model.network, "visual", None)
    try:
        side = np.broadcast_to(visual.image_size, 2)
        maps = _intermediates(model, torch.zeros(1, 3, *side.tolist()), None)
    except (AttributeError, AssertionError, RuntimeError, TypeError) as error:
        raise _unusable(model, f"{type(error).__name__}, {error}") from None
    shapes = [tuple(block.shape[1:]) for block in maps]
    oblong = [f"{height} x {width}" for _, height, width in shapes if height != width]
    if oblong:
        raise _unusable(model, f"a grid of {oblong[0]}")
    return [shape[:2] for shape in shapes]


def _unusable(model: Model, found: str) -> ModelError:
    return ModelError(
        "Image tower gives no features of its blocks on square grids",
        where=model.name,
        expected="a tower whose forward_intermediates gives them (open_clip's and timm's)",
        found=found,
        fix="leave this model out, or what is segmented",
    )


def _resampled(maps: torch.Tensor, grid: int) -> torch.Tensor:
    """Maps of shape (N, C, g, g) on another grid; on their own they stay as they are."""
    if maps.shape[-1] == grid:
        return maps
    return functional.interpolate(maps, (grid, grid), mode="bilinear", align_corners=False)
