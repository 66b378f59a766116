"""Tables of the book: ours beside the published numbers, all scores of a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pandas.io.formats.style import Styler

from fetalclip_nb.files import slug
from fetalclip_nb.results.formats import (
    Sentence,
    format_difference,
    format_interval,
    format_number,
    format_probability,
    format_range,
    format_value,
    readable,
    with_interval,
)
from fetalclip_nb.results.published import Published, published
from fetalclip_nb.results.result_files import Row, load_results
from fetalclip_nb.stats.differences import LEVEL, Difference, holm
from fetalclip_nb.stats.scores import Score

_INTERVAL, _IMAGE_INTERVAL = "95 %, patients", "95 %, images"

_TO_FIRST, _PROBABILITY = "to the first row (95 %)", "p (Holm)"

_UNKNOWN = "–"


def comparison_table(
    results: Mapping[str, Row], metric: str, task: str | None = None, *, deviation: str = ""
) -> pd.DataFrame:
    """Ours, intervals, published value and difference, paired differences, one row a model.

    A difference is only given where it means something: real images, as many of them as
    the published number was measured on. Published models that were not run get a row too.

    Args:
        results: As given by `load_results`.
        metric: Name of the score.
        task: Name of the published number, if the paper has it.
        deviation: How this run leaves the paper's protocol ("our sentences"); shown in place
            of a difference, except for the authors' own released outputs.

    Returns:
        A table of texts, indexed by model; scores in percent (or days, mm, or without a unit)
        with two decimals, as the paper gives them. Image intervals have a column where any are
        known.
    """
    known = published().get(task or "", {})
    names = {title: published_name(row) for title, row in results.items()}
    unknown = {title: row for title, row in results.items() if not (names[title] or row.reader)}
    claimed = [title for title, row in unknown.items() if slug(row.model) in known]
    rows = [
        _comparison_row(title, row, metric, known.get(names[title]), deviation)
        | ({"difference": "unknown weights"} if title in claimed else {})
        for title, row in results.items()
        if metric in row.scores
    ]
    for model, entry in known.items():
        if model not in names.values():
            value = format_number(entry.value, decimals=2)
            name = f"{model} (published)" if model in results else model
            rows.append({"model": name, "images": "real", "ours": "not run", "published": value})
    for title, (found, p) in _tested(results, metric).items():
        row = next(row for row in rows if row["model"] == title)
        row |= {_TO_FIRST: format_difference(found, 2), _PROBABILITY: format_probability(p)}
    table = pd.DataFrame(rows).fillna("").set_index("model")
    table = table.rename_axis(index=None, columns=readable(metric.partition("/")[0]))
    if set(table[_IMAGE_INTERVAL]) <= {_UNKNOWN, ""}:
        table = table.drop(columns=_IMAGE_INTERVAL)
    table = table.rename(columns={_INTERVAL: _INTERVAL.replace("patients", units_of(results))})
    return table if known else table.drop(columns=["published", "difference"])


def units_of(results: Mapping[str, Row]) -> str:
    """What intervals of these rows draw: "patients", or "examinations" (`Dataset.units`)."""
    known = (row.provenance.get("units") for row in results.values())
    return next(filter(None, known), "patients")


def ranking(results: Mapping[str, Row], metric: str) -> Sentence:
    """Which rows this test set tells from the first one, and which differences it could show.

    Args:
        results: As given by `load_results`; Holm's correction is for all of them.
        metric: Name of the score.
    """
    rows = _tested(results, metric)
    if not rows:
        return Sentence("No other row has answers for the same images: nothing is tested.")
    sides: dict[str, list[str]] = {"Above": [], "Below": [], "Not told from": []}
    for title, (found, p) in rows.items():
        side = ("Above" if found.value > 0 else "Below") if p < LEVEL else "Not told from"
        sides[side].append(title)
    first = next(title for title, row in results.items() if metric in row.scores)
    told = " ".join(f"{side} it: {'; '.join(names)}." for side, names in sides.items() if names)
    open_ones = [rows[title][0] for title in sides["Not told from"]] or [
        d for d, _ in rows.values()
    ]
    least = [d.smallest(len(rows)) for d in open_ones]
    shown = sorted({format_number(x, open_ones[0].unit) for x in least if x == x}, key=float)
    unit = open_ones[0].unit.replace("%", "points")
    could = f"Too few {units_of(results)} differ for any difference to be shown."
    if shown:
        size = " to ".join(dict.fromkeys((shown[0], shown[-1])))
        could = f"Four of five such test sets would show differences of {size} {unit}"
        could += " with the rows that it does not tell apart." if sides["Not told from"] else "."
    claims = f"{len(rows)} other row{'s' * (len(rows) > 1)}"
    patients = f"{open_ones[0].groups:,} {units_of(results)}"
    tested = f"Beside {first}, on the same {patients}, corrected for {claims}."
    return Sentence(f"{tested} {told} {could}")


def _tested(results: Mapping[str, Row], metric: str) -> dict[str, tuple[Difference, float]]:
    """Difference to the first row and its probability, corrected for all, by title."""
    found = {t: r.differences[metric] for t, r in results.items() if metric in r.differences}
    corrected = holm([each.p for each in found.values()]).tolist()
    return {title: (found[title], p) for title, p in zip(found, corrected, strict=True)}


def published_name(row: Row) -> str:
    """Whose published scores belong to a row: known weights count, a name shows nothing."""
    known = row.provenance.get("model", {}).get("published", "")
    # Another reader of a model's features is no row of the paper.
    return "" if row.reader else slug(row.model) if row.kind == "released" else known


def _comparison_row(
    title: str, row: Row, metric: str, known: Published | None, deviation: str
) -> dict:
    score = row.score(metric)
    ranges = {unit: format_range(found, decimals=2) for unit, found in row.scores[metric].items()}
    return {
        "model": title,
        "images": "phantoms" if row.synthetic else "real",
        "n": f"{score.n:,}",
        "ours": format_number(score.value, score.unit, 2),
        _INTERVAL: ranges.get("patient", _UNKNOWN),
        _IMAGE_INTERVAL: ranges.get("image", _UNKNOWN),
        "published": format_number(known.value, decimals=2) if known else "",
        "difference": _difference(row, score, known, deviation),
    }


def difference_table(results_dir: Path, chapters: Sequence[str]) -> pd.DataFrame:
    """Every difference between the models and baselines of some chapters, as its tables have it.

    Args:
        results_dir: Holds a folder of result files for each chapter that was run.
        chapters: Names of notebooks.

    Returns:
        Texts, one row a difference: score, row, first row, difference, p (Holm), told apart.
    """
    lines = []
    for chapter in [name for name in chapters if (results_dir / name).is_dir()]:
        results = of_kind(load_results(results_dir / chapter), "model", "baseline")
        for metric in dict.fromkeys(m for row in results.values() for m in row.differences):
            first = next(title for title, row in results.items() if metric in row.scores)
            for title, (found, p) in _tested(results, metric).items():
                lines.append(
                    {
                        # Blanks, so that a narrow page may break the line.
                        "score": f"{chapter[:2]} {readable(metric).replace('/', ' / ')}",
                        "row": title,
                        "first row": first,
                        "difference": format_difference(found),
                        _PROBABILITY: format_probability(p),
                        "told apart": "yes" if p < LEVEL else "no",
                    }
                )
    return pd.DataFrame(lines)


def sentence_table(*prompts: Mapping[str, Sequence[str]]) -> Styler:
    """The first sentence of each class of some sets, as plain text whatever a user wrote."""
    first = {name: texts[0] for classes in prompts for name, texts in classes.items()}
    table = pd.DataFrame({"first of its sentences": first}).style.format(escape="html")
    return table.format_index(escape="html").set_properties(**{"text-align": "left"})


def class_table(row: Row) -> pd.DataFrame:
    """F1 and accuracy of one model by task and class, with intervals over patients, as texts.

    Of each task the mean over the classes comes first.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for metric in row.scores:
        task, _, rest = metric.partition("/")
        kind, _, name = rest.partition("/")
        column = {"f1": "F1", "accuracy": "accuracy"}.get(kind.removesuffix("_macro"))
        if column and task != "eight_classes":
            texts = rows.setdefault((readable(task), name or "mean over classes"), {})
            texts[column] = format_value(row.score(metric))
            texts[f"{column}, 95 %"] = format_interval(row.score(metric))
    return pd.DataFrame.from_dict(rows, orient="index")


def class_scores(
    results: Mapping[str, Row], kind: str, classes: Sequence[str]
) -> dict[str, dict[str, Score]]:
    """Scores "f1" or "accuracy" (patients resampled) of every row by class, for a figure.

    Classes are in the order to show.
    """
    return {
        title: {
            name: row.score(metric)
            for name in classes
            for metric in row.scores
            if metric.endswith(f"/{kind}/{name}")
        }
        for title, row in results.items()
    }


def of_kind(results: Mapping[str, Row], *kinds: str) -> dict[str, Row]:
    """The rows of some kinds ("model", "baseline", "control", ...), in table order."""
    return {title: row for title, row in results.items() if row.kind in kinds}


def scores_of(results: Mapping[str, Row], metric: str) -> dict[str, Score]:
    """One score of each row (patients resampled where they are known), for a figure."""
    return {title: row.score(metric) for title, row in results.items()}


def plain_table(scores: Mapping[str, Mapping[str, Score]], metrics: Sequence[str]) -> pd.DataFrame:
    """Values with intervals as texts, in percent, days, mm or no unit: one row a predictor."""
    rows = {
        name: {"n": f"{found[metrics[0]].n:,}"}
        | {metric: with_interval(found[metric], decimals=2) for metric in metrics}
        for name, found in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def percent(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A table with some columns of fractions as texts in percent with one decimal."""
    texts = {name: [f"{100 * value:.1f}" for value in table[name]] for name in columns}
    return table.assign(**texts)


def _difference(row: Row, score: Score, known: Published | None, deviation: str) -> str:
    if known is None:
        return ""
    if row.synthetic:
        return "phantoms"
    if known.n and score.n != known.n:
        return f"other n ({known.n:,})"
    if deviation and row.kind != "released":
        return deviation
    return f"{round(100 * (score.value - known.value), 2) + 0.0:+.2f}"
