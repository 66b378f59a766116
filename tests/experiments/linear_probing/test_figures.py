"""Figures of probes are looked at by people; here: that they show the numbers they are given."""

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.experiments.linear_probing import figures
from fetalclip_nb.experiments.linear_probing.scores import predictions
from fetalclip_nb.stats import ranking
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.items import Task, clip_items
from fetalclip_nb.tasks.splits import Split
from helpers import legend_of, line_of, write_image

pytestmark = pytest.mark.usefixtures("figure_style")

MANY = [f"m{i}" for i in range(25)]
SCORE = Score(0.75, 0.5, 1.0, 0.75, 4, 4)


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


def test_reliability_diagram_leaves_empty_bins_out():
    logits = np.log([[[0.95, 0.05], [0.95, 0.05], [0.65, 0.35]]])
    above, below = figures.reliability_diagram({"m": logits}, np.array([0, 1, 0])).axes
    assert line_of(above, "m").get_xdata() == pytest.approx([65, 95])
    assert line_of(above, "m").get_ydata() == pytest.approx([100, 50])
    heights = below.patches[0].get_data().values
    assert heights[[9, 13, 14]] == pytest.approx([100 / 3, 0, 200 / 3])
    assert legend_of(above) == ["as claimed", "m"]
    above, below = figures.reliability_diagram(dict.fromkeys(MANY, logits), [0, 1, 0]).axes
    assert legend_of(above) == ["as claimed", *MANY] and len(below.patches) == 25


def hearts(root="somewhere", defects=("", "hole", "", "")):
    names = [f"{i}.png" for i in range(4)]
    table = pd.DataFrame({"id": names, "path": names, "patient": list("pqrs"), "split": ""})
    table = table.assign(label=["n", "d"] * 2, defect=list(defects))
    data = Dataset("manifest", root, table, False, "0")
    return Task(data, clip_items("chd", data, ("n", "d"), frames=1), {0: Split("own", "pqrs", ())})


def test_roc_curves_start_at_the_origin_and_name_the_auroc():
    values = np.array([[[0, 4.0], [0, 3.0], [0, 2.0], [0, 1.0]]])
    logits = {(m, "linear probe", task): values for m in ("m", *MANY) for task in ("chd", "planes")}
    logits |= {("m", "nearest neighbours", "chd"): values, ("majority class", "", "chd"): values}
    logits |= {("pixels", "logistic regression", "chd"): values}
    scores = {key: {"auroc": RunScores(np.array([0.75]), SCORE)} for key in logits}
    axis = figures.roc_curves(logits, scores, hearts()).axes[0]
    points = ranking.roc_points(values, np.array([0, 1, 0, 1]))
    curve = line_of(axis, "m: AUROC 75.0 % (50.0 to 100.0)")
    assert (curve.get_xdata()[0], curve.get_ydata()[0]) == (0, 0)
    assert curve.get_ydata()[1:] == pytest.approx(100 * points["true_positive_rate"])
    assert axis.get_xlabel() == "false-positive rate (%)"
    named = [text.partition(":")[0] for text in legend_of(axis)]
    assert named == ["chance", "m", *MANY, "pixels, logistic regression"]


def test_spread_and_bars_show_who_looks_at_images():
    names = ("trans-thalamic", "trans-cerebellum", "trans-ventricular")
    names += ("other", "abdomen", "brain", "cervix", "femur", "heart")
    one = RunScores(np.ones(2), SCORE)
    both = {"brain_subplanes": names[:3], "six_planes": names[3:]}
    found = {t: dict.fromkeys(["f1_macro", *(f"f1/{n}" for n in c)], one) for t, c in both.items()}
    readers = [("m", "linear probe"), ("m", "nearest neighbours"), ("majority class", "")]
    scores = {(*r, task): found[task] for r in readers for task in found}
    axis = figures.spread(scores, "brain_subplanes").axes[0]
    rows = [text.get_text() for text in axis.get_yticklabels()]
    assert rows == ["m", "m, nearest neighbours"]
    bars = figures.class_bars(scores).axes[0]
    assert legend_of(bars) == ["m"]
    assert [text.get_text() for text in bars.get_xticklabels()] == [*names]


def test_pictures_are_named_by_copy_kind_and_mistake(tmp_path):
    for i in range(4):
        write_image(tmp_path / f"{i}.png", seed=i)
    task = hearts(tmp_path)
    assert titles(figures.example_clips(task)) == ["n", "hole", "d"]
    assert titles(figures.augmented_copies(task, seed=0, copies=1)) == ["as it is", "copy 0"] * 2
    logits = {
        ("m", "linear probe", "chd"): np.log([[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.01, 0.99]]])
    }
    answers = predictions(logits, {"chd": task}, "m")
    assert titles(figures.mistakes(answers, {"chd": task})) == ["d\nas n", "n\nas d"]
