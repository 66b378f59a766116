"""Training-time augmentation: random changes that an image's name alone determines."""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

VERSION = 2
"""Raised when the same settings give other pictures; cached embeddings are then made anew."""

TILES = 8
"""CLAHE equalises the histogram in 8 x 8 tiles."""

_COLOUR = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
}

_GREY = ("brightness", "contrast")  # the others change nothing in an image without colour


@dataclass(frozen=True)
class Augmentation:
    """How far an image may be changed; the defaults are the protocol's.

    CLAHE has the authors' limit and tiles. Shift and rotation apply to every copy, with a black
    border.

    Attributes:
        brightness: Largest change of brightness, as a share of it; likewise the next two.
        contrast: Largest change of contrast.
        saturation: Largest change of saturation (colour images only).
        hue: Largest turn of the colour circle, in turns (colour images only).
        colour_probability: Share of copies whose colours change.
        clahe_probability: Share of copies with contrast-limited adaptive equalisation.
        clahe_limit: Its clip limit is drawn between 1 and this.
        shift: Largest shift, as a share of width and height.
        rotation: Largest rotation about the centre, in degrees.
        seed: Another seed gives other copies.

    Source: Protocol of the paper's probing experiments.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.2
    colour_probability: float = 0.5
    clahe_probability: float = 0.5
    clahe_limit: float = 4.0
    shift: float = 0.2
    rotation: float = 20.0
    seed: int = 0

    @property
    def settings(self) -> dict[str, float]:
        """All that the pictures depend on, as plain numbers."""
        numbers = {name: float(value) for name, value in vars(self).items()}
        return {"version": VERSION, "tiles": TILES, **numbers, "seed": self.seed}


@dataclass(frozen=True)
class _Draw:
    """What happens to one copy of one image."""

    colours: tuple[tuple[str, float], ...]
    clip_limit: float | None
    shift: tuple[float, float]
    angle: float


def augmented(
    image: Image.Image, augmentation: Augmentation, *, name: str, copy: int
) -> Image.Image:
    """One randomly changed copy of an image: colour, then CLAHE, then shift and rotation.

    Chance comes from the seed, the name and the copy's number alone: neither the order of
    images, nor worker processes, nor a global random state change a copy.

    Args:
        image: Any size, mode "L" or "RGB"; to follow the protocol, already a square.
        augmentation: How far it may be changed.
        name: The image's id.
        copy: Number of the copy, from 0.

    Returns:
        An image of the same size and mode.
    """
    draw = _draw(augmentation, name, copy)
    return _moved(_equalised(_coloured(image, draw.colours), draw.clip_limit), draw)


def augmented_masks(
    masks: np.ndarray, augmentation: Augmentation, *, name: str, copy: int
) -> np.ndarray:
    """Regions of an image after the shift and rotation that `augmented` applies to it.

    ``masks`` are boolean, shape (C, height, width), of the image as `augmented` is given it, and
    come back so; what comes in from outside belongs to no region.
    """
    draw = _draw(augmentation, name, copy)
    grey = [Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks]
    moved = [_moved(mask, draw, InterpolationMode.NEAREST) for mask in grey]
    return np.stack([np.asarray(mask) > 0 for mask in moved])


def use_one_thread(_worker: int = 0) -> None:
    """Keep OpenCV to one thread in a worker process, of which there are many already.

    The number is 0, "no threads", on purpose: in a process forked from one that has used
    OpenCV's threads, 1 waits for ever for threads that the fork has not taken over.
    """
    cv2.setNumThreads(0)


def _draw(augmentation: Augmentation, name: str, copy: int) -> _Draw:
    """Draw everything always, so that one setting does not change what another one draws."""
    digest = hashlib.sha256(f"{augmentation.seed}\0{copy}\0{name}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    order = [list(_COLOUR)[place] for place in rng.permutation(len(_COLOUR))]
    # Hue is turned by an amount, the others are multiplied by a factor.
    widths = [(kind, getattr(augmentation, kind)) for kind in order]
    colours = tuple((k, rng.uniform(-width, width) + (k != "hue")) for k, width in widths)
    clip_limit = rng.uniform(1, augmentation.clahe_limit)
    x, y = rng.uniform(-augmentation.shift, augmentation.shift, 2)
    angle = rng.uniform(-augmentation.rotation, augmentation.rotation)
    has_colours = rng.random() < augmentation.colour_probability
    has_clahe = rng.random() < augmentation.clahe_probability
    return _Draw(colours if has_colours else (), clip_limit if has_clahe else None, (x, y), angle)


def _coloured(image: Image.Image, colours: tuple[tuple[str, float], ...]) -> Image.Image:
    for name, amount in colours:
        if image.mode == "RGB" or name in _GREY:
            image = _COLOUR[name](image, amount)
    return image


def _equalised(image: Image.Image, clip_limit: float | None) -> Image.Image:
    """CLAHE on grey values, of a colour image on its lightness (L of Lab), as published.

    Lightness is no straight line of grey: a grey image saved as RGB is equalised a little
    otherwise than the same one saved as grey.
    """
    if clip_limit is None:
        return image
    clahe = cv2.createCLAHE(clip_limit, (TILES, TILES))
    if image.mode == "L":
        return Image.fromarray(clahe.apply(np.asarray(image)))
    values = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2Lab)
    values[..., 0] = clahe.apply(values[..., 0])
    return Image.fromarray(cv2.cvtColor(values, cv2.COLOR_Lab2RGB))


def _moved(
    image: Image.Image, draw: _Draw, interpolation: InterpolationMode = InterpolationMode.BILINEAR
) -> Image.Image:
    return functional.affine(
        image,
        angle=draw.angle,
        translate=[share * size for share, size in zip(draw.shift, image.size, strict=True)],
        scale=1.0,
        shear=[0.0, 0.0],
        interpolation=interpolation,
        fill=0,
    )
