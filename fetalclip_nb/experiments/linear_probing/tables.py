"""Scores of probes as result files and tables take them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fetalclip_nb.results.formats import format_interval, format_value, with_interval
from fetalclip_nb.stats.runs import run_scores
from fetalclip_nb.stats.scores import RunScores, Score

FEWEST = 5
"""Patients that each class of a subgroup needs before it is scored."""


def score_table(
    scores: Mapping[str, Mapping[str, RunScores]], kinds: Sequence[str]
) -> pd.DataFrame:
    """Mean over the runs with its patient interval, in percent: one row a task.

    Args:
        scores: Task to scores.
        kinds: Names of scores; one that a task does not have is left empty.
    """
    rows = {
        task: {kind: with_interval(found[kind].score) if kind in found else "" for kind in kinds}
        for task, found in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename(columns=_TITLES)


_TITLES = {
    "f1_macro": "macro F1",
    "accuracy_macro": "mean recall",
    "top2_macro": "top-2",
    "auroc": "AUROC",
    "ece": "calibration error",
}


def chd_sentence(auroc: Score | None, images_are: str) -> str:
    """What the prose says of heart disease: its AUROC, or that it was not measured.

    Args:
        auroc: None where no clips were given.
        images_are: What the prose calls the clips (`tables.kind_of_images`).
    """
    if auroc is None:
        return "No clips of hearts were given, so heart disease was not measured."
    clips = f"{auroc.n:,} clips that are {images_are}"
    area = f"{format_value(auroc)} ({format_interval(auroc)})"
    return f"The AUROC for heart disease is {area}, on {clips}."


def subgroup_scores(
    logits: np.ndarray,
    truth: tuple[np.ndarray, np.ndarray, tuple[str, ...]],
    groups: Mapping[str, np.ndarray],
    kind: str,
) -> dict[str, Score]:
    """One score in each subgroup, over the classes that it has, with patient intervals.

    Args:
        logits: Shape (H, N, C).
        truth: True classes and patients of the N items and the class names (`Items.truth`).
        groups: Subgroup to its items, boolean of shape (N,).
        kind: Name of the score ("f1_macro", "auroc").

    Returns:
        Subgroup to the mean over probes. Groups of one class, or with fewer than five patients
        of one of their classes, are left out: their resamples would lose the class and their
        interval would look like certainty.
    """
    labels, patients, classes = truth
    found = {}
    for name, rows in groups.items():
        if _is_scored(labels[rows], patients[rows]):
            scores = run_scores(logits[:, rows], labels[rows], patients[rows], classes)
            found[name] = scores[kind].score
    return found


def group_table(
    truth: tuple[np.ndarray, np.ndarray, tuple[str, ...]], groups: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Patients of each class in each subgroup, and whether `subgroup_scores` scores it.

    Args:
        truth: As in `subgroup_scores`.
        groups: As in `subgroup_scores`.
    """
    labels, patients, classes = truth
    rows = {
        name: {c: len(set(patients[chosen & (labels == i)])) for i, c in enumerate(classes)}
        | {"scored": "yes" if _is_scored(labels[chosen], patients[chosen]) else "no"}
        for name, chosen in groups.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _is_scored(labels: np.ndarray, patients: np.ndarray) -> bool:
    counts = [len(set(patients[labels == label])) for label in set(labels.tolist())]
    return len(counts) > 1 and min(counts) >= FEWEST


def groups_by(table: pd.DataFrame, **columns: str) -> dict[str, np.ndarray]:
    """Items of each machine, operator, ...: masks for `subgroup_scores`.

    Args:
        table: One row an item.
        **columns: Column to what is written before its values; absent columns are left out.

    >>> {k: v.tolist() for k, v in groups_by(pd.DataFrame({"m": ["a", "b"]}), m="on ").items()}
    {'on a': [True, False], 'on b': [False, True]}
    """
    return {
        f"{prefix}{value or 'not named'}": (table[name] == value).to_numpy()
        for name, prefix in columns.items()
        if name in table
        for value in sorted(set(table[name]))
    }


def groups_against(
    table: pd.DataFrame, column: str, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """Items of each kind of the second class together with all of the first class.

    Args:
        table: One row an item with a label.
        column: Names the kind (of defect); where it is absent there is nothing to tell apart.
        classes: The two labels, the reference first.
    """
    if column not in table:
        return {}
    reference = (table["label"] == classes[0]).to_numpy()
    kinds = sorted(set(table.loc[~reference, column]))
    return {
        f"{column}: {kind or 'not named'}": reference | (table[column] == kind).to_numpy()
        for kind in kinds
    }
