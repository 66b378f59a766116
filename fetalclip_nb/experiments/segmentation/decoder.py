"""The segmentation decoder: features of four blocks and the image in, a logit a pixel out.

A UNETR (arXiv 2103.10504) in two dimensions whose convolutions are depthwise-separable. With f
filters, its maps have 8f channels on the feature grid, then 4f, 2f, f and f/2 as the side doubles
four times. The protocol gives blocks, filters and parameter counts, not the arrangement: ours is
one that has these very counts.
"""

import itertools

import torch
from torch import nn

UPSCALING = 16
"""Sides of the image over sides of the feature grid: four doublings."""

BLOCKS = 4
"""Features of this many blocks are taken in, the deepest last."""


class Decoder(nn.Module):
    """Frozen features and the image to one logit a pixel and structure.

    The deepest features are brought up to the image's side in four steps. At each step they meet
    a skip connection: features of the blocks n//2, n//3 and n//4, and at last the image itself.

    Args:
        width: Channels of the features.
        structures: Structures C that are outlined.
        filters: Filters f, an even number: 32 in the protocol.

    Source: Protocol of the paper's segmentation probing: 1,591,941 parameters for one structure
    at width 1024, 1,315,461 at 768.

    >>> sum(p.numel() for p in Decoder(1024, 1).parameters())
    1591941
    """

    def __init__(self, width: int, structures: int, filters: int = 32) -> None:
        super().__init__()
        f = filters
        self.deep = nn.Sequential(_conv(width, 8 * f), _conv(8 * f, 8 * f))
        self.skips = nn.ModuleList(
            [
                _up(width, 4 * f, 2),
                nn.Sequential(_up(width, 2 * f, 2), _up(2 * f, 2 * f, 2)),
                nn.Sequential(_conv(width, f), *(_up(f, f, 1) for _ in range(3))),
                _conv(3, f // 2),
            ]
        )
        channels = [8 * f, 4 * f, 2 * f, f, f // 2]
        steps = list(itertools.pairwise(channels))
        self.ups = nn.ModuleList([_up(above, below, 2) for above, below in steps])
        self.joins = nn.ModuleList([_join(below, 3 if below > f // 2 else 2) for _, below in steps])
        self.head = nn.Conv2d(f // 2, structures, 1)

    def forward(self, blocks: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Logits of all structures, float of shape (N, C, S, S).

        Args:
            blocks: Features of the blocks n//4, n//3, n//2 and n, in this order, float of shape
                (N, 4, width, S/16, S/16).
            image: Normalised images, float of shape (N, 3, S, S).
        """
        early, third, half, x = blocks.unbind(1)
        x = self.deep(x)
        for up, skip, join, skipped in zip(
            self.ups, self.skips, self.joins, (half, third, early, image), strict=True
        ):
            x = join(torch.cat([up(x), skip(skipped)], dim=1))
        return self.head(x)


def _conv(channels: int, filters: int) -> nn.Sequential:
    """Depthwise 3x3, then pointwise: each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, filters, 1),
        nn.BatchNorm2d(filters),
        nn.ReLU(inplace=True),
    )


def _up(channels: int, filters: int, convolutions: int) -> nn.Sequential:
    """Twice the side by a transposed 2x2 convolution, then separable convolutions."""
    after = (_conv(filters, filters) for _ in range(convolutions))
    return nn.Sequential(nn.ConvTranspose2d(channels, filters, 2, stride=2), *after)


def _join(filters: int, convolutions: int) -> nn.Sequential:
    """Two maps that lie on each other to one."""
    after = (_conv(filters, filters) for _ in range(convolutions - 1))
    return nn.Sequential(_conv(2 * filters, filters), *after)
