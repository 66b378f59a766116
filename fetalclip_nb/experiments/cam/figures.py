"""Figures of class activation maps: overlays, faithfulness curves, scores beside each other."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.cam.overlays import WEIGHT, Shown, overlay
from fetalclip_nb.experiments.cam.scores import mean_curve
from fetalclip_nb.results.figures import COLOURS, STYLES, WIDTH, colours, structure_bars
from fetalclip_nb.results.formats import readable
from fetalclip_nb.stats.scores import Score

_AXES = {
    "deletion": ("most important pixels removed (%)", "deletion: low is good"),
    "insertion": ("most important pixels shown (%)", "insertion: high is good"),
}

Results = Mapping[str, Mapping[str, Score]]
"""As result files take them: metric to {"patient": score}."""


def overlay_grid(
    images: np.ndarray,
    maps: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    targets: Sequence[int],
    *,
    rows: np.ndarray | None = None,
    columns: int = 5,
    size: float = 1.5,
    weight: float = WEIGHT,
) -> Figure:
    """Images, each with its overlay below it, with class, prediction and confidence.

    Titles read CLASS, then an arrow, what was predicted and how probable it was; wrong
    predictions are red and bold.

    Args:
        images: Grey from 0 to 1, shape (n, S, S).
        maps: From 0 to 1, shape (n, S, S).
        probabilities: Shape (n, C).
        classes: C names.
        targets: Class of each image; n integers.
        rows: Images to show, as indices or as a boolean mask; None for all.
        columns: Images in a row.
        size: Side of an image in inches.
        weight: See `overlay_files.overlay`.

    Raises:
        ParameterError: If the weight is not from 0 to 1.
    """
    shown = slice(None) if rows is None else rows
    images, maps, probabilities, targets = (
        np.asarray(part)[shown] for part in (images, maps, probabilities, targets)
    )
    columns = max(1, min(columns, len(images)))
    lines = max(1, -(-len(images) // columns))
    figure, axes = plt.subplots(
        lines, columns, figsize=(columns * size, lines * (2 * size + 0.6)), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, importance, row, target in zip(
        axes.flat, images, maps, np.asarray(probabilities), targets, strict=False
    ):
        above, below = (overlay(image, importance, part) for part in (0, weight))
        gap = np.ones_like(above[: max(1, len(above) // 40)])
        axis.imshow(np.concatenate([above, gap, below]).clip(0, 1))
        _answer(axis, row, classes, target)
    figure.tight_layout(pad=0.3)
    return figure


def class_overlays(
    shown: Shown, *names: str, most: int | None = None, columns: int = 5, weight: float = WEIGHT
) -> Figure:
    """`overlay_grid` of the images of some classes, one class after the other.

    Args:
        shown: Images, maps and answers.
        names: Classes.
        most: Images of each; None for all.
        columns: Images in a row.
        weight: See `overlays.overlay`.
    """
    labels = np.array(shown.classes)[shown.targets]
    rows = np.concatenate([np.flatnonzero(labels == name)[:most] for name in names])
    return overlay_grid(*shown, rows=rows, columns=columns, weight=weight)


def one_of_each(
    shown: Shown, kinds: Mapping[str, np.ndarray], names: Sequence[str], *, weight: float = WEIGHT
) -> Figure:
    """`map_rows` of the first image of each class.

    Args:
        shown: Images and answers.
        kinds: Kind of map to maps of these images, as `trial.all_kinds` gives them.
        names: Classes.
        weight: See `overlays.overlay`.
    """
    labels = np.array(shown.classes)[shown.targets]
    rows = np.array([np.flatnonzero(labels == name)[0] for name in names])
    some = {kind: maps if maps.ndim == 2 else maps[..., rows, :, :] for kind, maps in kinds.items()}
    return map_rows(shown.images[rows], some, list(names), weight=weight)


def map_rows(
    images: np.ndarray,
    kinds: Mapping[str, np.ndarray],
    titles: Sequence[str],
    *,
    size: float = 1.4,
    weight: float = WEIGHT,
) -> Figure:
    """The same images under several kinds of maps: a column an image, a row a kind.

    Args:
        images: Grey from 0 to 1, shape (n, S, S); they make the first row.
        kinds: Kind of map to maps from 0 to 1, shape (n, S, S) or (S, S); of several maps of
            each image, shape (R, n, S, S), the first is shown.
        titles: n titles of columns.
        size: Side of an image in inches.
        weight: See `overlay_files.overlay`.
    """
    rows = {"image": np.zeros_like(images), **kinds}
    figure, axes = plt.subplots(
        len(rows), len(images), figsize=(len(images) * size, len(rows) * size), squeeze=False
    )
    for line, (kind, maps) in zip(axes, rows.items(), strict=True):
        part = 0 if kind == "image" else weight
        each = np.broadcast_to(maps[0] if np.ndim(maps) == 4 else maps, np.shape(images))
        for axis, image, importance in zip(line, images, each, strict=True):
            axis.imshow(overlay(image, importance, part).clip(0, 1))
            axis.set(xticks=[], yticks=[])
        label = textwrap.fill(kind.replace("-", "- "), 16).replace("- ", "-")
        line[0].set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(readable(title), fontsize=9)
    figure.tight_layout(pad=0.3)
    return figure


def curve_figure(found: Mapping[str, Mapping[str, np.ndarray]], patients: np.ndarray) -> Figure:
    """Mean probability of the images' own classes while their pixels go and come.

    Args:
        found: Kind of map to "deletion" and "insertion" to curves of shape (N, K + 1).
        patients: Patient of each image, shape (N,); bands are 95 % intervals over them.
    """
    modes = list(next(iter(found.values())))
    figure, axes = plt.subplots(1, len(modes), figsize=(WIDTH, 3.6), sharey=True, squeeze=False)
    for axis, mode in zip(axes.flat, modes, strict=True):
        for i, ((kind, group), colour) in enumerate(zip(found.items(), colours(), strict=False)):
            low, mean, high = 100 * mean_curve(group[mode], patients)
            share = np.linspace(0, 100, mean.size)
            axis.fill_between(share, low, high, color=colour, alpha=0.15, lw=0)
            axis.plot(share, mean, color=colour, ls=STYLES[i % len(STYLES)], label=kind)
        axis.set(xlabel=_AXES[mode][0], title=_AXES[mode][1], xlim=(0, 100), ylim=(-2, 102))
    axes[0, 0].set_ylabel("probability of the image's class (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.tight_layout()
    figure.legend(
        handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9,
        handlelength=3,
    )  # fmt: skip
    return figure


def class_forest(scores: Mapping[str, Results], *, measure: str = "difference") -> Figure:
    """One row a class (all images first), and in it a point with its interval a kind of map.

    Args:
        scores: Kind of map to scores, as given by `faithfulness_scores.faithfulness_scores`.
        measure: "difference" (with a dashed line at 0), "insertion", "deletion", or the name
            of an advantage.

    Raises:
        DataError: If no kind of map has the measure.
    """
    labels = {
        "difference": "insertion − deletion (percentage points)",
        "insertion": "area under the insertion curve (%)",
        "deletion": "area under the deletion curve (%)",
    }
    label = labels.get(measure, f"{readable(measure)} (percentage points)")
    figure = structure_bars(_picked(scores, measure), label=label)
    if measure not in ("insertion", "deletion"):
        figure.axes[0].axvline(0, color="black", ls="--", lw=1)
    return figure


def region_bars(scores: Mapping[str, Results], *, measure: str = "energy") -> Figure:
    """One row a structure, and in it a point a kind of map, beside the structure's area share.

    Args:
        scores: Kind of map to scores, as given by `map_regions.region_scores`.
        measure: "energy" or "pointing".

    Raises:
        DataError: If no kind of map has the measure.
    """
    labels = {
        "energy": "share of the map inside the structure (%)",
        "pointing": "maps whose peak is inside the structure (%)",
    }
    found = _picked(scores, measure)
    areas = {
        name: score for each in _picked(scores, "area").values() for name, score in each.items()
    }
    return structure_bars({**found, "chance: share of the area": areas}, label=labels[measure])


def _picked(scores: Mapping[str, Results], measure: str) -> dict[str, dict[str, Score]]:
    """Scores of a measure by kind of map and by what follows its name."""
    start = f"{measure}/"
    found = {
        kind: {
            name.removeprefix(start): units["patient"]
            for name, units in group.items()
            if name.startswith(start)
        }
        for kind, group in scores.items()
    }
    if not any(found.values()):
        raise DataError(
            "No score to draw",
            where="scores",
            expected=f"{start}NAME",
            found=", ".join(sorted({name for group in scores.values() for name in group})),
        )
    return found


def _answer(axis: plt.Axes, row: np.ndarray, classes: Sequence[str], target: int) -> None:
    """Title of an image: its class, what was predicted and how probable that was."""
    first = int(row.argmax())
    is_wrong = first != target
    axis.set_title(
        f"{readable(classes[target])}\n→ {readable(classes[first])}\n{100 * row[first]:.1f} %",
        fontsize=8,
        color=COLOURS[3] if is_wrong else "black",
        weight="bold" if is_wrong else "normal",
    )
