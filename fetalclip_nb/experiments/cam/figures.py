"""Figures of class activation maps: overlays, faithfulness curves, scores beside each other."""

import textwrap
from collections import ChainMap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fetalclip_nb.experiments.cam.overlays import WEIGHT, Shown, overlay
from fetalclip_nb.experiments.cam.scores import Units, mean_curve, of_measure
from fetalclip_nb.results.figures import COLOURS, STYLES, WIDTH, colours, structure_bars
from fetalclip_nb.results.formats import readable
from fetalclip_nb.stats.scores import Score

_COLUMNS = 8

_AXES = {
    "deletion": ("most important pixels removed (%)", "deletion: low is good"),
    "insertion": ("most important pixels shown (%)", "insertion: high is good"),
}


def class_overlays(
    shown: Shown, *names: str, most: int | None = None, columns: int = 5, weight: float = WEIGHT
) -> Figure:
    """Images of some classes, one class after the other, each with its overlay below it.

    Titles read CLASS, then an arrow, what was predicted and how probable it was; wrong
    predictions are red and bold.

    Args:
        shown: Images, maps and answers.
        names: Classes.
        most: Images of each; None for all.
        columns: Images in a row.
        weight: See `overlays.overlay`.
    """
    rows = np.concatenate([shown.rows_of(name)[:most] for name in names])
    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(1.5 * columns, 3.6 * lines), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, rows, strict=False):
        image, importance = shown.images[row], shown.maps[row]
        above, below = (overlay(image, importance, part) for part in (0, weight))
        gap = np.ones_like(above[: max(1, len(above) // 40)])
        axis.imshow(np.concatenate([above, gap, below]))
        _write_answer(axis, shown, row)
    figure.tight_layout(pad=0.3)
    return figure


def _write_answer(axis: plt.Axes, shown: Shown, row: int) -> None:
    """Title of an image: its class, what was predicted and how probable that was."""
    chances, target = shown.probabilities[row], shown.targets[row]
    first = int(chances.argmax())
    true, predicted = (readable(shown.classes[number]) for number in (target, first))
    right, wrong = {"color": "black"}, {"color": COLOURS[3], "weight": "bold"}
    style = right if first == target else wrong
    axis.set_title(f"{true}\n→ {predicted}\n{100 * chances[first]:.1f} %", fontsize=8, **style)


def one_of_each(
    shown: Shown, kinds: Mapping[str, np.ndarray], names: Sequence[str], *, weight: float = WEIGHT
) -> Figure:
    """The first image of each class under several kinds of maps: a column an image, a row a kind.

    The first kind has a second row, in the published colours.

    Args:
        shown: Images and answers.
        kinds: Kind of map to maps of these images, as `trial.all_kinds` gives them; of several
            maps of each image the first is shown.
        names: Classes; the first eight are shown.
        weight: See `overlays.overlay`.
    """
    names = names[:_COLUMNS]
    numbers = [shown.rows_of(name)[0] for name in names]
    first = next(iter(kinds))
    jet = "the same in the published colours"
    lines = {"image": np.zeros_like(shown.images), first: kinds[first], jet: kinds[first], **kinds}
    figure, axes = plt.subplots(
        len(lines), len(names), figsize=(1.4 * len(names), 1.4 * len(lines)), squeeze=False
    )
    for line, (kind, maps) in zip(axes, lines.items(), strict=True):
        part = 0 if kind == "image" else weight
        each = np.broadcast_to(maps[0] if maps.ndim == 4 else maps, shown.images.shape)
        for axis, number in zip(line, numbers, strict=True):
            colours = "published" if kind == jet else "ours"
            axis.imshow(overlay(shown.images[number], each[number], part, colours=colours))
            axis.set(xticks=[], yticks=[])
        label = textwrap.fill(kind.replace("-", "- "), 16).replace("- ", "-")
        line[0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(readable(name), fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def curve_figure(found: Mapping[str, Mapping[str, np.ndarray]], patients: np.ndarray) -> Figure:
    """Mean probability of the images' own classes while their pixels go and come.

    Args:
        found: Kind of map to "deletion" and "insertion" (and others, which are not drawn) to
            curves of shape (N, K + 1).
        patients: Patient of each image, shape (N,); bands are 95 % intervals over them.
    """
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.6), sharey=True)
    for axis, (mode, (label, title)) in zip(axes, _AXES.items(), strict=True):
        for i, ((kind, group), colour) in enumerate(zip(found.items(), colours(), strict=False)):
            low, mean, high = 100 * mean_curve(group[mode], patients)
            share = np.linspace(0, 100, mean.size)
            axis.fill_between(share, low, high, color=colour, alpha=0.15, lw=0)
            axis.plot(share, mean, color=colour, ls=STYLES[i % len(STYLES)], label=kind)
        axis.set(xlabel=label, title=title, xlim=(0, 100), ylim=(-2, 102))
    axes[0].set_ylabel("probability of the image's class (%)")
    figure.tight_layout()
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=3,
        fontsize=9,
        handlelength=3,
    )
    return figure


def class_forest(scores: Mapping[str, Units]) -> Figure:
    """One row a class (all images first), and in it a point with its interval a kind of map.

    Args:
        scores: Kind of map to scores that have a "difference" of each class.
    """
    label = "insertion − deletion (percentage points)"
    figure = structure_bars(_picked(scores, "difference"), label=label)
    figure.axes[0].axvline(0, color="black", ls="--", lw=1)
    return figure


def region_bars(scores: Mapping[str, Units], *, measure: str = "energy") -> Figure:
    """One row a structure, and in it a point a kind of map, beside the structure's area share.

    Args:
        scores: Kind of map to scores, as given by `tables.by_kind`.
        measure: "energy" or "pointing".
    """
    labels = {
        "energy": "share of the map inside the structure (%)",
        "pointing": "maps whose peak is inside the structure (%)",
    }
    areas = ChainMap(*_picked(scores, "area").values())
    points = _picked(scores, measure) | {"chance: share of the area": areas}
    return structure_bars(points, label=labels[measure])


def _picked(scores: Mapping[str, Units], measure: str) -> dict[str, dict[str, Score]]:
    """Scores of a measure by kind of map and by what follows its name."""
    return {kind: of_measure(group, measure) for kind, group in scores.items()}
