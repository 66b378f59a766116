"""Learning curves as a figure."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fetalclip_nb.results.figures import MARKERS, WIDTH, colours


def few_data_curves(
    table: pd.DataFrame,
    zero_shot: Mapping[str, tuple[float, float, float]],
    *,
    ylabel: str,
    baseline: str = "zero-shot",
) -> Figure:
    """Score over the number of training patients, with zero-shot as a dashed line.

    Args:
        table: Columns model, patients, value, low, high; scores from 0 to 1.
        zero_shot: Model to value, low and high; a model of the table keeps its colour, and
            its interval stands at the right edge.
        ylabel: Name of the vertical axis, with its unit (%).
        baseline: What the dashed lines are, appended to the model's name; "" for nothing.
    """
    figure, axis = plt.subplots(figsize=(WIDTH, 4.2))
    ending = f", {baseline}" if baseline else ""
    names = list(dict.fromkeys([*table["model"], *zero_shot]))
    colour_of = dict(zip(names, colours(), strict=False))
    for (name, rows), marker in zip(
        table.groupby("model", sort=False), cycle(MARKERS), strict=False
    ):
        rows = rows.sort_values("patients")
        low, value, high = (100 * rows[column] for column in ("low", "value", "high"))
        axis.fill_between(rows["patients"], low, high, color=colour_of[name], alpha=0.15, lw=0)
        axis.plot(rows["patients"], value, marker=marker, ms=5, color=colour_of[name], label=name)
    sizes = sorted(table["patients"].unique())
    for i, (name, ends) in enumerate(zero_shot.items()):
        value, low, high = 100 * np.array(ends)
        axis.axhline(value, color=colour_of[name], ls="--", lw=1.2, label=f"{name}{ending}")
        edge = sizes[-1] * 2 ** (0.15 + 0.12 * i)
        axis.plot([edge] * 2, [low, high], color=colour_of[name], lw=2, solid_capstyle="butt")
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axis.set_xlim(right=sizes[-1] * 2 ** (0.25 + 0.12 * len(zero_shot)))
    axis.set(xlabel="training patients (as many again for validation)", ylabel=ylabel)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
    figure.tight_layout()
    return figure
