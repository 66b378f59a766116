"""Two runs side by side: what they have measured on the same images by the same protocol."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fetalclip_nb.errors import ResultError, listing, refuse
from fetalclip_nb.experiments.summary import flat
from fetalclip_nb.experiments.summary.cells import Chapters, read_chapters
from fetalclip_nb.experiments.summary.comparisons import answers_of
from fetalclip_nb.paths import resolve, shown
from fetalclip_nb.results.formats import (
    format_difference,
    format_probability,
    with_interval,
)
from fetalclip_nb.stats.answers import between
from fetalclip_nb.stats.differences import LEVEL, Difference, holm
from fetalclip_nb.stats.scores import Score

_UNLIKE = "other "
"""How the reasons begin for which two scores are not compared."""


@dataclass(frozen=True)
class Side:
    """One of two runs: its rows (`flat.flat_table`), and its chapters where it is a folder."""

    name: str
    table: pd.DataFrame
    chapters: Chapters | None = None

    def cells(self, model: str, measure: str) -> list[dict]:
        """What each of the model's rows knows of a measure, by part (`flat.PARTS`)."""
        rows = self.table[(self.table["model"] == model) & self.table[f"{measure}/value"].notna()]
        names = {f"{measure}/{part}": part for part in flat.PARTS}
        return rows[[*names]].rename(columns=names).to_dict("records")

    def answers(self, model: str, measure: str) -> dict[str, pd.DataFrame]:
        """What the model answered for each image; nothing where that was not kept."""
        if self.chapters is None:
            return {}
        row = flat.rows_of(self.chapters, measure)[model]
        return answers_of(self.chapters, flat.MEASURES[measure], row)


def open_side(name: str) -> Side:
    """A folder of results, a file of rows, or "reference" for the rows that come with the book.

    Raises:
        ResultError: It is not there, or cannot be used.
    """
    path = flat.reference() if name == "reference" else resolve(name)
    if path.is_dir():
        chapters = read_chapters(path, flat.CHAPTERS)
        return Side(name, flat.flat_table(chapters), chapters)
    expected = "a folder build/NAME/results, a CSV or parquet file of rows, or 'reference'"
    missing = [] if path.is_file() else [shown(path)]
    refuse(missing, "There are no results", error=ResultError, expected=expected)
    return Side(name, flat.read_flat(path))


def compare(a: Side, b: Side, models: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Every measure that both have of a model, and by how much B is above A.

    Args:
        a: The first run.
        b: The second.
        models: Name in the first to name in the second; None takes every name that both have.

    Returns:
        One row a measure of a model, in numbers (fractions). A difference is paired where both
        have kept their answers for the same images: it then has an interval, and p as of
        `Difference`, corrected for the whole table in p_holm. Column how says what was done.

    Raises:
        ResultError: A model is not there, or nothing was measured on the same images by the same
            protocol.
    """
    known = [[*dict.fromkeys(side.table["model"])] for side in (a, b)]
    pairs = {name: name for name in known[0] if name in known[1]} if models is None else models
    for side, names, asked in zip((a, b), known, (pairs, pairs.values()), strict=True):
        details = {"error": ResultError, "where": side.name, "expected": listing(names)}
        refuse([name for name in asked if name not in names], "Model has no results", **details)
    found = [_line(a, b, pair, measure) for pair in pairs.items() for measure in flat.MEASURES]
    lines = [line for line in found if line]
    if all(line["how"].startswith(_UNLIKE) for line in lines):
        raise ResultError(
            "Nothing can be compared",
            where=f"{a.name} and {b.name}",
            expected="a model of both, measured on the same images by the same protocol",
            found=listing(dict.fromkeys(line["how"] for line in lines), 2) or "no common model",
            fix="run both with one profile, or name two models with --model A_NAME=B_NAME",
        )
    table = pd.DataFrame(lines)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"]))
    return table


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
    """What `compare` gives, as texts, in percent."""
    rows = []
    for line in table.to_dict("records"):
        paired, column = line["p"] >= 0, flat.MEASURES[line["measure"]]
        apart = "–" if pd.isna(line["difference"]) else f"{100 * line['difference']:+.1f}"
        given = (line[name] for name in ("difference", "low", "high", "p"))
        rows.append(
            {
                "model": " / ".join(dict.fromkeys((line["a_model"], line["b_model"]))),
                "task": f"{column.name} ({column.measure})",
                **{side.upper(): _with_interval(line, side) for side in "ab"},
                "B - A": format_difference(Difference(*given, 0, 0, 0)) if paired else apart,
                "p (Holm)": format_probability(line["p_holm"]) if paired else "–",
                "told apart": ("no", "yes")[line["p_holm"] < LEVEL] if paired else "–",
                "how": line["how"],
            }
        )
    return pd.DataFrame(rows)


def _line(a: Side, b: Side, models: tuple[str, str], measure: str) -> dict[str, object]:
    """A measure of a model; where a file has several rows of it, those that fit each other."""
    firsts, seconds = a.cells(models[0], measure), b.cells(models[1], measure)
    both = [(first, second) for first in firsts for second in seconds]
    if not both:
        return {}
    first, second = min(both, key=lambda pair: bool(_unlike(*pair)))
    how, tested, apart = _unlike(first, second), None, float("nan")
    if not how:
        answers = b.answers(models[1], measure), a.answers(models[0], measure)
        tested = next(iter(between(*answers).values()), None)
        apart = tested.value if tested else second["value"] - first["value"]
        how = f"paired, {tested.groups:,} {first['units']}" if tested else "not paired"
    return {
        **{"a_model": models[0], "b_model": models[1], "measure": measure},
        **{f"a_{part}": value for part, value in first.items()},
        **{f"b_{part}": value for part, value in second.items()},
        "difference": apart,
        **{name: getattr(tested, name, float("nan")) for name in ("low", "high", "p")},
        "how": how,
    }


def _unlike(first: Mapping, second: Mapping) -> str:
    """Why two scores cannot be compared, or ""."""
    if first["data"] != second["data"]:
        return f"{_UNLIKE}images: {first['data']} / {second['data']}"
    return f"{_UNLIKE}protocol" * (first["protocol"] != second["protocol"])


def _with_interval(line: Mapping, side: str) -> str:
    value, low, high = (line[f"{side}_{part}"] for part in ("value", "low", "high"))
    return with_interval(Score(value, low, high, value, 0, 0))
