"""Outlines of structures on an image: annotated solid, predicted dashed, numbered."""

from collections.abc import Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from fetalclip_nb.results.figures import COLOURS
from fetalclip_nb.results.formats import readable

_ON_GREY = [COLOURS[i] for i in (9, 8, 3, 6, 2, 1, 4, 5, 0)]
"""The palette's colours that stand out from an ultrasound image, the brightest first."""

_CASING = [withStroke(linewidth=2.4, foreground="black")]

_DASHES = (0, (2.2, 1.6))

_MARGIN = 0.08  # of the image's side, around what is outlined


def draw_outlines(axis: plt.Axes, true: np.ndarray, predicted: np.ndarray) -> None:
    """Draw the outlines of annotated and predicted regions, and crop the image to them.

    Each structure has a colour and, where there are several, a number that stands on its
    outline. A structure that is absent has no outline. Without any, the whole image is shown.

    Args:
        axis: Shows an image of side S.
        true: Annotated regions, bool of shape (C, S, S); solid lines.
        predicted: Predicted regions, bool of shape (C, S, S); dashed lines.
    """
    labels: list[np.ndarray] = []
    for i, (colour, *pair) in enumerate(zip(cycle(_ON_GREY), true, predicted, strict=False)):
        points = [
            _outline(axis, mask, colour, style)
            for mask, style in zip(pair, ("-", _DASHES), strict=True)
        ]
        outline = next((each for each in points if len(each)), None)
        if outline is not None and len(true) > 1:
            labels.append(_free(outline, labels))
            _number(axis, labels[-1], i + 1, colour)
    (left, right), (top, bottom) = _window((true | predicted).any(axis=0))
    axis.set(xlim=(left, right), ylim=(bottom, top))


def structure_lines(structures: Sequence[str]) -> list[Line2D]:
    """Lines of a legend: one a structure, then how annotated and predicted ones look."""
    numbers = [f"{i}  " if len(structures) > 1 else "" for i in range(1, len(structures) + 1)]
    lines = [
        Line2D([], [], color=colour, label=number + readable(name), path_effects=_CASING)
        for name, number, colour in zip(structures, numbers, cycle(_ON_GREY), strict=False)
    ]
    styles = (("annotated", "-"), ("predicted", _DASHES))
    return lines + [Line2D([], [], color="black", ls=ls, label=name) for name, ls in styles]


def _window(shown: np.ndarray) -> np.ndarray:
    """Ends of the square around a region, ((left, right), (top, bottom)), within its image."""
    full = len(shown)
    if not shown.any():
        return np.full((2, 2), (0, full)) - 0.5
    ends = np.array([np.flatnonzero(shown.any(axis))[[0, -1]] for axis in (0, 1)])
    side = min(full, np.ptp(ends, axis=1).max() + 1 + 2 * _MARGIN * full)
    start = np.clip(ends.mean(axis=1) + 0.5 - side / 2, 0, full - side)
    return np.stack([start, start + side], axis=1) - 0.5


def _outline(axis: plt.Axes, mask: np.ndarray, colour: tuple, style: str | tuple) -> np.ndarray:
    """Draw a region's outline; its points, float (points, 2), none where the region is empty."""
    if not mask.any():
        return np.zeros((0, 2))
    # A rim outside the image closes the outline of a region that touches its edge.
    at = np.arange(-1, len(mask) + 1)
    lines = axis.contour(
        at, at, np.pad(mask, 1).astype(float), [0.5], colors=[colour], linestyles=[style],
        linewidths=1.2,
    )  # fmt: skip
    lines.set_path_effects(_CASING)
    return lines.get_paths()[0].vertices


def _free(points: np.ndarray, labels: Sequence[np.ndarray]) -> np.ndarray:
    """The point that is farthest from the labels that are already there."""
    if not labels:
        return points[points[:, 1].argmin()]
    apart = np.linalg.norm(points[:, None] - np.array(labels), axis=-1).min(axis=1)
    return points[apart.argmax()]


def _number(axis: plt.Axes, at: np.ndarray, number: int, colour: tuple) -> None:
    axis.text(
        *at, str(number), color=colour, fontsize=9, weight="bold", ha="center", va="center",
        path_effects=_CASING,
    )  # fmt: skip
