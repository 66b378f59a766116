"""Splits, runs and settings of a run, beside the paper's."""

import re
from collections.abc import Iterable, Mapping

import pandas as pd

from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.splits import Split, rows_of

PROBING = {"copies": 5, "runs": 5, "epochs": 50, "preparation": "published", "probe_batch": 64}

FEW_DATA = PROBING | {"copies": 10, "epochs": 100, "probe_batch": 16}
"""The paper's settings (arXiv 2502.14807, linear probing and few-data training)."""


def task_results(scores: Mapping[str, RunScores], task: str) -> dict[str, dict[str, Score]]:
    """Scores of a task, as given by `run_scores`, as `Session.save` takes them: TASK/SCORE."""
    return {f"{task}/{name}": {"patient": found.score} for name, found in scores.items()}


def runs_table(
    scores: Mapping[tuple[str, str], Mapping[str, RunScores]], splits: Mapping[str, Split]
) -> pd.DataFrame:
    """Every score of every fit: model, task, fold, run, score, value.

    Args:
        scores: (model, task) to scores of fits in the order of folds and runs. Each fold has
            as many runs as the others; a model may have more of them (a probe) than another
            (logistic regression: one).
        splits: Task to its split.
    """
    rows = []
    for (model, task), found in scores.items():
        for name, outcome in found.items():
            runs = len(outcome.values) // len(splits[task].folds)
            numbered = enumerate(outcome.values.tolist())
            rows += [(model, task, *divmod(i, runs), name, value) for i, value in numbered]
    return pd.DataFrame(rows, columns=["model", "task", "fold", "run", "score", "value"])


def split_table(splits: Mapping[str, Split], table: pd.DataFrame) -> pd.DataFrame:
    """Patients and items (rows of a table) on each side, one row a fold of each named split."""
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


def deviation(
    splits: Iterable[Split],
    given: Mapping[str, int | str],
    paper: Mapping[str, int | str] = PROBING,
) -> str:
    """How a run's splits and given settings differ from the paper's; empty if they do not.

    Nothing else is compared.

    >>> deviation([Split("own", (), ())], {"copies": 3, "runs": 5})
    'own split, 3 copies'
    >>> deviation([Split("official", (), ())], {"copies": 1, "preparation": "ours"})
    '1 copy, our preparation'
    """
    kinds = dict.fromkeys(split.source for split in splits if split.source != "official")
    texts = [f"{kind} split" for kind in kinds]
    other = {name: n for name, n in given.items() if n != paper[name]}
    words = {"ours": "our"}
    texts += [f"{words.get(n, n)} {_of_one(name) if n == 1 else name}" for name, n in other.items()]
    return ", ".join(texts)


def _of_one(name: str) -> str:
    """A setting's name where it is one: "run a fold" of "runs a fold"."""
    return "copy" if name == "copies" else re.sub(r"s\b", "", name, count=1)


def split_facts(split: Split) -> dict[str, object]:
    """Source of a split and its numbers of patients, of the first fold."""
    first = split.folds[0]
    return {
        "split": split.source,
        "test_patients": len(split.test),
        "train_patients": len(first.train),
        "validation_patients": len(first.validation),
    }
