"""The plain vision transformer in an image encoder, whichever library built it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from open_clip.transformer import VisionTransformer
from torch import nn

from fetalclip_nb.errors import ModelError
from fetalclip_nb.models import Model


@dataclass(frozen=True)
class Tower:
    """Blocks that all have one token a patch, on a square grid.

    Attributes:
        name: The model's name.
        blocks: The blocks, the shallowest first.
        prefix: Tokens before those of the patches: class and registers.
        grid: Patches along a side of the image.
        width: Numbers a token.
        batch_first: Whether tokens come as (N, T, width) or as (T, N, width).
    """

    name: str
    blocks: Sequence[nn.Module]
    prefix: int
    grid: int
    width: int
    batch_first: bool = True

    def maps(self, block: int, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of the patches alone, where the patches are.

        Args:
            block: Number of the block, for the message.
            tokens: What the block has given.

        Returns:
            float32 of shape (N, width, grid, grid).

        Raises:
            ModelError: If there is not one token a patch beside class and registers.
        """
        if not self.batch_first:
            tokens = tokens.transpose(0, 1)
        expected = (self.prefix + self.grid**2, self.width)
        if tuple(tokens.shape[1:]) != expected:
            raise ModelError(
                "Block does not give one token a patch",
                where=f"{self.name}, block {block}",
                expected=f"(images, {expected[0]}, {expected[1]})",
                found=tuple(tokens.shape),
                fix="use a plain vision transformer",
            )
        patches = tokens[:, self.prefix :].float().transpose(1, 2)
        return patches.unflatten(2, (self.grid, self.grid))


def vision_tower(model: Model) -> Tower:
    """Find the vision transformer of a model.

    Args:
        model: Its image tower is open_clip's own vision transformer or a trunk of timm's.

    Raises:
        ModelError: If the image tower is something else, or its grid is no square.
    """
    visual = getattr(model.network, "visual", None)
    trunk = getattr(visual, "trunk", visual)
    if isinstance(visual, VisionTransformer):
        inner = visual.transformer
        parts = (inner.resblocks, 1, visual.grid_size, inner.width, inner.batch_first)
    elif all(hasattr(trunk, name) for name in ("blocks", "num_prefix_tokens", "embed_dim")):
        grid = getattr(getattr(trunk, "patch_embed", None), "grid_size", (0, 1))
        parts = (trunk.blocks, trunk.num_prefix_tokens, grid, trunk.embed_dim)
    else:
        raise _unusable(model, type(trunk).__name__)
    blocks, prefix, (height, width), *others = parts
    if height != width:
        raise _unusable(model, f"a grid of {height} x {width}")
    return Tower(model.name, blocks, prefix, height, *others)


def _unusable(model: Model, found: str) -> ModelError:
    return ModelError(
        "Image tower is no plain vision transformer",
        where=model.name,
        expected="open_clip's VisionTransformer, or a timm trunk with blocks, num_prefix_tokens "
        "and a square grid of patches",
        found=found,
        fix="features of blocks need a ViT (phantomclip, clip, biomedclip, fetalclip, ...): leave "
        "this model out, or what is segmented",
    )
