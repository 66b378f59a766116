"""Figures of segmentation: outlines on images, agreement of measurements, losses, scores."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from fetalclip_nb.experiments.segmentation.outlines import draw_outlines, structure_lines
from fetalclip_nb.experiments.segmentation.scores import MEAN_MASK, Examples, Outcomes, Scores
from fetalclip_nb.results.figures import (
    COLOURS,
    MARKERS,
    NARROW,
    colours,
    image_grid,
    run_distribution,
    structure_bars,
)
from fetalclip_nb.stats.scores import Score


def overlays(examples: Examples, *, columns: int = 3, size: float = 2.6) -> Figure:
    """Images with the outlines of every structure, as `draw_outlines` draws them, and a legend.

    Each image is cropped to its outlines with a margin, so that small structures can be told
    apart.

    Args:
        examples: What to show.
        columns: Images in a row; two are still read on a telephone where there are many
            structures.
        size: Side of an image in inches.
    """
    columns = min(columns, len(examples.images))
    pictures = [Image.fromarray(image) for image in examples.images]
    figure = image_grid(pictures, examples.titles, columns=columns, size=size)
    for axis, *masks in zip(figure.axes, examples.true, examples.predicted, strict=False):
        axis.title.set_fontsize(10)
        draw_outlines(axis, *masks)
    lines = structure_lines(examples.structures)
    figure.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.02),
        ncols=max(1, min(len(lines), int(columns * size / 1.9))),
        fontsize=10,
        handlelength=3,
    )
    return figure


def bland_altman(heads: pd.DataFrame, limits: Mapping[str, Score]) -> Figure:
    """Difference against mean of measured and true circumferences, with limits of agreement.

    Images that could not be measured have no point; the title counts them. Points beyond the
    limits are crosses.

    Args:
        heads: One row an image: measured_mm (NaN where there is none) and true_mm.
        limits: "bias", and the limits "low" and "high", in mm, with their intervals, which are
            drawn as bands.

    Source: Bland and Altman, Lancet 327 (1986) 307-310.
    """
    measured, true = heads["measured_mm"].to_numpy(), heads["true_mm"].to_numpy()
    known = np.isfinite(measured)
    mean, difference = ((measured + true) / 2)[known], (measured - true)[known]
    low, high = limits["low"].value, limits["high"].value
    outside = (difference < low) | (difference > high)
    figure, axis = plt.subplots(figsize=(NARROW, 4.4))
    for name, colour, style in (("bias", 0, "-"), ("high", 1, "--"), ("low", 1, "--")):
        limit = limits[name]
        if np.isnan(limit.value):
            continue
        axis.axhspan(limit.low, limit.high, color=COLOURS[colour], alpha=0.2, lw=0)
        ends = f"{_signed(limit.low)} to {_signed(limit.high)}"
        text = f"{_LINES[name]} {_signed(limit.value)} mm ({ends})"
        axis.axhline(limit.value, color=COLOURS[colour], ls=style, lw=1.6, label=text)
    axis.plot(mean[~outside], difference[~outside], "o", ms=4, mew=0, color="0.25", alpha=0.7)
    text = f"outside the limits: {np.count_nonzero(outside)} of {known.sum()}"
    axis.plot(
        mean[outside], difference[outside], "X", ms=7, color=COLOURS[3], mec="white", label=text
    )
    axis.set_title(f"{known.sum():,} measured, {np.count_nonzero(~known):,} not measured")
    axis.set_xlabel("mean of measured and true head circumference (mm)")
    axis.set_ylabel("measured − true (mm)")
    axis.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        fontsize=9,
        title="line: value (its 95 % interval, the band)",
        title_fontsize=9,
    )
    figure.tight_layout()
    return figure


_LINES = {"bias": "bias", "low": "lower 95 % limit", "high": "upper 95 % limit"}


def losses(outcomes: Outcomes, task: str) -> Figure:
    """Validation loss by epoch: mean and range over the decoders of a task, one line a model.

    After an early stop a decoder no longer counts: later means are of those still trained.
    """
    runs_of = {model: of_task.losses for (model, name), of_task in outcomes.items() if name == task}
    figure, axis = plt.subplots(figsize=(NARROW, 3.6))
    for (name, runs), colour, marker in zip(
        runs_of.items(), colours(), cycle(MARKERS), strict=False
    ):
        trained = np.flatnonzero(~np.isnan(runs).all(axis=0))
        epochs, runs = trained + 1, runs[:, trained]
        low, mean, high = (f(runs, axis=0) for f in (np.nanmin, np.nanmean, np.nanmax))
        axis.fill_between(epochs, low, high, color=colour, alpha=0.18, lw=0)
        axis.plot(
            epochs,
            mean,
            marker=marker,
            ms=5,
            markevery=max(1, epochs.size // 10),
            color=colour,
            label=name,
        )
    longest = max(np.shape(runs)[1] for runs in runs_of.values())
    axis.set(xlabel="epoch", ylabel=f"Dice loss, validation {task}s", xlim=(0.5, longest + 0.5))
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=9)
    figure.tight_layout()
    return figure


def structures(scores: Scores, models: Sequence[str]) -> Figure:
    """Pooled DSC of all structures of all tasks, a marker for each model and the mean mask."""
    pooled = {
        model: {
            f"{task}: {kind.removeprefix('dsc/')}": score.score
            for (other, task), group in scores.items()
            for kind, score in group.items()
            if other == model and kind.startswith("dsc/")
        }
        for model in (*models, MEAN_MASK)
    }
    return structure_bars(pooled, label="pooled DSC (%)")


def spread(scores: Scores, task: str) -> Figure:
    """Pooled DSC of every decoder of a task, one row a model."""
    values = {model: group["dsc"].values for (model, name), group in scores.items() if name == task}
    return run_distribution(values, xlabel=f"pooled DSC, {task}s (%)")


def _signed(value: float) -> str:
    """A number with its sign, as axes write it.

    >>> _signed(-1.25), _signed(0.31)
    ('−1.2', '+0.3')
    """
    return f"{value:+.1f}".replace("-", "−")
