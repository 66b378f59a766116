"""The cells of the paper's table: what a run has measured, and what was published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fetalclip_nb.errors import ResultError
from fetalclip_nb.experiments.summary.verdicts import judge
from fetalclip_nb.results.published import Published, published
from fetalclip_nb.results.result_files import Row, left_out, load_facts, load_results
from fetalclip_nb.results.tables import published_name
from fetalclip_nb.stats.scores import Score

PAPER = ("clip", "biomedclip", "unimed-clip", "fetalclip")
"""Models of the paper's table, in its order."""


@dataclass(frozen=True)
class Column:
    """A column of the paper's table.

    Attributes:
        name: Task in a few words.
        measure: What is measured.
        chapter: Notebook whose result files hold the score.
        experiment: First part of the published number's name.
        metric: Name of the score, and the rest of the published number's.
        private: Whether nobody but the authors has the images.
    """

    name: str
    measure: str
    chapter: str
    experiment: str
    metric: str
    private: bool = False

    @property
    def published(self) -> dict[str, Published]:
        """Published scores by model; none for what is no column of the paper's."""
        return published().get(f"{self.experiment}/{self.metric}", {})


_ASKED, _PROBE = ("01_zero_shot", "zero_shot"), ("03_linear_probing", "linear_probe")
_OUTLINES = ("04_segmentation", "segmentation")

COLUMNS = (
    Column("zero-shot planes", "F1", *_ASKED, "five_planes/f1_macro"),
    Column("zero-shot brain", "F1", *_ASKED, "brain_subplanes/f1_macro"),
    Column("zero-shot age", "VPR", "02_gestational_age", "gestational_age", "vpr"),
    Column("probe planes", "F1", *_PROBE, "six_planes/f1_macro"),
    Column("probe brain", "F1", *_PROBE, "brain_subplanes/f1_macro"),
    Column("probe CHD", "AUROC", *_PROBE, "chd/auroc", private=True),
    Column("outlines head", "DSC", *_OUTLINES, "head/dsc"),
    Column("outlines abdomen", "DSC", *_OUTLINES, "abdomen/dsc", private=True),
    Column("outlines four-chamber", "DSC", *_OUTLINES, "four_chamber/dsc", private=True),
)
"""The paper's."""

OWN = (
    Column("zero-shot own classes", "F1", *_ASKED, "own_classes/f1_macro"),
    Column("probe own classes", "F1", *_PROBE, "own_classes/f1_macro"),
)

BEYOND = (
    *OWN,
    Column("zero-shot African planes", "F1", *_ASKED, "african_planes/f1_macro"),
    Column("probe African planes", "F1", *_PROBE, "african_planes/f1_macro"),
)
"""Columns that the paper has not, shown where there is a score."""


@dataclass(frozen=True)
class Chapters:
    """What the other chapters have left.

    Attributes:
        folder: Holds a folder of result files for each chapter that was run.
        asked: Names of the chapters that were asked for.
        rows: Chapter to its rows by title.
        facts: Chapter to its facts.
        left_out: Chapter to the reason why it was not run; "models": the same of models.
    """

    folder: Path
    asked: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Row]]
    facts: Mapping[str, Mapping[str, object]]
    left_out: Mapping

    @property
    def columns(self) -> list[Column]:
        """The paper's columns of these chapters, and what was measured beyond them.

        A chapter with own classes has these in place of the paper's.
        """
        beyond = [column for column in BEYOND if self.measured(column)]
        own = {column.chapter for column in beyond if column in OWN}
        kept = [c for c in COLUMNS if c.chapter in self.asked and c.chapter not in own]
        return [*kept, *(c for c in COLUMNS if c.chapter in own and self.measured(c)), *beyond]

    def measured(self, column: Column) -> dict[str, Row]:
        """A column's models by name, then the authors' released outputs by title."""
        rows = self.rows.get(column.chapter, {}).values()
        rows = [row for row in rows if column.metric in row.scores]
        models = {row.model: row for row in rows if row.kind == "model" and not row.reader}
        return models | {row.title: row for row in rows if row.kind == "released"}


@dataclass(frozen=True)
class Cell:
    """A cell: its result file and the published score of this very model, if there are any.

    `verdicts.MEANINGS` explains the verdict; the reason says why in a few words.
    """

    model: str
    column: Column
    row: Row | None
    published: Published | None
    verdict: str
    reason: str

    @property
    def score(self) -> Score | None:
        """What was measured, with patients resampled where they are known."""
        return self.row.score(self.column.metric) if self.row else None


def read_chapters(results: Path, chapters: str) -> Chapters:
    """Read the result files of some chapters.

    Args:
        results: Folder of all chapters' results.
        chapters: Their names, separated by commas; those without results count as not run.

    Raises:
        ResultError: None of them has results, or a file is damaged.
    """
    asked = tuple(map(str.strip, chapters.split(",")))
    there = [name for name in asked if (results / name).is_dir()]
    if not there:
        what = "No chapter has results"
        raise ResultError(what, where=results, expected=chapters, fix="run chapters first")
    rows = {name: load_results(results / name) for name in there}
    facts = {name: load_facts(results / name) for name in there}
    return Chapters(results, asked, rows, facts, left_out(results))


def all_cells(chapters: Chapters, models: Sequence[str]) -> list[Cell]:
    """Every cell: the profile's models, those of the paper, and the authors' released outputs.

    Args:
        chapters: As given by `read_chapters`.
        models: Names of the profile's models, in table order.

    Returns:
        Cells, column by column.
    """
    models = [*dict.fromkeys([*models, *chapters.left_out["models"]])]
    measured = {column: chapters.measured(column) for column in chapters.columns}
    ran = {title: row for rows in measured.values() for title, row in rows.items()}
    known = dict.fromkeys(models, "")
    known |= {title: published_name(row) for title, row in ran.items() if row.kind == "model"}
    # A name shows nothing of weights that were scored; what was not run goes by its name.
    known |= {name: name for name in models if name not in ran}
    others = [name for name in PAPER if name not in known.values()]
    known |= {f"{name} (published)" if name in known else name: name for name in others}
    cells = []
    for column, rows in measured.items():
        released = {t: published_name(row) for t, row in rows.items() if row.kind == "released"}
        unlike = str(chapters.facts.get(column.chapter, {}).get("unlike_paper", ""))
        # The paper's models have no place in columns that it has not.
        shown = known if column.published else {name: known[name] for name in models}
        for name, source in (shown | released).items():
            row, entry = rows.get(name), column.published.get(source)
            if row:
                score = row.score(column.metric)
                verdict, reason = judge(row, score, entry, unlike, private=column.private)
            else:
                verdict, reason = _absent(name, column, chapters, name in models)
            cells.append(Cell(name, column, row, entry, verdict, reason))
    return cells


def _absent(model: str, column: Column, chapters: Chapters, ours: bool) -> tuple[str, str]:
    """Why a cell is empty."""
    unfit = chapters.facts.get(column.chapter, {}).get("unfit", {})
    left_out = chapters.left_out.get(column.chapter) or chapters.left_out["models"].get(model)
    left_out = left_out or unfit.get(model)
    if left_out:
        return "not run", left_out
    if column.private:
        return "private", "the authors' own images"
    if not ours:
        return "not run", "not in the profile"
    with_it = " with it" * (column.chapter in chapters.rows)
    return "not run", f"chapter {column.chapter} was not run{with_it}"
