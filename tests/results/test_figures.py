"""Figures are looked at by people; here: that they show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from fetalclip_nb.results import figures
from fetalclip_nb.stats import classification
from fetalclip_nb.stats.scores import Score
from helpers import write_image

pytestmark = pytest.mark.usefixtures("figure_style")


def score(value, low, high):
    return Score(value, low, high, value, 9, 9)


def test_image_grid_shows_squares_with_titles(tmp_path):
    for i in range(3):
        write_image(tmp_path / f"{i}.png", size=(40, 20))
    figure = figures.image_grid([tmp_path / f"{i}.png" for i in range(3)], list("abc"), columns=2)
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "c", ""]
    assert figure.axes[0].images[0].get_array().shape == (40, 40)


def test_confusion_has_a_row_for_each_class_with_images():
    predictions = classification.predict(np.eye(3)[[0, 1, 1]], ["a", "b", "a"], ("a", "b", "c"))
    axis = figures.confusion(predictions, "title").axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    assert [t.get_text() for t in axis.texts] == ["1", "1", "0", "0", "1", "0"]


def test_a_dollar_begins_no_formula(tmp_path):
    """Titles come from users' files; one that is no formula could not be drawn at all."""
    write_image(tmp_path / "a.png")
    words = r"$\frac{1}$"
    figure = figures.image_grid([tmp_path / "a.png"], [words], columns=1)
    predictions = classification.predict(np.eye(2), [words, "b"], (words, "b"))
    scores = {words: {words: score(0.5, 0.4, 0.6)}}
    for drawn in (
        figure,
        figures.confusion(predictions, words),
        figures.score_bars(scores, label=words),
        figures.forest(scores[words], label=words),
    ):
        drawn.canvas.draw()
    assert figure.axes[0].get_title() == words


def test_forest_prints_values_in_percent_and_numbers_where_it_is_asked_to():
    found = {"a": Score(0.5, 0.4, 0.6, 0.5, 1234, 10), "b": Score(0.25, 0.2, 0.3, 0.25, 1, 1)}
    axis = figures.forest(found, label="x", reference=0.3).axes[0]
    assert [t.get_text() for t in axis.texts] == ["50.0", "25.0"]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    axis = figures.forest(found, label="x", counts=True).axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a (n = 1,234)", "b (n = 1)"]


def test_bars_show_every_model_in_percent_however_many_there_are():
    scores = {f"m{i}": {"a": score(0.01 * i, 0, 1)} for i in range(25)}
    shown = figures.score_bars(scores, label="F1").axes[0].containers
    assert [bar.lines[0].get_ydata()[0] for bar in shown] == pytest.approx([*range(25)])


def test_saved_figures_are_opaque_white(tmp_path):
    figures.forest({"a": score(0.5, 0.4, 0.6)}, label="x").savefig(tmp_path / "a.png")
    corner = plt.imread(tmp_path / "a.png")[0, 0]
    assert corner.tolist() == [1, 1, 1, 1]


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
    many = figures.run_distribution(dict.fromkeys(map(str, range(25)), runs["b"]), xlabel="x")
    assert len(many.axes[0].lines) == 3 * 25 and len(many.axes[0].texts) == 25


def test_structure_bars_have_a_row_a_structure_and_a_marker_a_model():
    scores = {
        "m": {"head_wall": score(0.9, 0.8, 0.95), "LV": score(0.5, 0.4, 0.6)},
        "n": {"head_wall": score(0.7, 0.7, 0.7), "LV": score(np.nan, np.nan, np.nan)},
        "o": {"LV": score(0.3, 0.2, 0.4)},
    }
    axis = figures.structure_bars(scores, label="Dice (%)").axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["head wall", "LV"]
    points = [container.lines[0] for container in axis.containers]
    assert points[0].get_xdata() == pytest.approx([90, 50])
    assert points[2].get_xdata() == pytest.approx([30])
    assert np.round([y for line in points for y in line.get_ydata()]).tolist() == [0, 1, 0, 1, 1]
    bar = axis.containers[0].lines[2][0].get_segments()
    assert [segment[:, 0].tolist() for segment in bar] == [
        pytest.approx([80, 95]),
        pytest.approx([40, 60]),
    ]
    looks = [(line.get_marker(), line.get_color(), line.get_ydata()[-1]) for line in points]
    assert all(len(set(each)) == 3 for each in zip(*looks, strict=True))
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["m", "n", "o"]
    assert axis.get_xlabel() == "Dice (%)"
    assert axis.get_ylim() == (1.5, -0.5)


def test_rows_of_bars_keep_apart_however_many_models_there_are():
    one = {"a": score(0.5, 0.4, 0.6), "b": score(0.5, 0.4, 0.6)}
    names = [f"m{i}" for i in range(25)]
    axis = figures.structure_bars(dict.fromkeys(names, one), label="x").axes[0]
    heights = np.array([container.lines[0].get_ydata() for container in axis.containers])
    assert heights.shape == (25, 2)
    assert heights[:, 0].max() < 0.5 < heights[:, 1].min() and (np.diff(heights[:, 0]) > 0).all()
