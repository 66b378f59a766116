"""Overlays of maps on images, one file each, whose names say what the model answered."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image

from fetalclip_nb.errors import ParameterError

WEIGHT = 0.5
"""Of the map's colours in the published overlays."""

COLOUR_MAP = "inferno"
"""Ours: black over violet and orange to yellow, in equal steps; readable without colour."""

# Characters in a file name, of which file systems allow about 255 in all.
_LONGEST_ID = 120

_LONGEST_CLASS = 40


class Shown(NamedTuple):
    """Images with their maps and the model's answers.

    Attributes:
        images: Grey from 0 to 1, float32 of shape (n, S, S).
        maps: From 0 to 1, shape (n, S, S).
        probabilities: Shape (n, C).
        classes: C names.
        targets: Class of each image, whose map it is; n integers.
        ids: Name of each image.
    """

    images: np.ndarray
    maps: np.ndarray
    probabilities: np.ndarray
    classes: list[str]
    targets: list[int]
    ids: list[str]

    def rows_of(self, name: str) -> np.ndarray:
        """Rows of the images of a class."""
        return np.flatnonzero(np.array(self.classes)[self.targets] == name)


def grey_square(square: Image.Image, side: int) -> np.ndarray:
    """One square image in grey, float32 of shape (side, side) from 0 to 1."""
    small = square.convert("L").resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small, dtype=np.float32) / 255


def overlay(
    image: np.ndarray, importance: np.ndarray, weight: float = WEIGHT, *, colours: str = "ours"
) -> np.ndarray:
    """A grey image under the colours of its map.

    Each pixel is weight x colour + (1 - weight) x grey. Our colours are those of matplotlib's
    inferno, in which equal steps of the map look equal: the map darkens what it calls
    unimportant and lights up what it calls important. The published ones are OpenCV's JET, a
    rainbow, which shows edges where the map has none; the picture is then as bright as can be.

    Args:
        image: 0 for black to 1 for white, shape (S, S).
        importance: The map from 0 to 1, shape (S, S).
        weight: Of the colours, 0 to 1.
        colours: "ours" or "published".

    Returns:
        float64 of shape (S, S, 3), from 0 to 1.

    Raises:
        ParameterError: If the weight is not from 0 to 1.

    Source: Weight and JET as published (FetalCLIP, arXiv 2502.14807).

    >>> overlay(np.array([[0.2, 0.6]]), np.array([[0.0, 1.0]]), weight=0).round(1).tolist()
    [[[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]]]
    """
    if not 0 <= weight <= 1:
        raise ParameterError("Weight of the map is not from 0 to 1", where="weight", found=weight)
    if colours == "published":
        levels = (255 * np.asarray(importance)).astype(np.uint8)
        shades = cv2.applyColorMap(levels, cv2.COLORMAP_JET)[..., ::-1] / 255  # BGR to RGB
    else:
        shades = mpl.colormaps[COLOUR_MAP](np.asarray(importance, dtype=np.float64))[..., :3]
    mixed = weight * shades + (1 - weight) * np.asarray(image, dtype=np.float64)[..., None]
    return mixed / (mixed.max() or 1) if colours == "published" else mixed.clip(0, 1)


def save_all(
    folder: Path, shown: Mapping[str, Shown], *, weight: float = WEIGHT, colours: str = "published"
) -> None:
    """Write each overlay as ``TASK/CLASS_-_IMAGE_-_PREDICTED_-_PERCENT.png``.

    Args:
        folder: Made if it is not there. Other files in it are left alone.
        shown: Task to images, maps and answers.
        weight: See `overlay`.
        colours: See `overlay`.

    Source: Order of a name's parts and weight as published (FetalCLIP, arXiv 2502.14807).
    """
    for task, of_task in shown.items():
        (folder / task).mkdir(parents=True, exist_ok=True)
        names = file_names(of_task.probabilities, of_task.classes, of_task.targets, of_task.ids)
        for name, image, importance in zip(names, of_task.images, of_task.maps, strict=True):
            values = np.rint(255 * overlay(image, importance, weight, colours=colours))
            Image.fromarray(values.astype(np.uint8)).save(folder / task / name)


def file_names(
    probabilities: np.ndarray, classes: Sequence[str], targets: Sequence[int], ids: Sequence[str]
) -> list[str]:
    """Names of overlay files: ``CLASS_-_IMAGE_-_PREDICTED_-_PERCENT.png``, no two alike.

    The four parts have letters, digits, points, underscores and hyphens only; whatever else a
    name or an id has becomes a hyphen, and what is too long for a file name is cut. Images that
    would then share a name, be it in other letters' case, are numbered. Arguments are those of
    `Shown`.

    >>> file_names(np.array([[0.1, 0.9]]), ["brain", "lips_nose"], [0], ["../Patient 1/a"])
    ['brain_-_Patient-1-a_-_lips_nose_-_90.00.png']
    """
    found: dict[str, str] = {}
    for row, target, name in zip(probabilities, targets, ids, strict=True):
        first = int(row.argmax())
        base = _part(name, _LONGEST_ID)
        true, predicted = (_part(classes[i], _LONGEST_CLASS) for i in (target, first))
        pattern = f"{true}_-_{{}}_-_{predicted}_-_{100 * row[first]:.2f}.png"
        number, end = 1, ""
        while pattern.format(base + end).lower() in found:
            number += 1
            end = f"-{number}"
        name = pattern.format(base + end)
        found[name.lower()] = name
    return list(found.values())


def _part(text: str, longest: int) -> str:
    """A part of a file name, never empty, with nothing that a file system or a path reads."""
    plain = re.sub(r"_?-[_-]*", "-", re.sub(r"[^A-Za-z0-9._]+", "-", str(text))).strip("-._")
    return plain[:longest].rstrip("-._") or "unnamed"
