"""The summary in words: cells, verdicts, comparisons, context, and what each cell was made with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from fetalclip_nb.experiments.summary.cells import PAPER, Cell, Chapters
from fetalclip_nb.experiments.summary.comparisons import Comparison, ranking
from fetalclip_nb.experiments.summary.verdicts import MEANINGS
from fetalclip_nb.results.formats import (
    Sentence,
    format_difference,
    format_number,
    format_probability,
    format_range,
    readable,
    with_interval,
)
from fetalclip_nb.results.published import context
from fetalclip_nb.results.result_files import Row

_UNKNOWN = "–"


def meanings() -> Styler:
    """What each verdict means."""
    return _broken(pd.DataFrame({"means": MEANINGS}), "means")


def cell_table(cells: Sequence[Cell], part: str) -> Styler | Sentence:
    """Ours, interval, published, difference, n, verdict and reason: one row a cell, in percent.

    Args:
        cells: As given by `all_cells`.
        part: What the names of the columns to show begin with ("zero-shot").
    """
    shown = [cell for cell in cells if cell.column.name.startswith(part)]
    rows = {(_title(cell), cell.model): _texts(cell) for cell in shown}
    if not rows:
        return Sentence("No chapter of this run has such scores.")
    return _broken(pd.DataFrame.from_dict(rows, orient="index"), "reason")


def saved_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """All cells as numbers (fractions), to be kept as a file."""
    rows = []
    for cell in cells:
        row = {"task": _title(cell)}
        row |= {name: getattr(cell, name) for name in ("model", "verdict", "reason")}
        for name in ("value", "low", "high", "n"):
            row[name] = getattr(cell.score, name, None)
        rows.append(row | {"published": getattr(cell.published, "value", None)})
    return pd.DataFrame(rows)


def verdicts(cells: Sequence[Cell]) -> Sentence:
    """How many cells have which verdict."""
    counts = Counter(cell.verdict for cell in cells)
    texts = [f"{name} {counts[name]}" for name in MEANINGS if counts[name]]
    return Sentence(f"Of {len(cells)} cells: {', '.join(texts)}.")


def comparison_table(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """Every difference between two models, in points, with its corrected probability."""
    rows = {
        (_title(each), f"{each.model} minus {each.other}"): {
            "points (95 %)": format_difference(each.difference),
            "p (Holm)": format_probability(each.p),
            "told apart": "yes" if each.decided else "no",
        }
        for each in comparisons
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def later_table(cells: Sequence[Cell], model: str, chapters: Chapters | None = None) -> Styler:
    """What later papers have published, and a model of ours where images and use are the same.

    Args:
        cells: As given by `all_cells`.
        model: Name of the model.
        chapters: As given by `read_chapters`, for scores that are in no cell.
    """
    rows_of = chapters.rows if chapters else {}
    ours = {cell.column: cell for cell in cells if cell.model == model}
    synthetic = any(cell.row and cell.row.synthetic for cell in ours.values())
    rows = []
    for column, cell in ours.items():
        entry = column.published.get("mobilefetalclip")
        if entry:
            value = format_number(entry.value, decimals=2)
            measured = with_interval(cell.score) if cell.score else _UNKNOWN
            rows.append((_title(cell), "mobilefetalclip", value, measured, entry.source))
    for name, use, data, measure, value, source, differs, same in context()["later"]:
        about, shown = f"planes, {use} ({measure})", format_number(value, decimals=2)
        chapter, _, metric = same.partition("/")
        row = _model_row(rows_of.get(chapter, {}), model, metric)
        measured = with_interval(row.score(metric)) if row else _UNKNOWN
        synthetic |= row is not None and row.synthetic
        rows.append((about, name, shown, measured, f"{source}; {data}; {differs}"))
    ours = f"{model}{', phantoms' * synthetic}"
    names = ("score", "model", "published", ours, "source")
    return _broken(pd.DataFrame(rows, columns=names), "source", index=False)


def median_table(chapters: Chapters, model: str) -> pd.DataFrame:
    """A model's scores by class and structure beside medians that a figure shows, in percent."""
    rows = {}
    for chapter, medians in context()["medians"].items():
        saved = chapters.rows.get(chapter, {})
        for metric, values in medians.items():
            task, measure, *name = metric.split("/")
            row = _model_row(saved, model, metric)
            about = f"{readable(task)}, {readable(name[0])}" if name else "CHD"
            rows[f"{about} ({measure.upper()})"] = {
                model: with_interval(row.score(metric)) if row else _UNKNOWN,
                **{paper: f"≈ {100 * v:.0f}" for paper, v in zip(PAPER, values, strict=True)},
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def _model_row(rows: Mapping[str, Row], model: str, metric: str) -> Row | None:
    """The row of a model's own way that has a score."""
    own = (row for row in rows.values() if row.model == model and not row.reader)
    return next((row for row in own if metric in row.scores), None)


def provenance_table(cells: Sequence[Cell]) -> Styler:
    """Minutes, device and versions of every cell, one row for cells that were made together."""
    made = [_made_with(cell) for cell in cells if cell.row]
    names = ("model", "minutes", "device", "weights", "images", "code", "versions")
    table = pd.DataFrame(made, columns=[*names, "cells"])
    numbers, versions = pd.factorize(table["versions"])
    table["versions"] = numbers + 1
    table = table.groupby([*names], sort=False)["cells"].agg(", ".join).reset_index()
    texts = [f"{number}: {escape(text)}" for number, text in enumerate(versions, 1)]
    table = _broken(table[["model", "cells", *names[1:]]], "cells", index=False)
    left = [{"selector": "caption", "props": "text-align: left; caption-side: bottom"}]
    return table.set_caption(f"Versions {'; '.join(texts)}").set_table_styles(left)


def facts(cells: Sequence[Cell], comparisons: Sequence[Comparison]) -> dict[str, object]:
    """What the prose says in numbers."""
    ran = dict.fromkeys(cell.model for cell in cells if cell.row)
    return {
        "verdicts": verdicts(cells),
        "ranking": ranking(comparisons),
        "cells": len(cells),
        "measured": sum(cell.row is not None for cell in cells),
        "models_run": ", ".join(ran) or "none",
    }


def _texts(cell: Cell) -> dict[str, str]:
    score, known = cell.score, cell.published
    compared = cell.verdict in ("reproduced", "differs")
    gap = round(100 * (score.value - known.value), 2) + 0.0 if compared else 0
    return {
        "ours": format_number(score.value, score.unit, 2) if score else _UNKNOWN,
        "95 %": format_range(score, decimals=2) if score else _UNKNOWN,
        "published": format_number(known.value, decimals=2) if known else _UNKNOWN,
        "difference": f"{gap:+.2f}" if compared else _UNKNOWN,
        "n": f"{score.n:,}" if score else _UNKNOWN,
        "verdict": cell.verdict,
        "reason": cell.reason,
    }


def _made_with(cell: Cell) -> tuple[str, ...]:
    made = cell.row.provenance
    packages = {"Python": made["python"], **made["versions"]}
    return (
        cell.model,
        f"{made['seconds_since_start'] / 60:.1f}",
        ", ".join(str(made[name]) for name in ("device", "precision") if name in made),
        str(made.get("model", {}).get("fingerprint", _UNKNOWN))[:8],
        str(made.get("released") or made["dataset_fingerprint"][:8]),
        str(made["commit"]),
        ", ".join(f"{name} {version}" for name, version in packages.items()),
        cell.column.name,
    )


def _title(holder: Cell | Comparison) -> str:
    return f"{holder.column.name} ({holder.column.measure})"


def _broken(table: pd.DataFrame, words: str, *, index: bool = True) -> Styler:
    """A table of texts, shown as text whatever a user wrote; one column breaks its lines."""
    style = table.style.format(escape="html").format_index(escape="html")
    style = style.set_table_attributes('class="dataframe"')
    wide = {"text-align": "left", "white-space": "normal", "min-width": "11em"}
    style = style.set_properties(subset=[words], **wide)
    return style if index else style.hide(axis="index")
