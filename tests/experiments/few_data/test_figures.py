"""Curves show the numbers they are given."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from fetalclip_nb.experiments.few_data.figures import few_data_curves


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def line(axis, label):
    (found,) = [each for each in axis.lines if each.get_label() == label]
    return found


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


def test_no_model_is_left_out_however_many_there_are():
    names = [f"m{i}" for i in range(25)]
    table = pd.DataFrame([(name, 2, 0.3, 0.2, 0.4) for name in names])
    table.columns = ["model", "patients", "value", "low", "high"]
    zero_shot = dict.fromkeys(names, (0.5, 0.4, 0.55))
    axis = few_data_curves(table, zero_shot, ylabel="x").axes[0]
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts == [*names, *(f"{name}, zero-shot" for name in names)]
