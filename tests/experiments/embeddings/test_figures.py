"""Figures of embeddings are looked at by people; here: that they show what they are given."""

import numpy as np
import pytest

from fetalclip_nb.experiments.embeddings.figures import PANELS, cluster_panels, panels
from fetalclip_nb.stats.scores import Score

pytestmark = pytest.mark.usefixtures("figure_style")


def points(n=30, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2))


def legend(axis):
    found = axis.get_legend()
    return {
        text.get_text(): handle.get_color()
        for text, handle in zip(found.get_texts(), found.legend_handles, strict=True)
    }


def test_maps_give_each_point_the_colour_of_its_text():
    planes = np.array(list("abc"))[np.arange(30) % 3]
    machines = np.where(np.arange(30) < 20, "M", "N")
    coordinates = {"model": points(), "twin": points(seed=1)}
    figure = panels(coordinates, {"plane": planes, "machine": machines}, axes="UMAP")
    grid = np.array(figure.axes).reshape(2, 2)
    assert [axis.get_title() for axis in grid[0]] == ["plane", "machine"]
    assert [axis.get_ylabel() for axis in grid[:, 0]] == ["model\nUMAP", "twin\nUMAP"]
    for row, expected in zip(grid, coordinates.values(), strict=True):
        for column, (axis, values) in enumerate(zip(row, (planes, machines), strict=True)):
            colours = legend(grid[1, column])
            drawn = axis.collections[0]
            where = {tuple(point): value for point, value in zip(expected, values, strict=True)}
            shown = [tuple(point) for point in np.asarray(drawn.get_offsets())]
            assert set(shown) == set(where) and len(colours) == len(set(values))
            for point, colour in zip(shown, drawn.get_facecolors(), strict=True):
                assert tuple(colour[:3]) == pytest.approx(colours[where[point]])


def test_no_class_is_drawn_after_all_others():
    sorted_labels = np.repeat(["a", "b"], 15)
    made = [panels({"m": points()}, {"x": sorted_labels}, seed=seed) for seed in (1, 1, 2)]
    drawn = [np.asarray(figure.axes[0].collections[0].get_offsets()) for figure in made]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()
    late = {tuple(point) for point in drawn[0][15:]}
    assert 3 < len(late & {tuple(point) for point in points()[:15]}) < 12


def test_numbers_have_a_colour_bar_over_all_rows():
    weeks = np.linspace(14, 38, 30)
    figure = panels({"m": points(), "t": points()}, {"age (weeks)": weeks})
    above, below, bar = figure.axes
    assert bar.get_xlabel() == "age (weeks)" and bar.get_xlim() == (14, 38)
    for axis in (above, below):
        drawn = axis.collections[0]
        assert sorted(drawn.get_array()) == pytest.approx(weeks) and drawn.get_clim() == (14, 38)
        assert axis.get_legend() is None


def test_every_value_has_a_colour_of_its_own_however_many():
    many = np.array([f"operator {i:02d}" for i in range(30)])
    figure = panels({"m": points()}, {"x": many})
    assert len(set(legend(figure.axes[0]).values())) == 30


def test_cluster_panels_show_values_intervals_and_chance():
    def score(value):
        return Score(value, value - 0.1, value + 0.1, value, 10, 5)

    scores = {
        "model": {
            "planes/purity": score(0.9),
            "planes/purity_chance": score(0.25),
            "machine/purity": score(0.4),
            "machine/purity_chance": score(0.3),
            "planes/ari": score(-0.2),
        },
        "twin": {"planes/purity": score(0.3), "machine/purity": score(0.35)},
    }
    figure = cluster_panels(scores, ["planes", "machine"])
    purity, silhouette, ari = figure.axes
    assert [axis.get_xlabel() for axis in figure.axes] == list(PANELS.values())
    assert [text.get_text() for text in purity.get_yticklabels()] == ["planes", "machine"]
    levels = [
        [list(line.get_xdata()) for line in axis.lines if line.get_color() == "0.55"]
        for axis in (purity, silhouette, ari)
    ]
    assert levels == [[[0.25, 0.25], [0.3, 0.3]], [], [[0, 0]]]  # where nothing is scored, none
    model, twin = purity.containers
    assert model.lines[0].get_xdata() == pytest.approx([0.9, 0.4])
    assert (np.round(model.lines[0].get_ydata()) == [0, 1]).all()
    assert twin.lines[0].get_xdata() == pytest.approx([0.3, 0.35])
    assert ari.containers[0].lines[0].get_xdata() == pytest.approx([-0.2])
    assert len(ari.containers[1].lines[0].get_xdata()) == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["model", "twin"]
