"""Tables of the book: ours beside the published numbers, all scores of a model."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fetalclip_nb.files import slug
from fetalclip_nb.results.formats import format_interval, format_number, format_value
from fetalclip_nb.results.published import Published, published_scores
from fetalclip_nb.stats.scores import Score

SUFFIXES = (
    *(" (CHD)", " (abdomen)", " (four-chamber)", " (heads)", " (released outputs)"),
    *(" (ScoreCAM)", " (GradCAM)", " (LayerCAM)"),
)
"""Endings of a result's name that say what was measured, not with which model."""

_IMAGE_INTERVAL = "95 %, images"

_UNKNOWN = "–"


def comparison_table(
    results: Mapping[str, dict],
    metric: str,
    task: str | None = None,
    *,
    deviation: str = "",
) -> pd.DataFrame:
    """Ours, intervals, published value and difference, one row a model.

    A difference is only given where it means something: real images, as many of them as
    the published number was measured on. Published models that were not run get a row too.

    Args:
        results: As given by `load_results`.
        metric: Name of the score.
        task: Name of the published number; None where the paper has none.
        deviation: How this run leaves the paper's protocol ("our sentences"); shown in place
            of a difference, except for the authors' own released outputs.

    Returns:
        A table of texts, indexed by model; scores in percent (or days, mm, or without a unit)
        with two decimals, as the paper gives them. Image intervals have a column where any are
        known.
    """
    known = published_scores(task) if task else {}
    rows = []
    for name, content in results.items():
        if metric in content["scores"]:
            entry = known.get(_published_name(name))
            remark = "" if content["kind"] == "released" else deviation
            rows.append(_comparison_row(name, content, metric, entry, remark))
    run = {_published_name(name) for name in results}
    for model, entry in known.items():
        if model not in run:
            value = _number(metric, entry.value)
            rows.append({"model": model, "images": "real", "ours": "not run", "published": value})
    table = pd.DataFrame(rows).fillna("").set_index("model").rename_axis(None)
    if set(table[_IMAGE_INTERVAL]) <= {_UNKNOWN, ""}:
        table = table.drop(columns=_IMAGE_INTERVAL)
    return table if task else table.drop(columns=["published", "difference"])


def _comparison_row(
    name: str, content: dict, metric: str, known: Published | None, deviation: str
) -> dict:
    units = content["scores"][metric]
    score = units.get("patient") or units["image"]
    return {
        "model": name,
        "images": "phantoms" if content["synthetic"] else "real",
        "n": f"{score['n']:,}",
        "ours": _number(metric, score["value"]),
        "95 %, patients": _range(metric, units.get("patient")),
        _IMAGE_INTERVAL: _range(metric, units.get("image")),
        "published": _number(metric, known.value) if known else "",
        "difference": _difference(content, score, known, deviation),
    }


def _number(metric: str, value: float) -> str:
    return format_number(metric, value, decimals=2)


def _range(metric: str, score: dict | None) -> str:
    """An interval, or a dash where the units are not known."""
    if score is None:
        return _UNKNOWN
    return f"{_number(metric, score['low'])}–{_number(metric, score['high'])}"


def _published_name(name: str) -> str:
    """The published model that a row is compared with.

    >>> [_published_name(name) for name in ("FetalCLIP (CHD)", "fetalclip-chd")]
    ['fetalclip', 'fetalclip-chd']
    """
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return slug(name)


def class_table(content: dict) -> pd.DataFrame:
    """F1 and accuracy of one model by task and class, with intervals over patients.

    Args:
        content: One of `load_results`.

    Returns:
        Texts; rows are (task, class), the mean over the classes first.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for metric, units in content["scores"].items():
        task, _, rest = metric.partition("/")
        kind, _, name = rest.partition("/")
        kind = kind.removesuffix("_macro")
        if kind in _CLASS_COLUMNS and task != "eight_classes":
            row = rows.setdefault((task.replace("_", " "), name or "mean over classes"), {})
            score = units.get("patient") or units["image"]
            row[_CLASS_COLUMNS[kind]] = format_value(metric, score["value"])
            interval = format_interval(metric, score["low"], score["high"])
            row[f"{_CLASS_COLUMNS[kind]}, 95 %"] = interval
    return pd.DataFrame.from_dict(rows, orient="index")


_CLASS_COLUMNS = {"f1": "F1", "accuracy": "accuracy"}


def class_scores(
    results: Mapping[str, dict], kind: str, classes: Sequence[str]
) -> dict[str, dict[str, Score]]:
    """Per-class scores of every trained or untrained model, for a figure.

    Args:
        results: As given by `load_results`.
        kind: "f1" or "accuracy".
        classes: Classes in the order to show.

    Returns:
        Model to class to score (patients resampled).
    """
    found = {}
    for name, content in results.items():
        by_class = {
            metric.rsplit("/", 1)[1]: Score(**(units.get("patient") or units["image"]))
            for metric, units in content["scores"].items()
            if f"/{kind}/" in metric
        }
        if content["kind"] != "baseline":
            found[name] = {c: by_class[c] for c in classes}
    return found


def of_kind(results: Mapping[str, dict], *kinds: str) -> dict[str, dict]:
    """The results of some kinds ("model", "baseline", "control", ...), in table order."""
    return {name: content for name, content in results.items() if content["kind"] in kinds}


def scores_of(results: Mapping[str, dict], metric: str) -> dict[str, Score]:
    """One score of each model (patients resampled where they are known), for a figure."""
    units = {name: content["scores"][metric] for name, content in results.items()}
    return {
        name: Score(**(found.get("patient") or found["image"])) for name, found in units.items()
    }


def plain_table(scores: Mapping[str, Mapping[str, Score]], metrics: Sequence[str]) -> pd.DataFrame:
    """Values with intervals as texts, in percent, days, mm or no unit: one row a predictor."""

    def text(metric: str, score: Score) -> str:
        return f"{_number(metric, score.value)} ({_range(metric, vars(score))})"

    rows = {
        name: {"n": f"{found[metrics[0]].n:,}"} | {m: text(m, found[m]) for m in metrics}
        for name, found in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def percent(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """A table with some columns of fractions as texts in percent with one decimal."""
    texts = {name: [f"{100 * value:.1f}" for value in table[name]] for name in columns}
    return table.assign(**texts)


def _difference(content: dict, score: dict, known: Published | None, deviation: str) -> str:
    if known is None:
        return ""
    if content["synthetic"]:
        return "phantoms"
    if known.n and score["n"] != known.n:
        return f"other n ({known.n:,})"
    if deviation:
        return deviation
    return f"{round(100 * (score['value'] - known.value), 2) + 0.0:+.2f}"
