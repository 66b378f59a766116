"""Learning curves as a figure."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fetalclip_nb.experiments.few_data.curves import Curves, ZeroShot
from fetalclip_nb.results.figures import MARKERS, WIDTH, colours, run_distribution
from fetalclip_nb.stats.scores import RunScores, Score

TITLES = {"six_planes": "six planes", "brain_subplanes": "brain sub-planes"}


def plane_curves(curves: Curves, zero_shot: ZeroShot, task: str) -> Figure:
    """Macro F1 of each model's probes by number of training patients, beside its zero-shot."""
    points = {
        model: column(found, "f1_macro") for (model, name), found in curves.items() if name == task
    }
    levels = {m: found["f1_macro"].score for (m, name), found in zero_shot.items() if name == task}
    label = f"macro F1, {TITLES[task]} (%)"
    return score_curves(points, levels, ylabel=label, baseline=", zero-shot")


def head_curves(curves: Curves, mean_mask: Score) -> Figure:
    """Pooled DSC of heads by number of training patients, beside the mean mask's."""
    points = {model: column(found, "dsc") for (model, _), found in curves.items()}
    return score_curves(points, {"mean mask": mean_mask}, ylabel="pooled DSC, heads (%)")


def spread(curves: Curves, task: str, model: str) -> Figure:
    """Macro F1 of every probe of a model, one row a number of training patients."""
    rows = {f"{n} patients": found["f1_macro"].values for n, found in curves[model, task].items()}
    return run_distribution(rows, xlabel=f"macro F1, {TITLES[task]} (%)")


def column(points: Mapping[int, Mapping[str, RunScores]], kind: str) -> dict[int, Score]:
    """One score at each number of training patients."""
    return {n: found[kind].score for n, found in points.items()}


def score_curves(
    curves: Mapping[str, Mapping[int, Score]],
    levels: Mapping[str, Score],
    *,
    ylabel: str,
    baseline: str = "",
) -> Figure:
    """Score over the number of training patients, with what needs none as a dashed line.

    Args:
        curves: Model to number of patients to score, from 0 to 1.
        levels: Model to score without training; a model of the curves keeps its colour, and
            its interval stands at the right edge.
        ylabel: Name of the vertical axis, with its unit (%).
        baseline: What is appended to the models' names for the dashed lines.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 4.2))
    names = list(dict.fromkeys([*curves, *levels]))
    colour_of = dict(zip(names, colours(), strict=False))
    for (name, points), marker in zip(curves.items(), cycle(MARKERS), strict=False):
        ends = np.array([(s.low, s.value, s.high) for _, s in sorted(points.items())])
        low, value, high = 100 * ends.T
        axis.fill_between(sorted(points), low, high, color=colour_of[name], alpha=0.15, lw=0)
        axis.plot(sorted(points), value, marker=marker, ms=5, color=colour_of[name], label=name)
    sizes = sorted({n for points in curves.values() for n in points})
    for i, (name, score) in enumerate(levels.items()):
        label = f"{name}{baseline}"
        axis.axhline(100 * score.value, color=colour_of[name], ls="--", lw=1.2, label=label)
        edge, ends = sizes[-1] * 2 ** (0.15 + 0.12 * i), [100 * score.low, 100 * score.high]
        axis.plot([edge] * 2, ends, color=colour_of[name], lw=2, solid_capstyle="butt")
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.set_xlim(right=sizes[-1] * 2 ** (0.25 + 0.12 * len(levels)))
    axis.set(xlabel="training patients (as many again for validation)", ylabel=ylabel)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
    figure.tight_layout()
    return figure
