"""Do the pixels that a map calls important matter to the model? Deletion and insertion.

Take the most important pixels away and the probability should fall early (deletion); show
only them and it should rise early (insertion). A map that is no better than chance has the
curves of a random one.

Source: Petsiuk, Das and Saenko, RISE (arXiv 1806.07421), section 4.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import torch
from PIL import Image

from fetalclip_nb.errors import ParameterError, ShapeError

BLUR = 0.1
"""Standard deviation of the blur as a share of the image's side: no structure survives it."""

Probabilities = Callable[[torch.Tensor], np.ndarray]
"""Preprocessed pictures (n, 3, S, S) to probabilities (n, C)."""


def backgrounds(
    pixels: torch.Tensor, preprocess: Callable[[Image.Image], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What stands where a picture's pixels are not.

    For insertion it is a blur. A picture on black would be something new for the model from
    the first pixel on: hard edges everywhere, no image around them. The blurred picture has its
    brightness and its sector but none of its structures, so that what is shown on it is what
    raises the probability.

    For deletion it is the same blur, or black, a constant as published. Black is itself a
    picture that the model gives to some class, and the images of that class never lose their
    probability. With the same blur for both, insertion is deletion backwards, so that random
    maps have a difference of 0 on average: chance has a known level.

    Args:
        pixels: Preprocessed pictures, float32 of shape (N, 3, S, S).
        preprocess: The model's preparation of an image; it says what black becomes.

    Returns:
        "deletion" and "insertion", the blur, of the shape of the pixels; "black" (3, S, S).
    """
    blur = blurred(pixels)
    black = preprocess(Image.new("L", tuple(pixels.shape[-2:])))
    return {"deletion": blur, "insertion": blur, "black": black}


def blurred(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures without their structures, float32 of shape (N, 3, S, S) as they were."""
    planes = pixels.permute(0, 2, 3, 1).cpu().numpy()
    width = BLUR * pixels.shape[-1]
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), width) for plane in planes])
    return torch.from_numpy(soft).permute(0, 3, 1, 2).contiguous()


def faithfulness_curves(
    score: Probabilities,
    pixels: torch.Tensor,
    maps: np.ndarray,
    targets: np.ndarray,
    grounds: Mapping[str, torch.Tensor],
    *,
    steps: int = 20,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, np.ndarray]:
    """Probability of each image's class while its pixels go, or come, by their importance.

    Equal pixels (a map that is cut off at 0 has many) go in random order: in the order of
    rows, their place in the picture would decide. The order of image i depends on the seed
    and on i alone, so that several maps of the same images are compared under the same chance.

    Args:
        score: Probabilities of preprocessed pictures.
        pixels: Preprocessed pictures, float32 of shape (N, 3, S, S).
        maps: Importance of each pixel, shape (N, S, S), or (S, S) for one map of all images; or
            R maps of each image, shape (R, N, S, S), whose curves are averaged: what chance
            does to a single random map then weighs less.
        targets: Class of each image, integers of shape (N,).
        grounds: Mode to background, see `backgrounds`. In "insertion" the most important k of
            all steps' pixels are shown on it; in any other mode it takes their place.
        steps: Number K of equal parts of the pixels.
        seed: Of the order of equal pixels.
        batch_size: Pictures that are scored at once; images and steps share batches.

    Returns:
        Mode to float64 of shape (N, K + 1), from none of the pixels to all of them.

    Raises:
        ParameterError: If there is no step.
        ShapeError: If a map is not finite.
    """
    if steps < 1:
        raise ParameterError("No step to take", where="steps", expected="1 or more", found=steps)
    if not np.isfinite(maps).all():
        raise ShapeError("Maps are not finite", where="maps")
    draws = maps if np.ndim(maps) == 4 else [np.broadcast_to(maps, pixels[:, 0].shape)]
    ranks = [torch.from_numpy(pixel_ranks(each, seed=seed)) for each in draws]
    counts = torch.linspace(0, ranks[0][0].numel(), steps + 1).round().int()

    def curves(each: torch.Tensor, first: torch.Tensor, later: torch.Tensor) -> np.ndarray:
        found = np.empty((len(pixels), steps + 1))
        for start in range(0, found.size, batch_size):
            numbers = np.arange(start, min(start + batch_size, found.size))
            image, step = np.divmod(numbers, steps + 1)
            is_first = each[image] < counts[step][:, None, None]
            chances = score(torch.where(is_first[:, None], first[image], later[image]))
            found[image, step] = chances[np.arange(len(image)), np.asarray(targets)[image]]
        return found

    found = {}
    for mode, background in grounds.items():
        background = background.to(pixels.dtype).expand_as(pixels)
        order = (pixels, background) if mode == "insertion" else (background, pixels)
        found[mode] = np.mean([curves(each, *order) for each in ranks], axis=0)
    return found


def pixel_ranks(maps: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Place of each pixel by falling importance, equal ones in random order.

    Args:
        maps: Shape (N, S, S).
        seed: Of the order of equal pixels.

    Returns:
        int32 of shape (N, S, S): 0 for the most important pixel of an image.

    >>> pixel_ranks(np.array([[[0.1, 0.9], [0.5, 0.2]]])).tolist()
    [[[3, 0], [1, 2]]]
    """
    flat = np.reshape(maps, (len(maps), -1))
    chance = np.random.default_rng(seed).random(flat.shape)
    order = np.lexsort((chance, -flat), axis=-1)
    return np.argsort(order, axis=-1).astype(np.int32).reshape(np.shape(maps))
