"""Figures of chapter 3: copies, scores and their spread, calibration, ROC curves, mistakes."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fetalclip_nb.data.augmentation import Augmentation, augmented
from fetalclip_nb.data.images import read_square
from fetalclip_nb.experiments.linear_probing.probe import MAJORITY, PIXELS, PROBE, Logits
from fetalclip_nb.experiments.linear_probing.scores import Scores, readers_of, title
from fetalclip_nb.results import figures
from fetalclip_nb.results.figures import MARKERS, STYLES, WIDTH, colours
from fetalclip_nb.results.formats import readable
from fetalclip_nb.stats import calibration, ranking
from fetalclip_nb.stats.classification import Predictions
from fetalclip_nb.stats.classification import mistakes as worst_mistakes
from fetalclip_nb.tasks.items import Task


def augmented_copies(task: Task, *, seed: int, copies: int = 4) -> Figure:
    """An image of each of two classes as it is, with some of its augmented copies beside it."""
    example = task.items.table.groupby("label").head(1).iloc[:2]
    squares, titles = [], []
    for name, path in zip(example["id"], example["path"], strict=True):
        square, changes = read_square(task.dataset.root / path), Augmentation(seed=seed)
        squares += [square, *(augmented(square, changes, name=name, copy=i) for i in range(copies))]
        titles += ["as it is", *(f"copy {i}" for i in range(copies))]
    return figures.image_grid(squares, titles, columns=copies + 1, size=1.6)


def class_bars(scores: Scores) -> Figure:
    """F1 of each class of images, task by task, one colour for each model's probe."""
    bars: dict[str, dict] = {}
    for (model, reader, task), found in scores.items():
        if reader == PROBE and task != "chd":
            f1 = {name.partition("/"): each.score for name, each in found.items()}
            named = {name: score for (kind, _, name), score in f1.items() if kind == "f1"}
            bars.setdefault(model, {}).update(named)
    return figures.score_bars(bars, label="F1 (%)")


def spread(scores: Scores, task: str) -> Figure:
    """Macro F1 on a task of every probe and of every fit of a rival."""
    rows = {
        title(*reader): found["f1_macro"].values
        for reader, found in readers_of(scores, task).items()
        if reader[0] != MAJORITY
    }
    return figures.run_distribution(rows, xlabel=f"macro F1, {readable(task)} (%)")


def reliability_diagram(logits: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Accuracy against claimed probability, above the share of predictions that claim it.

    Logits of each model have the shape (H, N, C), true class indices of the items (N,).
    """
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(0.7 * WIDTH, 6), sharex=True, height_ratios=(3, 1)
    )
    above.plot([0, 100], [0, 100], color="black", ls="--", lw=1, label="as claimed")
    looks = zip(colours(), cycle(MARKERS), strict=False)
    for (name, answers), (colour, marker) in zip(logits.items(), looks, strict=False):
        table = calibration.reliability(answers, labels)
        filled = 100 * table[table["share"] > 0]
        claimed, right = filled["confidence"], filled["accuracy"]
        above.plot(claimed, right, marker=marker, ms=5, color=colour, label=name)
        edges = [*table["low"], table["high"].iloc[-1]]
        below.stairs(100 * table["share"], 100 * np.array(edges), color=colour, lw=1.5)
    above.set(ylabel="right answers (%)", ylim=(-3, 103))
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, fontsize=8)
    below.set(xlabel="probability of the predicted class (%)", ylabel="predictions (%)")
    below.set(xlim=(0, 101), ylim=(0, None))
    figure.tight_layout()
    return figure


def mistakes(answers: Mapping[str, Predictions], tasks: Mapping[str, Task]) -> Figure:
    """Five images (first frames of clips) a task, called wrongly with the highest confidence."""
    paths, titles = [], []
    for name, task in tasks.items():
        images = task.dataset.table["path"].iloc[task.items.rows[task.tested]]
        wrong = worst_mistakes(answers[name], images, 5)
        paths += [task.dataset.root / path for path in wrong["image"]]
        titles += [*(wrong["true"] + "\nas " + wrong["predicted"])]
    return figures.image_grid(paths, titles, columns=5, size=1.4)


def example_clips(task: Task) -> Figure:
    """One clip of each kind, its frames side by side."""
    kinds = task.items.table["label"]
    if "defect" in task.items.table:
        kinds = task.items.table["defect"].where(lambda text: text != "", kinds)
    firsts = kinds[~kinds.duplicated()]
    frames = task.items.clips.frames[firsts.index]
    paths = [task.dataset.root / path for path in task.dataset.table["path"].iloc[frames.ravel()]]
    titles = np.repeat(firsts.to_numpy(), frames.shape[1])
    return figures.image_grid(paths, titles, columns=frames.shape[1], size=1.5)


def roc_curves(logits: Logits, scores: Scores, task: Task) -> Figure:
    """Mean ROC curves with the range of 95 % of the runs, AUROC and interval in the legend.

    Each model's probe and raw pixels are drawn, of a task with two classes.
    """
    name, (labels, *_) = task.items.name, task.truth
    figure, axis = plt.subplots(figsize=(0.75 * WIDTH, 0.85 * WIDTH))
    axis.plot([0, 100], [0, 100], color="black", ls="--", lw=1, label="chance")
    drawn = [key for key in readers_of(logits, name) if key[1] == PROBE or key[0] == PIXELS.name]
    for reader, colour, style in zip(drawn, colours(), cycle(STYLES), strict=False):
        table = ranking.roc_points(logits[*reader, name], labels)
        # A curve starts where nothing is called positive.
        table = 100 * pd.concat([pd.DataFrame(0.0, [0], table.columns), table])
        x, area = table["false_positive_rate"], scores[*reader, name]["auroc"].score
        axis.fill_between(x, table["low"], table["high"], color=colour, alpha=0.12, lw=0)
        interval = f"{100 * area.low:.1f} to {100 * area.high:.1f}"
        label = f"{title(*reader)}: AUROC {100 * area.value:.1f} % ({interval})"
        axis.plot(x, table["true_positive_rate"], color=colour, ls=style, lw=2, label=label)
    axis.set(xlabel="false-positive rate (%)", xlim=(-1, 101), aspect="equal")
    axis.set(ylabel="true-positive rate (%)", ylim=(-1, 101))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8, handlelength=4)
    figure.tight_layout()
    return figure
