"""Every figure of the book, in one style: opaque white, no text smaller than 8 points."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from fetalclip_nb.data.images import read_square
from fetalclip_nb.results.formats import readable
from fetalclip_nb.stats.classification import Predictions
from fetalclip_nb.stats.scores import Score

COLOURS = sns.color_palette("colorblind")

WIDTH = 7.5
"""Width of a figure in inches."""

NARROW = 0.7 * WIDTH
"""Width in inches at which text of 9 points is still read on a telephone."""

MARKERS = "osD^vP*Xph<>"

STYLES = ["-", (0, (5, 1)), "-.", (0, (1, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 3))]
"""Line styles that tell curves apart without their colour."""


def use_style() -> None:
    """Set the book's matplotlib style."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=0.85)
    mpl.rcParams |= {
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "figure.dpi": 110,
        "savefig.bbox": "tight",
        "axes.titlesize": "medium",
        # Names of files and classes and sentences are a user's: a $ in them begins no formula.
        "text.parse_math": False,
    }


def colours() -> Iterator[tuple]:
    """The palette over and over, so that no row or curve is left out for want of a colour."""
    return cycle(COLOURS)


def image_grid(
    images: Sequence[Path | Image.Image],
    titles: Sequence[str],
    *,
    columns: int = 5,
    size: float = 1.5,
) -> Figure:
    """Images in rows, in grey, with titles.

    Args:
        images: Files, shown as the encoder is given them (squares with black borders), or images.
        titles: One short title an image.
        columns: Images in a row.
        size: Side of an image in inches.
    """
    rows = max(1, -(-len(images) // columns))
    figure, axes = plt.subplots(
        rows, columns, figsize=(columns * size, rows * (size + 0.3)), squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, title in zip(axes.flat, images, titles, strict=False):
        square = image if isinstance(image, Image.Image) else read_square(image)
        axis.imshow(square.convert("L"), cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=8)
    figure.tight_layout()
    return figure


def confusion(predictions: Predictions, title: str = "") -> Figure:
    """Confusion matrix: rows are the classes with images, columns all that could be chosen."""
    counts = predictions.confusion[predictions.present]
    rows = [predictions.classes[i] for i in predictions.present]
    shares = counts / counts.sum(1, keepdims=True)
    figure, axis = plt.subplots(figsize=(WIDTH, 0.55 * len(rows) + 1.6))
    sns.heatmap(
        pd.DataFrame(shares, rows, predictions.classes),
        annot=counts,
        fmt=",d",
        cmap="Blues",
        vmin=0,
        vmax=1,
        ax=axis,
        cbar_kws={"label": "share of the true class"},
    )
    axis.set(xlabel="predicted", ylabel="true", title=title)
    axis.tick_params(axis="x", rotation=30)
    axis.tick_params(axis="y", rotation=0)
    figure.tight_layout()
    return figure


def score_bars(scores: Mapping[str, Mapping[str, Score]], *, label: str) -> Figure:
    """Grouped points with intervals: one group a class, one colour a model.

    Args:
        scores: Model to class to score.
        label: Name of the vertical axis, with its unit.
    """
    classes = list(next(iter(scores.values())))
    figure, axis = plt.subplots(figsize=(WIDTH, 3.2))
    offsets = np.linspace(-0.2, 0.2, len(scores)) if len(scores) > 1 else [0.0]
    style = {"fmt": "o", "ms": 4, "capsize": 2}
    for (model, row), offset, colour in zip(scores.items(), offsets, colours(), strict=False):
        values, errors = _in_percent(row[name] for name in classes)
        x = np.arange(len(classes)) + offset
        axis.errorbar(x, values, errors, color=colour, label=model, **style)
    axis.set_xticks(range(len(classes)), classes, rotation=25, ha="right")
    axis.set(ylabel=label, ylim=(-2, 102))
    axis.grid(visible=False, axis="x")
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
    figure.tight_layout()
    return figure


def forest(
    scores: Mapping[str, Score], *, label: str, reference: float | None = None, counts: bool = False
) -> Figure:
    """One line a predictor: value and interval in percent, with a dashed reference.

    Args:
        scores: Name to score.
        label: Name of the horizontal axis, with its unit (%).
        reference: A score from 0 to 1 to compare with.
        counts: Whether each name is followed by its number of images or clips.
    """
    names = [f"{name} (n = {score.n:,})" if counts else name for name, score in scores.items()]
    figure, axis = plt.subplots(figsize=(WIDTH, 0.36 * len(scores) + 1.1))
    y = np.arange(len(scores))[::-1]
    values, errors = _in_percent(scores.values())
    axis.errorbar(values, y, xerr=errors, fmt="o", color=COLOURS[0], elinewidth=2)
    for value, position in zip(values, y, strict=True):
        _write_number(axis, value, position, 5)
    if reference is not None:
        axis.axvline(100 * reference, color="black", ls="--", lw=1)
    axis.set_yticks(y, names)
    axis.set(xlabel=label, xlim=(-3, 103), ylim=(-0.6, len(scores) - 0.3))
    figure.tight_layout()
    return figure


def _in_percent(scores: Iterable[Score], whole: float = 100) -> tuple[np.ndarray, np.ndarray]:
    """Values (N,) and the lengths of their error bars (2, N)."""
    ends = np.array([(each.low, each.value, each.high) for each in scores]).reshape(-1, 3)
    low, value, high = whole * ends.T
    return value, np.maximum([value - low, high - value], 0)


def _write_number(axis: plt.Axes, x: float, y: float, shift: int) -> None:
    """A value with one decimal, so many points above its mark."""
    axis.annotate(
        f"{x:.1f}", (x, y), xytext=(0, shift), textcoords="offset points", ha="center", fontsize=8
    )


def structure_bars(scores: Mapping[str, Mapping[str, Score]], *, label: str) -> Figure:
    """One row a structure, and in it a point with its interval for each model, in percent.

    The horizontal axis spans the scores, not 0 to 100: models differ by little.

    Args:
        scores: Model to structure to score from 0 to 1; NaN, or no score, has no point.
        label: Name of the horizontal axis, with its unit (%).
    """
    structures = list(dict.fromkeys(name for found in scores.values() for name in found))
    height = len(structures) * (0.14 * len(scores) + 0.16)
    figure, axis = plt.subplots(figsize=(NARROW, height + 1.2))
    draw_rows(axis, scores, structures)
    for row in range(1, len(structures)):
        axis.axhline(row - 0.5, color="0.8", lw=0.8)
    axis.set_yticks(range(len(structures)), [readable(name) for name in structures])
    axis.set_xlabel(label)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)
    figure.tight_layout()
    return figure


def draw_rows(
    axis: plt.Axes,
    scores: Mapping[str, Mapping[str, Score]],
    rows: Sequence[str],
    whole: float = 100,
) -> None:
    """Draw one row a name, the first on top, and in it a point with its interval for each model.

    Args:
        axis: Where to draw.
        scores: Model to name to score; NaN, or no score, has no point.
        rows: Names.
        whole: What a score of 1 is shown as.
    """
    step = 0.7 / max(len(scores), 2)
    styles = zip(scores.items(), colours(), cycle(MARKERS), strict=False)
    for i, ((model, of_model), colour, marker) in enumerate(styles):
        known = [row for row, name in enumerate(rows) if name in of_model]
        values, errors = _in_percent((of_model[rows[row]] for row in known), whole)
        y = np.array(known) + (i - (len(scores) - 1) / 2) * step
        axis.errorbar(values, y, xerr=errors, fmt=marker, ms=5, color=colour, label=model)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


def run_distribution(values: Mapping[str, np.ndarray], *, xlabel: str) -> Figure:
    """One row a predictor: a point a run, with their mean and the range of 95 % of them.

    Args:
        values: Name to the score of each run from 0 to 1, shape (H,).
        xlabel: Name of the horizontal axis, with its unit (%).
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 0.5 * len(values) + 1.1))
    rows = np.arange(len(values))[::-1]
    for y, runs, colour in zip(rows, values.values(), colours(), strict=False):
        runs = 100 * np.asarray(runs)
        # The same scatter for every row and every drawing.
        scatter = np.random.default_rng(0).uniform(-0.18, 0.18, runs.size)
        axis.plot(runs, y + scatter, "o", ms=4, mew=0, color=colour, alpha=0.45)
        axis.plot(np.percentile(runs, [2.5, 97.5]), [y - 0.3] * 2, color=colour, lw=2)
        axis.plot(runs.mean(), y - 0.3, "D", ms=5, color=colour, mec="white")
        _write_number(axis, runs.mean(), y - 0.3, -11)
    axis.set_yticks(rows, list(values))
    axis.set(xlabel=xlabel, ylim=(-0.8, len(values) - 0.6))
    figure.tight_layout()
    return figure
