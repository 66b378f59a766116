"""Figures of probes are looked at by people; here: that they show the numbers they are given."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.experiments.few_data.figures import few_data_curves
from fetalclip_nb.experiments.linear_probing.figures import (
    reliability_diagram,
    roc_curves,
)
from fetalclip_nb.results import figures
from fetalclip_nb.stats import calibration, ranking
from fetalclip_nb.stats.scores import Score


@pytest.fixture(autouse=True)
def closed():
    figures.use_style()
    yield
    plt.close("all")


def line(axis, label):
    (found,) = [each for each in axis.lines if each.get_label() == label]
    return found


def legend(axis):
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_run_distribution_shows_every_run_and_their_mean_in_percent():
    runs = {"a": np.linspace(0.4, 0.6, 5), "b": np.array([0.1, 0.3])}
    axis = figures.run_distribution(runs, xlabel="macro F1 (%)").axes[0]
    points, spread, mean = axis.lines[:3]
    assert points.get_xdata() == pytest.approx([40, 45, 50, 55, 60])
    assert np.round(points.get_ydata()).tolist() == [1] * 5
    assert spread.get_xdata() == pytest.approx(np.percentile([40, 45, 50, 55, 60], [2.5, 97.5]))
    assert mean.get_xdata() == pytest.approx([50])
    assert [t.get_text() for t in axis.texts] == ["50.0", "20.0"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    assert axis.get_xlabel() == "macro F1 (%)"


def test_reliability_diagram_leaves_empty_bins_out():
    logits = np.log([[[0.95, 0.05], [0.95, 0.05], [0.65, 0.35]]])
    table = calibration.reliability(logits, np.array([0, 1, 0]))
    above, below = reliability_diagram({"m": table}).axes
    assert line(above, "m").get_xdata() == pytest.approx([65, 95])
    assert line(above, "m").get_ydata() == pytest.approx([100, 50])
    heights = below.patches[0].get_data().values
    assert heights[[9, 13, 14]] == pytest.approx([100 / 3, 0, 200 / 3])
    assert legend(above) == ["as claimed", "m"]


def test_roc_curves_start_at_the_origin_and_name_the_auroc():
    logits = np.array([[[0, 4.0], [0, 3.0], [0, 2.0], [0, 1.0]]])
    points = ranking.roc_points(logits, np.array([1, 0, 1, 0]))
    found = {"m": Score(0.75, 0.5, 1.0, 0.75, 4, 4)}
    axis = roc_curves({"m": points}, found).axes[0]
    curve = line(axis, "m: AUROC 75.0 % (50.0 to 100.0)")
    assert (curve.get_xdata()[0], curve.get_ydata()[0]) == (0, 0)
    assert curve.get_ydata()[1:] == pytest.approx(100 * points["true_positive_rate"])
    assert len(axis.collections) == 1 and axis.get_xlabel() == "false-positive rate (%)"


def test_few_data_curves_draw_zero_shot_in_the_models_colour():
    rows = [("a", 8, 0.6, 0.5, 0.7), ("a", 2, 0.3, 0.2, 0.4), ("b", 2, 0.1, 0.0, 0.2)]
    table = pd.DataFrame(rows, columns=["model", "patients", "value", "low", "high"])
    zero_shot = {"b": (0.5, 0.4, 0.55)}
    axis = few_data_curves(table, zero_shot, ylabel="macro F1 (%)").axes[0]
    assert line(axis, "a").get_xdata().tolist() == [2, 8]
    assert line(axis, "a").get_ydata() == pytest.approx([30, 60])
    level = line(axis, "b, zero-shot")
    assert level.get_ydata() == pytest.approx([50, 50]) and level.get_linestyle() == "--"
    assert level.get_color() == line(axis, "b").get_color() != line(axis, "a").get_color()
    assert axis.lines[-1].get_ydata() == pytest.approx([40, 55])
    assert axis.get_xscale() == "log" and axis.get_ylabel() == "macro F1 (%)"
    assert [t.get_text() for t in axis.get_xticklabels()] == ["2", "8"]
    band = axis.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == pytest.approx((20, 70))


def test_no_row_or_curve_is_left_out_however_many_there_are():
    names = [f"m{i}" for i in range(25)]
    runs = {name: np.array([0.4, 0.6]) for name in names}
    rows = figures.run_distribution(runs, xlabel="x").axes[0]
    assert len(rows.lines) == 3 * 25 and len(rows.texts) == 25
    logits, labels = np.array([[[0, 4.0], [0, 3.0]]]), np.array([1, 0])
    reliable = {name: calibration.reliability(logits, labels) for name in names}
    above, below = reliability_diagram(reliable).axes
    assert legend(above) == ["as claimed", *names] and len(below.patches) == 25
    points = {name: ranking.roc_points(logits, labels) for name in names}
    one = Score(1.0, 1.0, 1.0, 1.0, 2, 2)
    curves = roc_curves(points, dict.fromkeys(names, one)).axes[0]
    assert len(curves.lines) == 1 + 25
    table = pd.DataFrame([(name, 2, 0.3, 0.2, 0.4) for name in names])
    table.columns = ["model", "patients", "value", "low", "high"]
    zero_shot = dict.fromkeys(names, (0.5, 0.4, 0.55))
    found = few_data_curves(table, zero_shot, ylabel="x").axes[0]
    assert legend(found) == [*names, *(f"{name}, zero-shot" for name in names)]
