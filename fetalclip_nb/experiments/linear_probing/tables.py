"""Tables, sentences and facts of chapter 3."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.linear_probing.probe import PIXELS, PROBE, other_preparation
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe
from fetalclip_nb.experiments.linear_probing.scores import Scores, is_scored, subgroups, title
from fetalclip_nb.results import protocol
from fetalclip_nb.results.formats import (
    format_difference,
    format_interval,
    format_value,
    readable,
    with_interval,
)
from fetalclip_nb.results.published import published_facts
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.stats.classification import Predictions, as_table
from fetalclip_nb.tasks.classes import own_facts
from fetalclip_nb.tasks.items import CHD_CLASSES, Task

_TITLES = {
    "f1_macro": "macro F1",
    "accuracy_macro": "mean recall",
    "top2_macro": "top-2",
    "auroc": "AUROC",
    "ece": "calibration error",
}


def split_table(tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Patients and items on each side of each fold."""
    return pd.concat(protocol.split_table(t.splits, t.items.table) for t in tasks.values())


def class_counts(tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Items of each class that are tested, and that are not."""
    counts = {}
    for name, task in tasks.items():
        side = np.where(task.tested, "test", "train or validation")
        counts[name] = pd.crosstab(task.items.table["label"], side, colnames=["side"])
    return pd.concat(counts, names=["task", "class"])


def score_table(scores: Scores, model: str) -> pd.DataFrame:
    """Mean over a model's probes with its patient interval, in percent: one row a task."""
    rows = {
        task: {n: with_interval(found[kind].score) for kind, n in _TITLES.items() if kind in found}
        for (encoder, reader, task), found in scores.items()
        if (encoder, reader) == (model, PROBE) and task != "chd"
    }
    # Of two classes there is no second guess to count.
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def unlike_paper(tasks: Mapping[str, Task], recipe: ProbeRecipe) -> str:
    """How the splits of planes and the recipe differ from the paper's; empty if they do not."""
    splits = [task.split for name, task in tasks.items() if name != "chd"]
    return protocol.deviation(splits, recipe.settings)


def preparation_facts(
    results: Mapping[str, Row], model: str, recipe: ProbeRecipe
) -> dict[str, str]:
    """What the other preparation of images does to a model's probes of planes, as a sentence.

    Args:
        results: As given by `load_results`.
        model: Whose probes had both.
        recipe: How the chapter's probes were trained.
    """
    _, images = other_preparation(recipe.preparation)
    row = results[title(model, images)]
    parts = [
        f"by {format_difference(difference)} points on {readable(metric.partition('/')[0])}, "
        f"to {format_value(row.score(metric))}"
        for metric, difference in row.differences.items()
    ]
    changed = f"change the probes' macro F1 of {model}"
    return {"preparation_sentence": f"{images.capitalize()} {changed} {', and '.join(parts)}."}


def published_clips(task: Task) -> str | None:
    """Name of the published number for clips; None where their labels are no heart disease."""
    return "linear_probe/chd/auroc" if task.items.classes == CHD_CLASSES else None


def subgroup_table(task: Task) -> pd.DataFrame:
    """Patients of each class in each subgroup, and whether `subgroup_scores` scores it."""
    labels, patients, classes = task.truth
    rows = {
        name: {c: len(set(patients[chosen & (labels == i)])) for i, c in enumerate(classes)}
        | {"scored": "yes" if is_scored(labels[chosen], patients[chosen]) else "no"}
        for name, chosen in subgroups(task).items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def files(
    scores: Scores, answers: Mapping[str, Predictions], tasks: Mapping[str, Task]
) -> dict[str, pd.DataFrame]:
    """Tables that are kept beside the scores, by name: every run, every tested item's answer."""
    titled = {(title(*reader), task): found for (*reader, task), found in scores.items()}
    splits = {name: task.split for name, task in tasks.items()}
    tables = {"runs": protocol.runs_table(titled, splits)}
    for name, task in tasks.items():
        ids = task.table["id" if task.items.clips is None else "clip"]
        tables[f"predictions-{name}"] = as_table(answers[name], ids)
    return tables


def facts(
    scores: Scores, tasks: Mapping[str, Task], recipe: ProbeRecipe, model: str
) -> dict[str, object]:
    """What the prose says of this run.

    Args:
        scores: Of all readers.
        tasks: Name to task.
        recipe: How probes were trained.
        model: The headline model.
    """
    name, first = next(iter(tasks.items()))
    hearts = "No clips of hearts were given, so heart disease was not measured."
    if "chd" in tasks:
        area = scores[model, PROBE, "chd"]["auroc"].score
        clips = f"{area.n:,} clips that are {kind_of_images(tasks['chd'].dataset)}"
        found = f"{format_value(area)} ({format_interval(area)})"
        hearts = f"The AUROC for heart disease is {found}, on {clips}."
        if published_clips(tasks["chd"]) is None:
            label, other = reversed(tasks["chd"].items.classes)
            hearts = f"The AUROC for {label!r} against {other!r} is {found}, on {clips}; what this"
            hearts += " page says of hearts does not concern these labels."
    return {
        **published_facts("linear_probe"),
        **protocol.split_facts(first.split),
        "chd_sentence": hearts,
        "probes": len(scores[model, PROBE, name]["f1_macro"].values),
        "thumbnail": PIXELS.side,
        "unlike_paper": unlike_paper(tasks, recipe) or "nothing",
        "images_are": kind_of_images(first.dataset),
        **own_facts({name: first.dataset}),
    }
