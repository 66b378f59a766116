"""Figures of ages: heat map of similarities, growth chart, error by stratum."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from fetalclip_nb.growth import AGES_DAYS, gestational_age, head_circumference
from fetalclip_nb.results.figures import COLOURS, WIDTH


def age_heat_map(similarity: np.ndarray, hc_mm: np.ndarray) -> Figure:
    """Similarity over age for heads sorted by true circumference, with the age each one implies.

    Similarities, 100 x cosine, have the shape (N, 175), circumferences in mm (N,).
    """
    order = np.argsort(hc_mm)
    rows = similarity[order]
    # Each row on its own scale: what matters is which age is preferred for this head.
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    weeks = AGES_DAYS / 7
    figure, axis = plt.subplots(figsize=(WIDTH, 4.2))
    picture = axis.imshow(
        (rows - low) / np.maximum(high - low, 1e-9),
        aspect="auto",
        cmap="magma",
        extent=(weeks[0], weeks[-1], len(rows) - 0.5, -0.5),
        interpolation="nearest",
    )
    axis.plot(gestational_age(hc_mm[order]) / 7, np.arange(len(rows)), color="cyan", lw=1.5)
    ticks = np.linspace(0, len(rows) - 1, 6).astype(int)
    axis.set_yticks(ticks, [f"{hc_mm[order][i]:.0f}" for i in ticks])
    axis.set(xlabel="age named in the caption (weeks)", ylabel="true head circumference (mm)")
    axis.grid(visible=False)
    figure.colorbar(picture, label="similarity, scaled per image")
    figure.tight_layout()
    return figure


def growth_chart(predicted: Mapping[str, np.ndarray], hc_mm: np.ndarray) -> Figure:
    """Predicted age against true circumference, over the 2.5-97.5 % band that counts as valid.

    Ages by name are in days, circumferences in mm, each of shape (N,).
    """
    figure, axes = plt.subplots(1, len(predicted), figsize=(WIDTH, 3.6), sharey=True, squeeze=False)
    weeks = AGES_DAYS / 7
    for axis, (name, ages) in zip(axes.flat, predicted.items(), strict=True):
        low, high = (head_circumference(AGES_DAYS, c) for c in (2.5, 97.5))
        axis.fill_between(weeks, low, high, color=COLOURS[2], alpha=0.25, label="valid")
        axis.plot(weeks, head_circumference(AGES_DAYS), color=COLOURS[2], lw=1)
        axis.plot(ages / 7, hc_mm, ".", ms=4, color=COLOURS[0], alpha=0.6)
        axis.set(xlabel="predicted age (weeks)", title=name)
    axes[0, 0].set_ylabel("true head circumference (mm)")
    figure.tight_layout()
    return figure
