"""The segmentation decoder: features of four blocks and the image in, a logit a pixel out.

A UNETR (arXiv 2103.10504) in two dimensions whose convolutions are depthwise-separable, joined as
in the FetalCLIP authors' repository.
"""

import itertools
from collections.abc import Callable

import torch
from torch import nn

UPSCALING = 16
"""Sides of the image over sides of the feature grid: four doublings."""

BLOCKS = 4
"""Features of this many blocks are taken in, the deepest last."""


class Decoder(nn.Module):
    """Frozen features and the image to one logit a pixel and structure.

    The deepest features are brought up to the image's side in four steps. After each they are
    joined with features of the blocks n//2, n//3 and n//4, which are brought up to the same side,
    and at last with the image itself.

    Args:
        width: Channels W of the features.
        structures: Structures C that are outlined.
        filters: Filters f of the image's side: 32 in the protocol. The maps of lower sides have
            2f, 4f and 8f.

    Source: Protocol of the paper's segmentation probing and its repository: 1,591,941 parameters
    for one structure at width 1024, 1,315,461 at 768.

    >>> sum(p.numel() for p in Decoder(1024, 1).parameters())
    1591941
    """

    def __init__(self, width: int, structures: int, filters: int = 32) -> None:
        super().__init__()
        f = filters
        self.deep = _up(width, 8 * f)
        self.skips = nn.ModuleList(
            [
                _chain(_up_separable, width, 8 * f),
                _chain(_up_separable, width, 8 * f, 4 * f),
                _chain(_up_separable, width, 8 * f, 4 * f, 2 * f),
                _chain(_separable, 3, f, f),
            ]
        )
        self.joins = nn.ModuleList(
            [
                nn.Sequential(_chain(_separable, 16 * f, 8 * f, 8 * f, 8 * f), _up(8 * f, 4 * f)),
                nn.Sequential(_chain(_separable, 8 * f, 4 * f, 4 * f), _up(4 * f, 2 * f)),
                nn.Sequential(_chain(_separable, 4 * f, 2 * f, 2 * f), _up(2 * f, f)),
                nn.Sequential(_chain(_separable, 2 * f, f, f), nn.Conv2d(f, structures, 1)),
            ]
        )

    def forward(self, blocks: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Logits of all structures, float of shape (N, C, S, S).

        Args:
            blocks: Features of the blocks n//4, n//3, n//2 and n, in this order, float of shape
                (N, 4, width, S/16, S/16).
            image: Normalised images, float of shape (N, 3, S, S).
        """
        early, third, half, deepest = blocks.unbind(1)
        x = self.deep(deepest)
        for skip, join, skipped in zip(
            self.skips, self.joins, (half, third, early, image), strict=True
        ):
            x = join(torch.cat([skip(skipped), x], dim=1))
        return x


def _chain(layer: Callable[[int, int], nn.Module], *channels: int) -> nn.Sequential:
    """A layer from each number of channels to the next."""
    return nn.Sequential(*(layer(a, b) for a, b in itertools.pairwise(channels)))


def _separable(channels: int, filters: int) -> nn.Sequential:
    """Depthwise 3x3, then pointwise: each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, filters, 1),
        nn.BatchNorm2d(filters),
        nn.ReLU(inplace=True),
    )


def _up_separable(channels: int, filters: int) -> nn.Sequential:
    """Twice the side, then a separable convolution."""
    return nn.Sequential(_double(channels), _separable(channels, filters))


def _up(channels: int, filters: int) -> nn.Sequential:
    """Twice the side, then pointwise, with nothing after it."""
    return nn.Sequential(_double(channels), nn.Conv2d(channels, filters, 1))


def _double(channels: int) -> nn.ConvTranspose2d:
    """Twice the side, each channel by itself."""
    return nn.ConvTranspose2d(channels, channels, 2, stride=2, groups=channels)
