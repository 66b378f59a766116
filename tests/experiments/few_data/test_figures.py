"""Curves show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fetalclip_nb.experiments.few_data.figures import (
    class_curves,
    head_curves,
    score_curves,
    spread,
)
from fetalclip_nb.stats.scores import RunScores, Score
from helpers import legend_of, line_of

pytestmark = pytest.mark.usefixtures("figure_style")


def score(value, low, high):
    return Score(value, low, high, value, 9, 9)


def drawn(value, low, high, sets=5):
    return RunScores(np.full(sets, value), score(value, low, high), sets)


def test_few_sets_are_points_and_no_band():
    found = RunScores(np.array([0.0, 0.2, 0.3, 0.5]), score(0.25, 0.2, 0.3), sets=2)
    _, axis = plt.subplots()
    score_curves(axis, {"a": {2: found}}, {}, ylabel="")
    assert not axis.collections
    assert axis.lines[0].get_ydata() == pytest.approx([10, 40])


def test_curves_draw_zero_shot_in_the_models_colour():
    curves = {
        "a": {8: drawn(0.6, 0.5, 0.7), 2: drawn(0.3, 0.2, 0.4)},
        "b": {2: drawn(0.1, 0, 0.2)},
    }
    level = {"b": score(0.5, 0.4, 0.55)}
    _, axis = plt.subplots()
    score_curves(axis, curves, level, ylabel="macro F1 (%)", baseline=", zero-shot")
    assert line_of(axis, "a").get_xdata() == pytest.approx([2, 8])
    assert line_of(axis, "a").get_ydata() == pytest.approx([30, 60])
    level = line_of(axis, "b, zero-shot")
    assert level.get_ydata() == pytest.approx([50, 50]) and level.get_linestyle() == "--"
    assert level.get_color() == line_of(axis, "b").get_color() != line_of(axis, "a").get_color()
    assert axis.lines[-1].get_ydata() == pytest.approx([40, 55])
    assert axis.get_xscale() == "log" and axis.get_ylabel() == "macro F1 (%)"
    assert [t.get_text() for t in axis.get_xticklabels()] == ["2", "8"]
    band = axis.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == pytest.approx((20, 70))


def test_no_model_is_left_out_however_many_there_are():
    runs = RunScores(np.array([0.2, 0.4]), score(0.3, 0.2, 0.4))
    names = [f"m{i}" for i in range(25)]
    tasks = "six_planes", "brain_subplanes"
    curves = {(name, task): {2: {"f1_macro": runs}} for name in names for task in tasks}
    zero_shot = {key: {"f1_macro": runs} for key in curves}
    above, axis = class_curves(curves, zero_shot).axes
    assert "brain subplanes" in above.get_ylabel() and "six planes" in axis.get_ylabel()
    assert legend_of(axis) == [*names, *(f"{name}, zero-shot" for name in names)]
    rows = spread(curves, "six_planes", "m3").axes[0]
    assert [text.get_text() for text in rows.get_yticklabels()] == ["2 patients"]


def test_heads_stand_beside_the_mean_mask():
    curves = {("m", "head"): {2: {"dsc": RunScores(np.array([0.3]), score(0.3, 0.2, 0.4))}}}
    axis = head_curves(curves, score(0.8, 0.7, 0.9)).axes[0]
    assert legend_of(axis) == ["m", "mean mask"]
    assert line_of(axis, "mean mask").get_ydata() == pytest.approx([80, 80])
