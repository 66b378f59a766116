"""Learning curves as a figure."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fetalclip_nb.experiments.few_data.curves import Curves, ZeroShot
from fetalclip_nb.results.figures import MARKERS, WIDTH, colours, run_distribution
from fetalclip_nb.results.formats import readable
from fetalclip_nb.stats.scores import FEWEST_SETS, RunScores, Score


def class_curves(curves: Curves, zero_shot: ZeroShot) -> Figure:
    """Macro F1 of each model's probes by number of training patients, beside its zero-shot.

    One panel a task, the last one, the finest, above.
    """
    tasks = [*dict.fromkeys(name for _, name in curves)][::-1]
    figure, axes = plt.subplots(len(tasks), 1, figsize=(WIDTH, 4.2 * len(tasks)), squeeze=False)
    for axis, task in zip(axes[:, 0], tasks, strict=True):
        points = {
            model: {n: scores["f1_macro"] for n, scores in found.items()}
            for (model, name), found in curves.items()
            if name == task
        }
        of_task = {model: found for (model, name), found in zero_shot.items() if name == task}
        levels = {model: found["f1_macro"].score for model, found in of_task.items()}
        label = f"macro F1, {readable(task)} (%)"
        score_curves(axis, points, levels, ylabel=label, baseline=", zero-shot")
    figure.tight_layout()
    return figure


def head_curves(curves: Curves, mean_mask: Score) -> Figure:
    """Pooled DSC of heads by number of training patients, beside the mean mask's."""
    points = {
        model: {n: scores["dsc"] for n, scores in found.items()}
        for (model, _), found in curves.items()
    }
    figure, axis = plt.subplots(figsize=(WIDTH, 4.2))
    score_curves(axis, points, {"mean mask": mean_mask}, ylabel="pooled DSC, heads (%)")
    figure.tight_layout()
    return figure


def spread(curves: Curves, task: str, model: str) -> Figure:
    """Macro F1 of every probe of a model, one row a number of training patients."""
    rows = {f"{n} patients": found["f1_macro"].values for n, found in curves[model, task].items()}
    return run_distribution(rows, xlabel=f"macro F1, {readable(task)} (%)")


def score_curves(
    axis: plt.Axes,
    curves: Mapping[str, Mapping[int, RunScores]],
    levels: Mapping[str, Score],
    *,
    ylabel: str,
    baseline: str = "",
) -> None:
    """Draw scores over the number of training patients, with what needs none as a dashed line.

    Args:
        axis: Where to.
        curves: Model to number of patients to score, from 0 to 1; where fewer than five sets were
            drawn, a point a set stands in place of the interval.
        levels: Model to score without training; a model of the curves keeps its colour, and
            its interval stands at the right edge.
        ylabel: Name of the vertical axis, with its unit (%).
        baseline: What is appended to the models' names for the dashed lines.
    """
    names = list(dict.fromkeys([*curves, *levels]))
    colour_of = dict(zip(names, colours(), strict=False))
    for (name, points), marker in zip(curves.items(), cycle(MARKERS), strict=False):
        style, found = {"color": colour_of[name]}, [points[n] for n in sorted(points)]
        low, value, high = (
            100 * np.array([(f.score.low, f.score.value, f.score.high) for f in found]).T
        )
        if not 0 < min(each.sets for each in found) < FEWEST_SETS:
            axis.fill_between(sorted(points), low, high, alpha=0.15, lw=0, **style)
        else:
            for n, each in zip(sorted(points), found, strict=True):
                axis.plot([n] * each.sets, 100 * each.of_sets, "_", ms=8, **style)
        axis.plot(sorted(points), value, marker=marker, ms=5, label=name, **style)
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
