"""Phantom images for pretraining: drawn once, kept as one array, drawn on in augmented batches."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from fetalclip_nb.data.images import pad_to_square
from fetalclip_nb.experiments.gestational_age.ages import stated_spacing
from fetalclip_nb.experiments.pretraining import captions
from fetalclip_nb.experiments.pretraining.recipe import Recipe
from fetalclip_nb.files import cached, key
from fetalclip_nb.phantoms.clips import draw_clip
from fetalclip_nb.phantoms.heart import DEFECTS
from fetalclip_nb.phantoms.picture import VERSION, draw
from fetalclip_nb.phantoms.writer import draw_all

STORED_PIXELS = 128
"""Side of a stored picture; twice the model's input, so that zooming in stays sharp."""

PLANES = tuple(captions.NOUNS)

BRAIN_PLANES = tuple(captions.PART_NOUNS["brain"])

HEARTS = dict(zip((None, *DEFECTS), captions.PART_NOUNS["thorax"], strict=True))
"""Defect of a phantom heart, None for a normal one, and the part that its captions name."""

PARTS = (*BRAIN_PLANES, *HEARTS.values())

BRAIN = PLANES.index("brain")

OTHERS = tuple(plane for plane in PLANES if plane != "brain")

CLIP = "four-chamber clip"


@dataclass(frozen=True)
class Pool:
    """Drawn phantoms: one row an image, each image of another patient.

    Attributes:
        images: Zero-padded squares, uint8 of shape (N, 128, 128).
        plane: Index into ``PLANES``, int64 of shape (N,).
        part: Index into ``PARTS``, -1 where the image shows none, int64 (N,).
        clip: Whether the image is a frame of a four-chamber clip, bool (N,).
        age_days: Gestational age in days, int64 (N,).
        hc_mm: Head circumference in mm, NaN where the image is no head, float64 (N,).
        spacing_mm: Pixel spacing that a caption states at zoom 1, in mm, float64 (N,).
    """

    images: np.ndarray
    plane: np.ndarray
    part: np.ndarray
    clip: np.ndarray
    age_days: np.ndarray
    hc_mm: np.ndarray
    spacing_mm: np.ndarray


def cached_pool(folder: Path, recipe: Recipe, workers: int) -> Pool:
    """Return the pool from ``folder``, drawing it on the first call."""
    size = {name: getattr(recipe, name) for name in ("heads", "others", "hearts", "seed")}
    name = f"phantoms-{key([VERSION, size, STORED_PIXELS, PLANES, PARTS])}.npz"
    return cached(
        Path(folder) / name,
        lambda: draw_pool(recipe, workers),
        lambda file: Pool(**np.load(file)),
        lambda file, pool: np.savez(file, **vars(pool)),
    )


def draw_pool(recipe: Recipe, workers: int = 1) -> Pool:
    """Draw the pictures of a pool: brains, the other planes in turn, frames of clips.

    Args:
        recipe: Seed and numbers of pictures; patients of different seeds are different.
        workers: Processes that draw; the pictures do not depend on it.
    """
    others = [OTHERS[i % len(OTHERS)] for i in range(recipe.others)]
    planes = ["brain"] * recipe.heads + others + [CLIP] * recipe.hearts
    jobs = [(recipe.seed, index, plane) for index, plane in enumerate(planes)]
    rows = draw_all(_draw_row, jobs, recipe.seed, workers)
    return Pool(*map(np.array, zip(*rows, strict=True)))


def _draw_row(_: np.random.Generator, job: tuple) -> tuple:
    """Draw one phantom; its randomness depends on the job's seed and index only.

    Brains show their sub-planes in turn, one in ten shows none of them.
    """
    seed, index, plane = job
    rng = np.random.default_rng([seed, index])
    if plane == CLIP:
        return _heart_row(index, rng)
    sub_plane = "Other" if index % 10 == 9 else BRAIN_PLANES[index % len(BRAIN_PLANES)]
    phantom = draw(plane, rng, brain_plane=sub_plane if plane == "brain" else None)
    if plane == "other" and phantom.detail["view"] in PLANES:
        plane = phantom.detail["view"]
    height, width = phantom.image.shape
    return (
        stored_picture(phantom.image),
        PLANES.index(plane),
        PARTS.index(sub_plane) if phantom.brain_plane in BRAIN_PLANES else -1,
        False,
        phantom.patient.age_days,
        np.nan if phantom.hc_mm is None else phantom.hc_mm,
        float(stated_spacing(width, height, phantom.pixel_mm)),
    )


def _heart_row(index: int, rng: np.random.Generator) -> tuple:
    """A frame of a clip, every second one with a defect; no caption states age or spacing."""
    defect = DEFECTS[(index // 2) % len(DEFECTS)] if index % 2 else None
    picture = draw_clip(rng, frames=1, defect=defect)[0]
    part = PARTS.index(HEARTS[defect])
    return stored_picture(picture), PLANES.index("thorax"), part, True, 0, np.nan, np.nan


def stored_picture(image: np.ndarray) -> np.ndarray:
    """Pad a grey picture, uint8 (H, W), to a centred square and shrink it to (128, 128)."""
    square = pad_to_square(Image.fromarray(image))
    size = (STORED_PIXELS, STORED_PIXELS)
    return np.asarray(square.resize(size, Image.Resampling.BICUBIC))


def augment(
    pictures: torch.Tensor, zoom: torch.Tensor, size: int, generator: torch.Generator
) -> torch.Tensor:
    """Vary position and tone of stored pictures and bring them to the model's input size.

    Args:
        pictures: uint8 of shape (N, S, S).
        zoom: Magnification of each picture, float32 of shape (N,).
        size: Side of the model's input in pixels.
        generator: Source of randomness.

    Returns:
        Grey values from 0 to 1, float32 of shape (N, 1, size, size).
    """
    grey = pictures[:, None].float() / 255
    grid = functional.affine_grid(_affine(zoom, generator), list(grey.shape), align_corners=False)
    grey = functional.grid_sample(grey, grid, align_corners=False)
    grey = _change_tone(grey, generator)
    grey = functional.interpolate(
        grey, size=(size, size), mode="bicubic", antialias=True, align_corners=False
    )
    return _degrade(grey, generator).clamp(0, 1)


def _affine(zoom: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip, rotate by a few degrees, shift and zoom, as sampling matrices (N, 2, 3)."""
    n = len(zoom)
    angle = torch.randn(n, generator=generator) * 0.14
    flip_x = 1 - 2 * torch.randint(2, (n,), generator=generator)
    flip_y = 1 - 2 * (torch.rand(n, generator=generator) < 0.25).float()
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * 0.16
    rows = torch.stack(
        [flip_x * cos, -flip_x * sin, shift[:, 0], flip_y * sin, flip_y * cos, shift[:, 1]], dim=1
    )
    return rows.reshape(n, 2, 3)


def _change_tone(grey: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vary gain, its course over the field, grey map and contrast, and cover a corner at times."""
    n, side = len(grey), grey.shape[-1]

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator) * (high - low) + low

    coarse = torch.randn(n, 1, 4, 4, generator=generator) * uniform(0, 0.3)
    course = functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    grey = grey.clamp(1e-4, 1) ** (2 ** uniform(-0.45, 0.45)) * (uniform(-0.3, 0.3) + course).exp()
    haze = uniform(-0.04, 0.05) * (grey > 0.02)
    covered = torch.rand(n, generator=generator) < 0.15
    corner = (0.65 * side + torch.rand(n, 2, generator=generator) * 0.35 * side).long()
    grey = grey + haze
    for i in covered.nonzero().flatten().tolist():
        grey[i, :, corner[i, 0] :, corner[i, 1] :] = 0
    return grey


def _degrade(grey: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur a quarter of the pictures and roughen the speckle of another quarter."""
    n = len(grey)
    chance = torch.rand(n, 1, 1, 1, generator=generator)
    kernel = torch.tensor([1.0, 2.0, 1.0])
    kernel = (kernel[:, None] * kernel / 16)[None, None]
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    grey = torch.where(chance < 0.25, functional.conv2d(padded, kernel), grey)
    noise = torch.randn(grey.shape, generator=generator) * 0.3 * grey
    return torch.where(chance > 0.75, grey + noise, grey)
