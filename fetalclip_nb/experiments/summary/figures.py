"""The whole table as a picture."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from fetalclip_nb.experiments.summary.cells import PAPER, Cell
from fetalclip_nb.results.figures import NARROW

_BESIDE = 8
"""So many columns have room side by side."""


def heat_map(cells: Sequence[Cell]) -> Figure:
    """Tasks by models in percent: what this run measured, and beside it what was published.

    Args:
        cells: As given by `all_cells`.
    """
    columns = dict.fromkeys(cell.column for cell in cells)
    tasks = [column.name for column in columns]
    ours = pd.DataFrame(index=tasks, dtype=float)
    for cell in cells:
        if cell.row and cell.row.kind == "model":
            ours.loc[cell.column.name, cell.model] = 100 * cell.score.value
    known = {
        model: {c.name: 100 * c.published[model].value for c in columns if c.published}
        for model in PAPER
    }
    theirs = pd.DataFrame({m: values for m, values in known.items() if values}, index=tasks)
    drawn = {cell.row.synthetic for cell in cells if cell.row and cell.row.kind == "model"}
    images = {1: ", phantoms" * all(drawn), 2: ", phantoms in part"}.get(len(drawn), "")
    panels = {f"this run{images}": ours, "published": theirs}
    panels = {title: table for title, table in panels.items() if len(table.columns)}
    widths = [len(table.columns) for table in panels.values()]
    # Many models side by side would leave their numbers no room.
    beside = {"width_ratios": widths, "ncols": len(panels), "figsize": (NARROW, 5.2)}
    below = {"nrows": len(panels), "figsize": (NARROW, 9)}
    figure, axes = plt.subplots(
        **(beside if sum(widths) <= _BESIDE else below), sharey=True, squeeze=False
    )
    for axis, (title, table) in zip(axes.flat, panels.items(), strict=True):
        axis.set_facecolor("0.9")  # where nothing was measured
        style = {"cmap": "Blues", "vmin": 0, "vmax": 100, "cbar": False, "annot_kws": {"size": 9}}
        sns.heatmap(table, annot=True, fmt=".1f", linewidths=1, ax=axis, **style)
        for y, x in np.argwhere(table.isna()):
            axis.text(x + 0.5, y + 0.5, "–", ha="center", va="center", fontsize=9)
        axis.grid(visible=False)
        axis.set_title(title, fontsize=9)
        axis.tick_params(axis="x", rotation=90)
        axis.tick_params(axis="y", rotation=0)
    figure.tight_layout(w_pad=0.5)
    return figure
