"""Figures of segmentation are looked at by people; here: that they show what they are given."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fetalclip_nb.experiments.segmentation.figures import (
    bland_altman,
    losses,
    overlays,
    spread,
    structures,
)
from fetalclip_nb.experiments.segmentation.scores import Examples
from fetalclip_nb.stats.scores import RunScores, Score

pytestmark = pytest.mark.usefixtures("figure_style")


def score(value, low, high):
    return Score(value, low, high, value, 9, 9)


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def ends(collection):
    """Lowest and highest ordinate of a band."""
    box = collection.get_paths()[0].get_extents()
    return box.y0, box.y1


# overlays


def cases(k=4, c=2, side=16):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (k, side, side, 3), dtype=np.uint8)
    true = np.zeros((k, c, side, side), bool)
    true[:, :, 4:9, 4:9] = True
    return images, true, np.roll(true, 2, axis=-1)


def test_overlays_show_each_image_with_its_own_outlines_and_title():
    images, true, predicted = cases()
    true[1, 0] = predicted[1, 0] = predicted[2] = False
    figure = overlays(Examples(images, true, predicted, ["a_b", "LV"], list("wxyz")))
    assert [axis.get_title() for axis in figure.axes] == ["w", "x", "y", "z", "", ""]
    for axis, image in zip(figure.axes, images, strict=False):
        assert (axis.images[0].get_array() == np.asarray(Image.fromarray(image).convert("L"))).all()
    assert [len(axis.collections) for axis in figure.axes] == [4, 2, 2, 4, 0, 0]
    assert texts(figure.legends[0]) == ["1  a b", "2  LV", "annotated", "predicted"]
    solid = [
        [lines.get_linestyle()[0][1] is None for lines in axis.collections]
        for axis in figure.axes[:3]
    ]
    assert solid == [[True, False] * 2, [True, False], [True, True]]
    left = [lines.get_paths()[0].get_extents().x0 for lines in figure.axes[0].collections]
    assert left == [3.5, 5.5] * 2


def test_overlays_leave_no_empty_column():
    images, true, predicted = cases(k=2, c=1)
    two = Examples(images, true, predicted, ["head"], ["", ""])
    figure = overlays(two, size=2)
    assert len(figure.axes) == 2 and figure.get_figwidth() == 4
    figure = overlays(two, columns=1, size=2)
    assert len(figure.axes) == 2 and figure.get_figwidth() == 2


# bland_altman

AGREEMENT = {
    "bias": score(1.0, 0.5, 1.5),
    "low": score(-3.0, -4.0, -2.0),
    "high": score(5.0, 4.0, 6.5),
}
TRUE = np.array([100.0, 200.0, 150.0, 120.0, 110.0, 130.0])
MEASURED = TRUE + np.array([0.0, 5.0, -3.1, np.nan, 7.0, -3.0])
HEADS = pd.DataFrame({"true_mm": TRUE, "measured_mm": MEASURED})


def test_bland_altman_shows_differences_over_means_and_marks_those_outside():
    axis = bland_altman(HEADS, AGREEMENT).axes[0]
    *_, inside, outside = axis.lines
    # Points on a limit are within it.
    assert inside.get_xdata() == pytest.approx([100, 202.5, 128.5])
    assert inside.get_ydata() == pytest.approx([0, 5, -3])
    assert outside.get_xdata() == pytest.approx([148.45, 113.5])
    assert outside.get_ydata() == pytest.approx([-3.1, 7])
    assert inside.get_marker() != outside.get_marker()
    assert axis.get_title() == "5 measured, 1 not measured"
    assert axis.get_xlabel() == "mean of measured and true head circumference (mm)"
    assert axis.get_ylabel() == "measured − true (mm)"


def test_bland_altman_draws_bias_and_limits_with_their_intervals():
    axis = bland_altman(HEADS, AGREEMENT).axes[0]
    assert texts(axis.get_legend()) == [
        "bias +1.0 mm (+0.5 to +1.5)",
        "upper 95 % limit +5.0 mm (+4.0 to +6.5)",
        "lower 95 % limit −3.0 mm (−4.0 to −2.0)",
        "outside the limits: 2 of 5",
    ]
    assert [line.get_ydata()[0] for line in axis.lines[:3]] == [1, 5, -3]
    assert [line.get_linestyle() for line in axis.lines[:3]] == ["-", "--", "--"]
    bands = [(patch.get_y(), patch.get_y() + patch.get_height()) for patch in axis.patches]
    assert bands == [(0.5, 1.5), (4, 6.5), (-4, -2)]


def test_bland_altman_without_any_measurement_has_no_lines():
    none = score(np.nan, np.nan, np.nan)
    heads = HEADS.assign(measured_mm=np.nan)
    axis = bland_altman(heads, dict.fromkeys(AGREEMENT, none)).axes[0]
    assert texts(axis.get_legend()) == ["outside the limits: 0 of 0"] and not axis.patches
    assert axis.get_title() == "0 measured, 6 not measured"


# losses


def of_heads(losses):
    """Model to losses as outcomes on heads, beside those of another task."""
    other = {("m", "abdomen"): SimpleNamespace(losses=np.ones((9, 9)))}
    return other | {(m, "head"): SimpleNamespace(losses=values) for m, values in losses.items()}


def test_losses_ignore_decoders_that_have_stopped():
    runs = np.array([[0.8, 0.6, np.nan, np.nan], [0.4, 0.2, 0.1, np.nan]])
    axis = losses(of_heads({"m": runs, "n": runs[:, :2] + 1}), "head").axes[0]
    line, other = axis.lines
    assert line.get_xdata().tolist() == [1, 2, 3]
    assert line.get_ydata() == pytest.approx([0.6, 0.4, 0.1])
    assert other.get_ydata() == pytest.approx([1.6, 1.4])
    assert ends(axis.collections[0]) == pytest.approx((0.1, 0.8))
    assert ends(axis.collections[1]) == pytest.approx((1.2, 1.8))
    assert line.get_marker() != other.get_marker() and line.get_color() != other.get_color()
    assert texts(axis.get_legend()) == ["m", "n"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "Dice loss, validation heads")
    assert axis.get_xlim() == (0.5, 4.5)


@pytest.mark.filterwarnings("error")
def test_losses_of_one_epoch_or_none_draw():
    runs = {"one": np.array([[0.5]]), "none": np.array([[np.nan]])}
    axis = losses(of_heads(runs), "head").axes[0]
    assert [len(line.get_xdata()) for line in axis.lines] == [1, 0]
    assert axis.lines[0].get_marker() not in ("", "None", None)
    axis.figure.canvas.draw()  # where spacings of markers are looked at


# structures and spread


def test_structures_and_spread_show_the_models_asked_for():
    def runs(value):
        return RunScores(np.array([value, value + 0.1]), score(value, value, value))

    scores = {
        ("m", "head"): {"dsc": runs(0.9), "dsc/head": runs(0.9), "hd95/head": runs(2)},
        ("m", "abdomen"): {"dsc": runs(0.5), "dsc/spine": runs(0.4)},
        ("image only", "head"): {"dsc": runs(0.2), "dsc/head": runs(0.2)},
        ("mean mask", "head"): {"dsc": runs(0.6), "dsc/head": runs(0.6)},
    }
    axis = structures(scores, ["m"]).axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["head: head", "abdomen: spine"]
    assert texts(axis.get_legend()) == ["m", "mean mask"]
    points = [container.lines[0].get_xdata().tolist() for container in axis.containers]
    assert points == [pytest.approx([90, 40]), pytest.approx([60])]
    axis = spread(scores, "head").axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["m", "image only", "mean mask"]
    assert axis.lines[0].get_xdata() == pytest.approx([90, 100])
    assert axis.get_xlabel() == "pooled DSC, heads (%)"


def test_no_model_is_left_out_however_many_there_are():
    names = [f"m{i}" for i in range(25)]
    runs = losses(of_heads(dict.fromkeys(names, np.ones((2, 3)))), "head").axes[0]
    assert len(runs.lines) == 25


def test_figures_are_opaque_white():
    losses(of_heads({"m": np.ones((2, 3))}), "head")
    bland_altman(HEADS, AGREEMENT)
    overlays(Examples(*cases(c=1), ["head"], list("wxyz")))
    for figure in map(plt.figure, plt.get_fignums()):
        assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
