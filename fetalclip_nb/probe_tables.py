"""Scores of probes as result files and tables take them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from fetalclip_nb.metrics import Score
from fetalclip_nb.published import published, published_tasks
from fetalclip_nb.results import format_interval, format_value
from fetalclip_nb.run_scores import RunScores, run_scores
from fetalclip_nb.splits import Split, rows_of

PROBING = {"copies": 5, "runs": 5, "epochs": 50, "head_batch": 64}
FEW_DATA = {"copies": 10, "runs": 5, "epochs": 100, "head_batch": 16}
"""The paper's settings (arXiv 2502.14807, linear probing and few-data training)."""

_ONE = {
    "copies": "copy",
    "runs": "run",
    "epochs": "epoch",
    "sets": "set",
    "folds used": "fold used",
    "runs a fold": "run a fold",
    "images a step": "image a step",
}
"""What settings are called where there is one."""

FEWEST = 5
"""Patients that each class of a subgroup needs before it is scored."""


def task_results(scores: Mapping[str, RunScores], task: str) -> dict[str, dict[str, Score]]:
    """Scores of a task as `Session.save` takes them, named TASK/SCORE.

    Args:
        scores: As given by `run_scores.run_scores`.
        task: Prefix of the names ("six_planes").
    """
    return {f"{task}/{name}": {"patient": found.score} for name, found in scores.items()}


def runs_table(
    scores: Mapping[tuple[str, str], Mapping[str, RunScores]], splits: Mapping[str, Split]
) -> pd.DataFrame:
    """Every score of every head: model, task, fold, run, score, value.

    Args:
        scores: (model, task) to scores of heads in the order of folds and runs. Each fold has
            as many runs as the others; a model may have more of them (a probe) than another
            (logistic regression: one).
        splits: Task to its split.
    """

    def numbered(task: str, values: np.ndarray) -> Iterator[tuple[int, int, float]]:
        runs = len(values) // len(splits[task].folds)
        return ((*divmod(head, runs), float(value)) for head, value in enumerate(values))

    rows = [
        (model, task, fold, run, name, value)
        for (model, task), found in scores.items()
        for name, one in found.items()
        for fold, run, value in numbered(task, one.values)
    ]
    return pd.DataFrame(rows, columns=["model", "task", "fold", "run", "score", "value"])


def split_table(splits: Mapping[str, Split], table: pd.DataFrame) -> pd.DataFrame:
    """Patients and items on each side, one row a fold.

    Args:
        splits: Name (a task, a support size) to its split.
        table: Columns patient and label.
    """
    rows = []
    for name, split in splits.items():
        for number, fold in enumerate(split.folds):
            sides = {"train": fold.train, "validation": fold.validation, "test": split.test}
            patients = {side: len(ids) for side, ids in sides.items()}
            items = {f"{side} items": rows_of(table, ids).sum() for side, ids in sides.items()}
            rows.append(
                {"split": name, "source": split.source, "fold": number, **patients, **items}
            )
    return pd.DataFrame(rows)


def score_table(
    scores: Mapping[str, Mapping[str, RunScores]], kinds: Sequence[str]
) -> pd.DataFrame:
    """Mean over the runs with its patient interval, in percent: one row a task.

    Args:
        scores: Task to scores.
        kinds: Names of scores; one that a task does not have is left empty.
    """
    rows = {
        task: {kind: percent_text(found[kind].score) if kind in found else "" for kind in kinds}
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


def percent_text(score: Score) -> str:
    """Value and interval in percent.

    >>> percent_text(Score(0.5, 0.25, 0.75, 0.5, 8, 4))
    '50.0 (25.0–75.0)'
    """
    return f"{100 * score.value:.1f} ({100 * score.low:.1f}–{100 * score.high:.1f})"


def published_facts(experiment: str, model: str = "fetalclip") -> dict[str, str]:
    """Published scores of a model as the prose shows them: published_TASK.

    Args:
        experiment: First part of the names in published.yaml ("linear_probe").
        model: Whose scores.
    """
    names = [name for name in published_tasks() if name.startswith(f"{experiment}/")]
    found = {name.split("/")[1]: published(name, model) for name in names}
    return {f"published_{task}": f"{100 * one.value:.2f} %" for task, one in found.items() if one}


def chd_sentence(auroc: Score | None, images_are: str) -> str:
    """What the prose says of heart disease: its AUROC, or that it was not measured.

    Args:
        auroc: None where no clips were given.
        images_are: What the prose calls the clips (`tables.kind_of_images`).
    """
    if auroc is None:
        return "No clips of hearts were given, so heart disease was not measured."
    value = format_value("auroc", auroc.value)
    interval = format_interval("auroc", auroc.low, auroc.high)
    clips = f"{auroc.n:,} clips that are {images_are}"
    return f"The AUROC for heart disease is {value} ({interval}), on {clips}."


def deviation(
    splits: Iterable[Split], given: Mapping[str, int], paper: Mapping[str, int] = PROBING
) -> str:
    """How a run's splits and settings differ from the paper's; empty if they do not.

    Nothing else is compared.

    Args:
        splits: What was trained and tested on.
        given: The run's settings.
        paper: The paper's.

    >>> deviation([Split("own", (), ())], {"copies": 3, "runs": 5})
    'own split, 3 copies'
    >>> deviation([Split("official", (), ())], {"copies": 1, "runs": 1})
    '1 copy, 1 run'
    """
    kinds = dict.fromkeys(split.source for split in splits if split.source != "official")
    texts = [f"{kind} split" for kind in kinds]
    numbers = {_ONE.get(name, name) if n == 1 else name: n
               for name, n in given.items() if n != paper[name]}  # fmt: skip
    return ", ".join(texts + [f"{n} {name}" for name, n in numbers.items()])


def split_facts(split: Split) -> dict[str, object]:
    """Source of a split and its numbers of patients, of the first fold."""
    first = split.folds[0]
    return {
        "split": split.source,
        "test_patients": len(split.test),
        "train_patients": len(first.train),
        "validation_patients": len(first.validation),
    }


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
        Subgroup to the mean over heads. Groups of one class, or with fewer than five patients
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
