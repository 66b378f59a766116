"""One row a model: what a run has measured, on which images, by which protocol, with which code.

Nothing in a row depends on when it was made: the same run gives the same row.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from fetalclip_nb.errors import ResultError, reading, refuse
from fetalclip_nb.experiments.summary.cells import (
    BEYOND,
    COLUMNS,
    Chapters,
    Column,
    read_chapters,
)
from fetalclip_nb.files import key, whole
from fetalclip_nb.models.pixels import PixelEncoder
from fetalclip_nb.paths import project_root
from fetalclip_nb.results.result_files import Row

_FEW, _NEAR = ("05_few_data", "few_data"), ("07_embeddings", "embeddings")
_MORE = (
    Column("planes, 16 patients", "F1", *_FEW, "six_planes_16/f1_macro"),
    Column("own classes, 16 patients", "F1", *_FEW, "own_classes_16/f1_macro"),
    Column("heads, 16 patients", "DSC", *_FEW, "head_16/dsc"),
    Column("maps, insertion less deletion", "area", "06_cam", "cam", "difference/all"),
    Column("maps, share on the head", "energy", "06_cam", "cam", "energy/head"),
    Column("neighbours, planes", "purity", *_NEAR, "planes/purity"),
    Column("neighbours, brain", "purity", *_NEAR, "brain/purity"),
    Column("neighbours, own classes", "purity", *_NEAR, "own_classes/purity"),
)

MEASURES = {f"{each.experiment}/{each.metric}": each for each in (*COLUMNS, *BEYOND, *_MORE)}
"""Name of a measure in a row's columns to where it is found; all are fractions, or differences."""

_TRAINED_ON = {"linear_probe/african_planes/f1_macro": "linear_probe/six_planes/f1_macro"}
"""Measure to the one on whose images the heads were trained, where these are others."""

CHAPTERS = ", ".join(dict.fromkeys(column.chapter for column in MEASURES.values()))

STAND_INS = (PixelEncoder.name, "majority class")
"""Baselines that stand where a model would."""

_TEXTS = ("units", "images", "data", "protocol")
PARTS = dict.fromkeys(("value", "low", "high"), "float64") | {"n": "Int64"}
PARTS |= dict.fromkeys(_TEXTS, "str")
"""What a measure's columns MEASURE/PART hold: n units ("patients") were resampled; images are
"real" or "phantoms"; data are a name and a fingerprint; protocol stands for a chapter's settings.
"""

_MACHINE = ("precision", "device", "package", "commit", "python", "versions")
ABOUT = dict.fromkeys(("model", "kind", "reader", "images", "source", "fingerprint"), "str")
ABOUT |= {"parameters": "Int64"}
ABOUT |= dict.fromkeys(("published", "data", "protocol", *_MACHINE), "str")
"""Columns that are about a whole row, and their types."""

_TYPES = ABOUT | {f"{m}/{part}": kind for m in MEASURES for part, kind in PARTS.items()}

_NEUTRAL = (
    *("profile", "models", "device", "precision", "results_dir", "cache_dir", "batch_size"),
    *("mask_batch", "compare", "image_only", "overlay_weight", "sentences"),
    *("map_neighbours", "map_spread", "atlas_images"),
)
"""Parameters that change no score of a model, or have a column of their own; so do folders."""


def reference() -> Path:
    """The rows that come with the book."""
    return project_root() / "book" / "_static" / "reference.csv"


def flat_table(results: Path | Chapters) -> pd.DataFrame:
    """One row a model, and one for each baseline that stands for a model.

    Args:
        results: What a run has left (build/NAME/results), or its chapters as read of it.

    Raises:
        ResultError: No chapter has results, a file is damaged, or one name stands for two models.
    """
    chapters = results if isinstance(results, Chapters) else read_chapters(results, CHAPTERS)
    found: dict[str, dict[str, Row]] = {}
    for measure in MEASURES:
        for model, row in rows_of(chapters, measure).items():
            found.setdefault(model, {})[measure] = row
    order = sorted(found, key=lambda model: model in STAND_INS)
    return _typed(pd.DataFrame([_row(found[model], chapters) for model in order]))


def rows_of(chapters: Chapters, measure: str) -> dict[str, Row]:
    """Result files of a measure by the name of the model, or of the baseline in its place."""
    column, found = MEASURES[measure], {}
    for row in chapters.rows.get(column.chapter, {}).values():
        stands = row.kind == "baseline" and row.model in STAND_INS
        if column.metric in row.scores and (stands or (row.kind == "model" and not row.reader)):
            found.setdefault(row.model, row)
    return found


def write_flat(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write FOLDER/models.csv and FOLDER/models.parquet."""
    paths = [folder / "models.csv", folder / "models.parquet"]
    with whole(paths[0]) as made:
        table.to_csv(made, index=False, lineterminator="\n")
    with whole(paths[1]) as made:
        table.to_parquet(made, index=False)
    return paths


def read_flat(path: Path) -> pd.DataFrame:
    """Rows that `write_flat` has written; measures that an older file does not have are empty.

    Raises:
        ResultError: The file cannot be read, has other columns, or numbers that are no scores.
    """
    details = {"error": ResultError, "expected": "a file that fetalclip-nb has written"}
    with reading(path, "Rows of models cannot be read", **details):
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        details["where"] = path
        refuse([name for name in table if name not in _TYPES], "Columns are unknown", **details)
        refuse([name for name in ABOUT if name not in table], "Columns are missing", **details)
        table = _typed(table)
        for measure in MEASURES:
            value, low, high = (table[f"{measure}/{part}"] for part in ("value", "low", "high"))
            right = (value.abs() <= 1) & (low >= -1) & (low <= high) & (high <= 1)
            wrong = table["model"][value.notna() & ~right]
            refuse(wrong, f"No fraction with an interval in {measure}", **details)
    return table


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """All columns in their order, empty texts where there are none."""
    texts = dict.fromkeys((name for name, kind in _TYPES.items() if kind == "str"), "")
    return table.reindex(columns=[*_TYPES]).fillna(texts).astype(_TYPES)


def _row(measured: Mapping[str, Row], chapters: Chapters) -> dict[str, object]:
    rows = [*measured.values()]
    made = [_made_with(row) for row in rows]
    weights = {each["fingerprint"]: each["model"] for each in made}
    what, where = "One name stands for different weights", f"{chapters.folder}, {rows[0].model}"
    refuse([*weights][1:] and weights, what, error=ResultError, where=where, fix="run all again")
    cells = {measure: _cells(measure, row, chapters) for measure, row in measured.items()}
    for tested, trained in _TRAINED_ON.items():
        if {tested, trained} <= {*cells}:
            cells[tested]["data"] += f", trained on {cells[trained]['data']}"
    protocols = {MEASURES[measure].chapter: each["protocol"] for measure, each in cells.items()}
    return {
        **{name: _joined(each.get(name) for each in made) for name in ABOUT},
        **next((each["model"] for each in made if each["model"]), {"parameters": None}),
        "model": rows[0].model,
        "kind": rows[0].kind,
        "reader": _joined(row.reader for row in rows),
        "images": _joined(sorted(each["images"] for each in cells.values())),
        "data": _joined(sorted(each["data"] for each in cells.values())),
        "protocol": key(protocols),
        **{f"{m}/{part}": value for m, each in cells.items() for part, value in each.items()},
    }


def _made_with(row: Row) -> dict[str, object]:
    made = row.provenance
    versions = " ".join(f"{name}-{each}" for name, each in made.get("versions", {}).items())
    model = made.get("model", {})
    return {**made, "model": model, "fingerprint": model.get("fingerprint"), "versions": versions}


def _cells(measure: str, row: Row, chapters: Chapters) -> dict[str, object]:
    """What a measure's columns hold, by part."""
    column, made = MEASURES[measure], row.provenance
    score, facts = row.score(column.metric), chapters.facts.get(column.chapter, {})
    settings = {
        name: value
        for name, value in row.parameters.items()
        if name not in _NEUTRAL and not name.endswith("_root")
    }
    # What "auto" came to, and whose sentences were found.
    settings |= {f"facts/{name}": facts.get(name) for name in ("split", "sentences")}
    return {
        **{part: getattr(score, part) for part in ("value", "low", "high")},
        "n": score.groups,
        "units": made.get("units", "") if "patient" in row.scores[column.metric] else "images",
        "images": "phantoms" if row.synthetic else "real",
        "data": f"{made.get('dataset', '')} {made.get('dataset_fingerprint', '')}".strip(),
        "protocol": key({**settings, "reader": row.reader}),
    }


def _joined(texts: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(text) for text in texts if text))
