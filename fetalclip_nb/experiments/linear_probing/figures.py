"""Figures of probes: calibration and ROC curves."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fetalclip_nb.results.figures import MARKERS, STYLES, WIDTH, colours
from fetalclip_nb.stats.scores import Score


def reliability_diagram(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy against claimed probability, above the share of predictions that claim it.

    Args:
        tables: Name to a table as given by `calibration.reliability`.
    """
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(0.7 * WIDTH, 6), sharex=True, height_ratios=(3, 1)
    )
    above.plot([0, 100], [0, 100], color="black", ls="--", lw=1, label="as claimed")
    for (name, table), colour, marker in zip(
        tables.items(), colours(), cycle(MARKERS), strict=False
    ):
        filled = table[table["share"] > 0]
        above.plot(
            *(100 * filled[column] for column in ("confidence", "accuracy")),
            marker=marker,
            ms=5,
            color=colour,
            label=name,
        )
        edges = [*table["low"], table["high"].iloc[-1]]
        below.stairs(100 * table["share"], 100 * np.array(edges), color=colour, lw=1.5)
    above.set(ylabel="right answers (%)", ylim=(-3, 103))
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    below.set(xlabel="probability of the predicted class (%)", ylabel="predictions (%)")
    below.set(xlim=(0, 101), ylim=(0, None))
    figure.tight_layout()
    return figure


def roc_curves(points: Mapping[str, pd.DataFrame], scores: Mapping[str, Score]) -> Figure:
    """Mean ROC curves with the range of 95 % of the runs, AUROC and interval in the legend.

    Args:
        points: Name to a table as given by `ranking.roc_points`.
        scores: Name to its AUROC.
    """
    figure, axis = plt.subplots(figsize=(0.75 * WIDTH, 0.85 * WIDTH))
    axis.plot([0, 100], [0, 100], color="black", ls="--", lw=1, label="chance")
    for (name, table), colour, style in zip(points.items(), colours(), cycle(STYLES), strict=False):
        # A curve starts where nothing is called positive.
        table = 100 * pd.concat([pd.DataFrame(0.0, [0], table.columns), table])
        x, found = table["false_positive_rate"], scores[name]
        axis.fill_between(x, table["low"], table["high"], color=colour, alpha=0.12, lw=0)
        interval = f"{100 * found.low:.1f} to {100 * found.high:.1f}"
        label = f"{name}: AUROC {100 * found.value:.1f} % ({interval})"
        axis.plot(x, table["true_positive_rate"], color=colour, ls=style, lw=2, label=label)
    axis.set(xlabel="false-positive rate (%)", xlim=(-1, 101), aspect="equal")
    axis.set(ylabel="true-positive rate (%)", ylim=(-1, 101))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8, handlelength=4)
    figure.tight_layout()
    return figure
