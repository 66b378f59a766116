"""Raw pixels in place of an encoder: the baseline that any learned feature has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

VERSION = 1
"""Raised when the same image gives other grey values."""


@dataclass(frozen=True)
class PixelEncoder:
    """Encodes an image as the grey values of its thumbnail.

    It offers what the cached embeddings ask of a model, and no text encoder.

    Attributes:
        side: Width and height of the thumbnail in pixels.

    >>> PixelEncoder(side=2).preprocess(Image.new("L", (8, 8), 255)).tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """

    side: int = 32
    name: ClassVar[str] = "pixels"
    device: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "fp32"

    @property
    def fingerprint(self) -> str:
        """What the values depend on, in place of a hash of weights."""
        return f"pixels-{VERSION}-{self.side}"

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Shrink a square image, bicubic: float32 of shape (1, side, side), 0 to 1."""
        small = image.convert("L").resize((self.side, self.side), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.asarray(small, dtype=np.float32) / 255)[None]

    def encode_images(self, pixels: torch.Tensor) -> np.ndarray:
        """Flatten thumbnails of shape (N, 1, side, side) to float32 of shape (N, side * side)."""
        return pixels.flatten(1).numpy()
