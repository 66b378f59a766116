"""Scores of probes and rivals, the headline model's answers, scores in subgroups."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd

from fetalclip_nb.data.african_planes import SUBJECT, TASK
from fetalclip_nb.experiments.linear_probing.probe import PROBE, Logits
from fetalclip_nb.results.protocol import task_results
from fetalclip_nb.stats.answers import answer_table
from fetalclip_nb.stats.classification import Predictions, predict
from fetalclip_nb.stats.ranking import log_odds
from fetalclip_nb.stats.runs import ensemble, run_scores
from fetalclip_nb.stats.scores import FEWEST_PATIENTS, RunScores, Score
from fetalclip_nb.tasks.items import Task

Scores = dict[tuple[str, str, str], dict[str, RunScores]]
"""Model, reader and task to name of a score to that of each probe or fit, and their mean."""

T = TypeVar("T")


def score(logits: Logits, tasks: Mapping[str, Task]) -> Scores:
    """Score every probe and every fit of a rival on the same tested items."""
    return {key: run_scores(values, *tasks[key[2]].truth) for key, values in logits.items()}


def save_scores(save: Callable, scores: Scores, logits: Logits, tasks: Mapping[str, Task]) -> None:
    """Save a row for each reader of planes, one (of its second label, CHD) of clips, one abroad.

    Args:
        save: The session's function.
        scores: As given by `score`, the headline model's first.
        logits: What was scored.
        tasks: Name to task.
    """
    planes = [name for name in tasks if name not in ("chd", TASK)]
    others = {task.items.classes[1]: ["chd"] for name, task in tasks.items() if name == "chd"}
    others |= {SUBJECT: [TASK]} if TASK in tasks else {}
    for subject, names in {"": planes, **others}.items():
        for model, reader in dict.fromkeys((m, r) for m, r, name in scores if name in names):
            results, answers = {}, {}
            for name in names:
                results |= task_results(scores[model, reader, name], name)
                answers |= task_answers(logits[model, reader, name], tasks[name])
            kind, rival = ("model", "") if reader == PROBE else ("baseline", reader)
            dataset = tasks[names[0]].dataset
            save(
                model,
                results,
                subject=subject,
                reader=rival,
                kind=kind,
                dataset=dataset,
                answers=answers,
            )


def task_answers(logits: np.ndarray, task: Task) -> dict[str, pd.DataFrame]:
    """What each probe (H, N, C) chose for the tested items; of two classes what ranks them, too."""
    labels, patients, classes = task.truth
    table, name = task.table, task.items.name
    items = table["id" if task.items.clips is None else "clip"], patients
    chosen = np.array(classes)[logits.argmax(-1)]
    found = {f"{name}/f1_macro": answer_table(*items, true=table["label"], predicted=chosen)}
    if len(classes) == 2 and len(set(labels)) == 2:
        odds = log_odds(logits, 1)
        found[f"{name}/auroc"] = answer_table(*items, target=labels, score=odds)
    return found


def title(model: str, reader: str) -> str:
    """What tables and figures call a reader of a model's features; a probe has the model's name.

    >>> title("clip", PROBE), title("clip", "nearest neighbours")
    ('clip', 'clip, nearest neighbours')
    """
    return model if reader in (PROBE, "") else f"{model}, {reader}"


def readers_of(values: Mapping[tuple[str, str, str], T], task: str) -> dict[tuple[str, str], T]:
    """What there is of one task: model and reader to logits or scores."""
    return {(model, reader): v for (model, reader, name), v in values.items() if name == task}


def probes_of(values: Mapping[tuple[str, str, str], T], task: str) -> dict[str, T]:
    """What there is of the linear probes of one task: model to logits or scores."""
    return {m: value for (m, reader), value in readers_of(values, task).items() if reader == PROBE}


def predictions(logits: Logits, tasks: Mapping[str, Task], model: str) -> dict[str, Predictions]:
    """What the mean probability over all of a model's probes says of each tested item."""
    return {
        name: predict(
            ensemble(logits[model, PROBE, name]),
            task.table["label"],
            task.items.classes,
            task.table["patient"].to_numpy(),
        )
        for name, task in tasks.items()
    }


def subgroups(task: Task) -> dict[str, np.ndarray]:
    """Tested items of each machine, operator, centre, kind of defect: boolean masks (N,).

    A kind of defect is taken together with all items of the first class, the healthy. What the
    data set does not name gives no group.
    """
    table = task.table
    groups = {
        f"{column} {value or 'not named'}": (table[column] == value).to_numpy()
        for column in ("machine", "operator", "centre")
        if column in table
        for value in sorted(set(table[column]))
    }
    if "defect" in table:
        healthy = (table["label"] == task.items.classes[0]).to_numpy()
        groups |= {
            f"defect: {kind or 'not named'}": healthy | (table["defect"] == kind).to_numpy()
            for kind in sorted(set(table.loc[~healthy, "defect"]))
        }
    return groups


def subgroup_scores(logits: Logits, task: Task, model: str, kind: str) -> dict[str, Score]:
    """One score in each subgroup, over the classes that it has, with patient intervals.

    Args:
        logits: As given by `probe_logits`.
        task: Whose tested items are scored.
        model: Whose probes are scored.
        kind: Name of the score ("f1_macro", "auroc").

    Returns:
        Subgroup to the mean over probes. Groups of one class, or with fewer than five patients
        of one of their classes, are left out: their resamples would lose the class and their
        interval would look like certainty.
    """
    labels, patients, classes = task.truth
    answers = logits[model, PROBE, task.items.name]
    return {
        name: run_scores(answers[:, rows], labels[rows], patients[rows], classes)[kind].score
        for name, rows in subgroups(task).items()
        if is_scored(labels[rows], patients[rows])
    }


def is_scored(labels: np.ndarray, patients: np.ndarray) -> bool:
    """Whether a subgroup has two classes or more and five patients of each."""
    counts = [len(set(patients[labels == label])) for label in set(labels.tolist())]
    return len(counts) > 1 and min(counts) >= FEWEST_PATIENTS
