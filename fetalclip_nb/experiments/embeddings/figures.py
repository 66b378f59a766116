"""Figures of embeddings: maps coloured by what is known of the images, and cluster scores."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from fetalclip_nb.experiments.embeddings.collection import Collection
from fetalclip_nb.experiments.embeddings.projections import Maps
from fetalclip_nb.growth import DAYS_PER_WEEK
from fetalclip_nb.results.figures import COLOURS, WIDTH, draw_rows
from fetalclip_nb.stats.scores import Score

PANELS = {"purity": "purity (0 to 1)", "silhouette": "silhouette", "ari": "adjusted Rand index"}
"""Scores of `cluster_panels` and the names of their axes."""

_INK = 800  # area of all points of a map, in square points per square inch


def panels(
    coordinates: Mapping[str, np.ndarray],
    known: Mapping[str, Sequence],
    *,
    axes: str = "",
    seed: int = 0,
) -> Figure:
    """Small multiples of a map: one row a model, one column a property that gives the colour.

    Points are drawn in random order, so that no class hides another because it comes later.
    Text gets a colour a value and a legend, numbers a colour bar.

    Args:
        coordinates: Title of a row to points, float of shape (N, 2).
        known: Title of a column to one text or number a point, N of them.
        axes: What the axes are ("UMAP"); they have no unit and no ticks.
        seed: Seed of the drawing order.
    """
    known = {title: np.asarray(values) for title, values in known.items()}
    rows, columns = len(coordinates), len(known)
    wide = WIDTH if columns > 1 else 0.6 * WIDTH
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(wide, rows * (min(wide / columns, 3.4) + 0.1) + 1.2),
        squeeze=False,
        layout="constrained",
    )
    for row, (name, points) in zip(grid, coordinates.items(), strict=True):
        order = np.random.default_rng(seed).permutation(len(points))
        for axis, values in zip(row, known.values(), strict=True):
            _draw(axis, points[order], values[order])
        row[0].set_ylabel(f"{name}\n{axes}".strip(), fontsize=9)
    for column, (title, values) in zip(grid.T, known.items(), strict=True):
        column[0].set_title(title, fontsize=9)
        _explain(figure, column, values, title)
    return figure


def head_maps(maps: Maps, collection: Collection, *, seed: int = 0) -> Figure:
    """UMAP of the heads that count, by age in weeks and by size in the picture."""
    table = collection.head_table
    points = {name: rows[collection.counted] for name, rows in maps.umaps("heads").items()}
    known = {
        "age (weeks)": table["days"].to_numpy() / DAYS_PER_WEEK,
        "circumference in the picture (px)": table["pixels"].to_numpy(),
    }
    return panels(points, known, axes="UMAP", seed=seed)


def cluster_panels(scores: Mapping[str, Mapping[str, Score]], labellings: Sequence[str]) -> Figure:
    """One panel a score, one line a labelling, one marker a model; grey is the chance level.

    Args:
        scores: Model to scores named LABELLING/SCORE.
        labellings: Names of the lines, such as "planes"; what has no score has no marker and no
            chance level.
    """
    figure, axes = plt.subplots(
        1,
        len(PANELS),
        figsize=(WIDTH, (0.2 * len(scores) + 0.16) * len(labellings) + 1.3),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    first = next(iter(scores.values()))
    for axis, (name, title) in zip(axes[0], PANELS.items(), strict=True):
        keys = {labelling: f"{labelling}/{name}" for labelling in labellings}
        for line, key in enumerate(keys.values()):
            chance = first.get(f"{key}_chance")
            level = chance.value if chance else 0.0
            if key in first:
                axis.plot([level] * 2, [line - 0.42, line + 0.42], color="0.55", lw=2, zorder=1)
        values = {
            model: {line: of_model[key] for line, key in keys.items() if key in of_model}
            for model, of_model in scores.items()
        }
        draw_rows(axis, values, labellings, whole=1)
        axis.set_xlabel(title)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, fontsize=9)
    return figure


def _draw(axis: plt.Axes, points: np.ndarray, values: np.ndarray) -> None:
    width, height = axis.figure.get_size_inches()
    rows, columns = axis.get_gridspec().get_geometry()
    size = float(np.clip(_INK * (width / columns) * (height / rows) / len(points), 2, 16))
    if _is_text(values):
        palette = _palette(values)
        style = {"c": [palette[value] for value in values]}
    else:
        style = {"c": values, "cmap": "viridis", "norm": _scale(values)}
    axis.scatter(*points.T, s=size, linewidths=0, alpha=0.8, rasterized=True, **style)
    axis.set(xticks=[], yticks=[])


def _explain(figure: Figure, column: np.ndarray, values: np.ndarray, title: str) -> None:
    """Legend or colour bar below the last map of a column."""
    if not _is_text(values):
        picture = plt.cm.ScalarMappable(_scale(values), "viridis")
        figure.colorbar(picture, ax=list(column), label=title, location="bottom", shrink=0.9)
        return
    palette = _palette(values)
    handles = [plt.Line2D([], [], marker="o", ls="", ms=5, color=c) for c in palette.values()]
    column[-1].legend(
        handles,
        palette,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.02),
        fontsize=8,
        ncols=1 if len(handles) <= 4 else 2,
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.6,
    )


def _palette(values: np.ndarray) -> dict[str, tuple]:
    """A colour a value, in the order of their names; no colour twice."""
    names = sorted(set(values.tolist()))
    palette = COLOURS if len(names) <= len(COLOURS) else sns.husl_palette(len(names))
    return dict(zip(names, palette, strict=False))


def _scale(values: np.ndarray) -> Normalize:
    return Normalize(float(np.nanmin(values)), float(np.nanmax(values)))


def _is_text(values: np.ndarray) -> bool:
    return not np.issubdtype(values.dtype, np.number)
