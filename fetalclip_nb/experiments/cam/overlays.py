"""Overlays of maps on images, one file each, whose names say what the model answered."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from PIL import Image

from fetalclip_nb.errors import ParameterError

WEIGHT = 0.5
"""Of the map's colours in the published overlays."""

COLOUR_MAP = "inferno"
"""Black over violet and orange to yellow, in steps that look equal; readable without colour."""

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


def overlay(image: np.ndarray, importance: np.ndarray, weight: float = WEIGHT) -> np.ndarray:
    """A grey image under the colours of its map.

    Each pixel is weight x colour + (1 - weight) x grey: the map darkens what it calls
    unimportant and lights up what it calls important. The colours are those of matplotlib's
    inferno, in which equal steps of the map look equal; rainbow colours would show edges
    where the map has none.

    Args:
        image: 0 for black to 1 for white, shape (S, S).
        importance: The map from 0 to 1, shape (S, S).
        weight: Of the colours, 0 to 1.

    Returns:
        float64 of shape (S, S, 3), from 0 to 1.

    Raises:
        ParameterError: If the weight is not from 0 to 1.

    Source: Weight as published (FetalCLIP, arXiv 2502.14807); the colours are our choice.

    >>> overlay(np.array([[0.2, 0.6]]), np.array([[0.0, 1.0]]), weight=0).round(1).tolist()
    [[[0.2, 0.2, 0.2], [0.6, 0.6, 0.6]]]
    """
    if not 0 <= weight <= 1:
        raise ParameterError("Weight of the map is not from 0 to 1", where="weight", found=weight)
    colours = mpl.colormaps[COLOUR_MAP](np.asarray(importance, dtype=np.float64))[..., :3]
    mixed = weight * colours + (1 - weight) * np.asarray(image, dtype=np.float64)[..., None]
    return mixed.clip(0, 1)


def save_all(folder: Path, shown: Mapping[str, Shown], *, weight: float = WEIGHT) -> None:
    """Write each overlay as ``TASK/CLASS_IMAGE_PREDICTED_CONFIDENCE.png``.

    Args:
        folder: Made if it is not there. Other files in it are left alone.
        shown: Task to images, maps and answers.
        weight: See `overlay`.

    Source: File names and weight as published (FetalCLIP, arXiv 2502.14807).
    """
    for task, of_task in shown.items():
        (folder / task).mkdir(parents=True, exist_ok=True)
        names = file_names(of_task.probabilities, of_task.classes, of_task.targets, of_task.ids)
        for name, image, importance in zip(names, of_task.images, of_task.maps, strict=True):
            values = np.rint(255 * overlay(image, importance, weight)).astype(np.uint8)
            Image.fromarray(values).save(folder / task / name)


def file_names(
    probabilities: np.ndarray, classes: Sequence[str], targets: Sequence[int], ids: Sequence[str]
) -> list[str]:
    """Names of overlay files: ``CLASS_IMAGE_PREDICTED_CONFIDENCE.png``, no two alike.

    The four parts have small letters, digits, points and hyphens only; whatever else a name or
    an id has becomes a hyphen, and what is too long for a file name is cut. Images that would
    then share a name are numbered. Arguments are those of `Shown`.

    >>> file_names(np.array([[0.1, 0.9]]), ["brain", "lips_nose"], [0], ["../Patient 1/a"])
    ['brain_patient-1-a_lips-nose_0.900.png']
    """
    found: dict[str, None] = {}
    for row, target, name in zip(probabilities, targets, ids, strict=True):
        first = int(row.argmax())
        base = _part(name, _LONGEST_ID)
        true, predicted = (_part(classes[i], _LONGEST_CLASS) for i in (target, first))
        pattern, number, end = f"{true}_{{}}_{predicted}_{row[first]:.3f}.png", 1, ""
        while pattern.format(base + end) in found:
            number += 1
            end = f"-{number}"
        found[pattern.format(base + end)] = None
    return list(found)


def _part(text: str, longest: int) -> str:
    """A part of a file name, never empty, with nothing that a file system or a path reads."""
    plain = re.sub(r"[^a-z0-9.]+", "-", str(text).lower()).strip("-.")
    return plain[:longest].rstrip("-.") or "unnamed"
