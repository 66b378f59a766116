"""Figures of maps are looked at by people; here: that they show what they are given."""

from itertools import combinations

import numpy as np
import pytest

from fetalclip_nb.experiments.cam.figures import (
    class_forest,
    class_overlays,
    curve_figure,
    one_of_each,
    region_bars,
)
from fetalclip_nb.experiments.cam.overlays import Shown, overlay
from fetalclip_nb.experiments.cam.scores import mean_curve
from fetalclip_nb.stats.scores import Score

CLASSES = ["brain", "lips_nose", "heart"]


pytestmark = pytest.mark.usefixtures("figure_style")


def cases(times=1, side=8):
    rng = np.random.default_rng(0)
    n = 3 * times
    chances = np.array([[0.9, 0.1, 0], [0.1, 0.731, 0.169], [0.3, 0.3, 0.4]] * times)
    images, maps = rng.random((2, n, side, side))
    return Shown(images, maps, chances, CLASSES, [0, 0, 2] * times, [str(i) for i in range(n)])


def test_grid_shows_each_image_above_its_overlay():
    shown = cases()
    figure = class_overlays(shown, "heart", "brain", columns=2)
    assert len(figure.axes) == 4 and not figure.axes[3].images
    for axis, row in zip(figure.axes, (2, 0, 1), strict=False):
        found = np.asarray(axis.images[0].get_array())
        assert found.shape == (17, 8, 3) and (found[8] == 1).all()
        assert found[:8] == pytest.approx(shown.images[row][..., None].repeat(3, axis=2))
        assert found[9:] == pytest.approx(overlay(shown.images[row], shown.maps[row]))
    again = class_overlays(shown, "brain", most=1, weight=1)
    assert len(again.axes) == 1
    found = np.asarray(again.axes[0].images[0].get_array())
    assert found[9:] == pytest.approx(overlay(shown.images[0], shown.maps[0], 1))


def test_titles_say_class_prediction_and_confidence_and_mark_errors():
    axes = class_overlays(cases(), "brain", "heart").axes
    assert [axis.get_title() for axis in axes] == [
        "brain\n→ brain\n90.0 %",
        "brain\n→ lips nose\n73.1 %",
        "heart\n→ heart\n40.0 %",
    ]
    assert [axis.title.get_weight() for axis in axes] == ["normal", "bold", "normal"]
    assert axes[1].title.get_color() != axes[0].title.get_color() == axes[2].title.get_color()


def test_rows_of_a_grid_do_not_overlap():
    figure = class_overlays(cases(4), "brain", "heart")
    figure.canvas.draw()
    boxes = [axis.get_tightbbox() for axis in figure.axes if axis.images]
    for one, other in combinations(boxes, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert width <= 1 or height <= 1


def test_one_image_of_each_class_under_every_kind_of_map():
    shown, rng = cases(2), np.random.default_rng(1)
    kinds = {"own": shown.maps, "noise": rng.random((2, 6, 8, 8)), "centre": rng.random((8, 8))}
    figure = one_of_each(shown, kinds, ["heart", "brain"], weight=0.3)
    pictures = [np.asarray(axis.images[0].get_array()) for axis in figure.axes]
    assert [axis.get_ylabel() for axis in figure.axes[::2]] == [
        *("image", "own", "the same in the\npublished\ncolours", "noise", "centre")
    ]
    assert [axis.get_title() for axis in figure.axes[:2]] == ["heart", "brain"]
    for column, row in enumerate((2, 0)):
        grey, own, jet, noise, centre = pictures[column::2]
        image = shown.images[row]
        assert grey == pytest.approx(overlay(image, image, 0))
        assert own == pytest.approx(overlay(image, shown.maps[row], 0.3))
        rainbow = overlay(image, shown.maps[row], 0.3, colours="published")
        assert jet == pytest.approx(rainbow)
        assert noise == pytest.approx(overlay(image, kinds["noise"][0, row], 0.3))
        assert centre == pytest.approx(overlay(image, kinds["centre"], 0.3))


def test_curves_are_means_with_bands_one_panel_a_mode():
    rng = np.random.default_rng(0)
    patients = np.arange(6).astype(str)
    found = {
        kind: {mode: rng.random((6, 5)) for mode in ("deletion", "insertion", "black")}
        for kind in ("scorecam", "random")
    }
    figure = curve_figure(found, patients)
    assert [axis.get_title().split(":")[0] for axis in figure.axes] == ["deletion", "insertion"]
    for axis, mode in zip(figure.axes, ("deletion", "insertion"), strict=True):
        for line, band, curves in zip(axis.lines, axis.collections, found.values(), strict=True):
            low, mean, high = 100 * mean_curve(curves[mode], patients)
            assert line.get_ydata() == pytest.approx(mean)
            assert line.get_xdata().tolist() == [0, 25, 50, 75, 100]
            extent = band.get_paths()[0].get_extents()
            assert (extent.y0, extent.y1) == pytest.approx((low.min(), high.max()))
        assert len({line.get_linestyle() for line in axis.lines}) == 2
        assert axis.get_ylim() == (-2, 102)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["scorecam", "random"]
    assert figure.axes[0].get_ylabel() == "probability of the image's class (%)"


def points(figure):
    """Label of each kind of map and the abscissas of its points."""
    axis = figure.axes[0]
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    found = [container.lines[0].get_xdata().tolist() for container in axis.containers]
    return dict(zip(labels, found, strict=True))


def scores_of(**measures):
    """Scores of a measure for two things that have one, from their values in percent."""
    return {
        f"{measure}/{name}": {"patient": Score(value / 100, 0, 1, value / 100, 9, 9)}
        for measure, values in measures.items()
        for name, value in zip(("heart", "left_atrium"), values, strict=True)
    }


def test_forest_has_a_row_a_class_and_a_line_at_nothing_gained():
    ours, noise = (scores_of(difference=d, insertion=(70, 80)) for d in ([50, 60], [-10, 20]))
    figure = class_forest({"scorecam": ours, "random": noise})
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        "heart",
        "left atrium",
    ]
    assert points(figure) == {
        "scorecam": pytest.approx([50, 60]),
        "random": pytest.approx([-10, 20]),
    }
    assert figure.axes[0].lines[-1].get_xdata() == [0, 0]
    assert figure.axes[0].get_xlabel() == "insertion − deletion (percentage points)"


def test_regions_stand_beside_their_share_of_the_area():
    area = {"area": (20, 5)}
    ours = scores_of(energy=(50, 10), pointing=(90, 30), **area)
    scores = {"scorecam": ours, "centre": scores_of(energy=(40, 10), pointing=(80, 0), **area)}
    figure = region_bars(scores)
    assert points(figure) == {
        "scorecam": pytest.approx([50, 10]),
        "centre": pytest.approx([40, 10]),
        "chance: share of the area": pytest.approx([20, 5]),
    }
    assert figure.axes[0].get_xlabel() == "share of the map inside the structure (%)"
    figure = region_bars(scores, measure="pointing")
    assert points(figure)["scorecam"] == pytest.approx([90, 30])
    assert figure.axes[0].get_xlabel() == "maps whose peak is inside the structure (%)"
