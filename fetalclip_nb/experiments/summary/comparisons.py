"""Which model is better: every pair of every column, on the same patients, corrected together."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from fetalclip_nb.experiments.summary.cells import Chapters, Column
from fetalclip_nb.results.formats import Sentence
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.stats.answers import between
from fetalclip_nb.stats.differences import LEVEL, Difference, holm


@dataclass(frozen=True)
class Comparison:
    """A column's difference of two models, and its probability corrected for all comparisons."""

    column: Column
    model: str
    other: str
    difference: Difference
    p: float

    @property
    def decided(self) -> bool:
        """Whether the data tell which model is better."""
        return self.p < LEVEL


def compare_models(chapters: Chapters) -> list[Comparison]:
    """Compare all models that answered for the same images.

    Args:
        chapters: As given by `read_chapters`. A difference that a chapter has saved is taken
            as it is; others are made of the saved answers (predictions/KEY.parquet).
    """
    found = []
    for column in chapters.columns:
        measured = chapters.measured(column)
        models = [row for row in measured.values() if row.kind == "model"]
        for other, row in combinations(models, 2):
            difference = _difference(chapters, column, row, other)
            if difference:
                found.append((column, row.model, other.model, difference))
    corrected = holm([difference.p for *_, difference in found]).tolist()
    return [Comparison(*each, p) for each, p in zip(found, corrected, strict=True)]


def ranking(comparisons: Sequence[Comparison]) -> Sentence:
    """Which rankings the data decide, in words."""
    if not comparisons:
        return Sentence("No two models answered for the same images: no ranking is tested.")
    by_column: dict[str, list[Comparison]] = {}
    for each in comparisons:
        by_column.setdefault(each.column.name, []).append(each)
    best: dict[str, list[str]] = {}
    for name, of_column in by_column.items():
        best.setdefault(_best(of_column), []).append(name)
    open_ones = best.pop("", [])
    whole = {len(by_column): f"all {len(by_column)} tasks"} if len(by_column) > 1 else {}
    told = "; ".join(f"{m} in {whole.get(len(n), ', '.join(n))}" for m, n in best.items())
    decided = sum(each.decided for each in comparisons)
    texts = (
        f"The data decide {decided} of {len(comparisons)} comparisons, corrected together.",
        f"Better than every other model: {told}." if told else "",
        f"No model is told from all others in: {', '.join(open_ones)}." if open_ones else "",
    )
    return Sentence(" ".join(filter(None, texts)))


def _best(comparisons: Sequence[Comparison]) -> str:
    """The model that is told to be better than every other one of a column, or ""."""
    names = {name for each in comparisons for name in (each.model, each.other)}
    wins = [
        each.model if each.difference.value > 0 else each.other
        for each in comparisons
        if each.decided
    ]
    return next((name for name in sorted(names) if wins.count(name) == len(names) - 1), "")


def _difference(chapters: Chapters, column: Column, row: Row, other: Row) -> Difference | None:
    rows = chapters.rows[column.chapter].values()
    first = next(each for each in rows if column.metric in each.scores)
    if other is first and column.metric in row.differences:
        return row.differences[column.metric]
    answers = [answers_of(chapters, column, each) for each in (row, other)]
    return between(*answers).get(column.metric)


def answers_of(chapters: Chapters, column: Column, row: Row) -> dict[str, pd.DataFrame]:
    """What a row answered for each image, by the metric; nothing where that was not kept."""
    path = chapters.folder / column.chapter / "predictions" / f"{row.key}.parquet"
    if not path.is_file():
        return {}
    table = pd.read_parquet(path, filters=[("metric", "==", column.metric)])
    # Columns of other kinds of answers are empty here.
    return {column.metric: table.dropna(axis=1, how="all")} if len(table) else {}
