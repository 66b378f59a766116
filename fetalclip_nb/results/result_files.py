"""Result files: what was measured, with what, and the texts that the book shows."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from importlib import metadata
from pathlib import Path

from fetalclip_nb import __version__
from fetalclip_nb.errors import ResultError, reading
from fetalclip_nb.files import slug, write_text
from fetalclip_nb.paths import project_root
from fetalclip_nb.results.formats import format_interval, format_value
from fetalclip_nb.stats.differences import Difference
from fetalclip_nb.stats.scores import Score

HEADLINE = "headline"
"""Key under which the first model of a notebook is glued, whatever its name."""

RECORD = "application/vnd.fetalclip-nb.texts+json"
"""Type of the one output of a notebook that holds all texts of `render_glue`."""

LEFT_OUT = "left_out.json"
"""Beside the notebooks' folders of results: why some did not run, see `left_out`."""

_VERSIONS = ("torch", "open_clip_torch", "numpy", "scikit-learn", "pandas")

_SIDE_FILES = ("facts", "glue")

_DAMAGED = {
    "what": "Result file is damaged or of another version",
    "error": ResultError,
    "fix": "run the notebook again",
}

Scores = Mapping[str, Mapping[str, Score]]
"""Metric name to {"patient": score, "image": score}: the unit that was resampled."""


@dataclass(frozen=True)
class Row:
    """One row of a chapter's tables, and one result file.

    Attributes:
        model: A model's name, or what stands in its place ("majority class", "pixels").
        scores: Metric to unit ("patient", "image") to score.
        differences: Metric to the paired difference from the first row that has it.
        subject: What was measured, where a chapter measures several things ("heads", "CHD").
        reader: What reads the model's features, where that is not the chapter's own way.
        kind: "model", "baseline", "control", "sentence" or "released".
        order: Position in tables; 0 is the headline.
        synthetic: Whether the images are phantoms.
        parameters: The notebook's parameters.
        provenance: As given by `provenance`.
    """

    model: str
    scores: Scores
    differences: Mapping[str, Difference] = field(default_factory=dict)
    subject: str = ""
    reader: str = ""
    kind: str = "model"
    order: int = 0
    synthetic: bool = False
    parameters: dict = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Name in tables."""
        title = f"{self.model}, {self.reader}" if self.reader else self.model
        return f"{title} ({self.subject})" if self.subject else title

    @property
    def key(self) -> str:
        """Name of the file and of the glued texts, another one for every row.

        The kind comes first and "_" is in no part, so that a model of any name is neither a
        baseline nor a side file.
        """
        parts = (self.kind, self.model, self.reader, self.subject)
        return "_".join(slug(part) for part in parts if part)

    def score(self, metric: str) -> Score:
        """A score with patients resampled, or images where patients are not known."""
        units = self.scores[metric]
        return units.get("patient") or units["image"]


def save_row(folder: Path, row: Row) -> Path:
    """Write a row into the folder results_dir/NOTEBOOK."""
    content = {"notebook": folder.name.split(".")[0], **asdict(row)}
    return write_json(folder / f"{row.key}.json", content)


def load_results(folder: Path) -> dict[str, Row]:
    """All rows of a notebook by title, in table order.

    Raises:
        ResultError: If the folder holds no result, or a file is damaged or of an old form.
    """
    rows = _rows(folder)
    if not rows:
        raise ResultError("No results", where=folder, fix="run the notebook first")
    return rows


def left_out(results_dir: Path) -> dict:
    """What a profile's run went without: notebook to reason, and under "models" name to reason."""
    return _read_json(results_dir / LEFT_OUT) or {"models": {}}


def load_facts(folder: Path) -> dict:
    """Facts of a chapter, as saved by its last cell; none where it has none."""
    return _read_json(folder / "facts.json")


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    with reading(path, **_DAMAGED):
        return {**json.loads(path.read_text("utf-8"))}


def render_glue(folder: Path) -> dict[str, str]:
    """Every text that a chapter may show, made from its result files (results_dir/NOTEBOOK) alone.

    Returns:
        Keys and texts: ``KEY/METRIC`` ("83.4 %"), ``KEY/METRIC/interval`` ("80.9 to 85.9 %"),
        ``KEY/METRIC/n`` with the key of each row, the same under ``headline/``, and
        ``facts/NAME``.
    """
    texts: dict[str, str] = {}
    # A chapter that sums up others has facts, and no rows of its own.
    rows = _rows(folder) if (folder / "facts.json").is_file() else load_results(folder)
    for title, row in rows.items():
        for key in [row.key] + ([HEADLINE] if row.order == 0 else []):
            texts[f"{key}/name"] = title
            for metric in row.scores:
                texts |= _score_texts(f"{key}/{metric}", row, metric)
    return texts | {f"facts/{key}": _fact_text(each) for key, each in load_facts(folder).items()}


def show_record(texts: Mapping[str, str]) -> None:
    """Leave texts in the running notebook's cell, where readers see nothing of them.

    One output and not one a text: a kernel on a busy machine needs seconds for hundreds.
    """
    from IPython.display import display

    display({RECORD: dict(texts), "text/plain": ""}, raw=True)


def record_of(notebook: Mapping) -> dict[str, str]:
    """The texts that `show_record` left in an executed notebook, as JSON or `nbformat` gives it."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    records = [output.get("data", {}).get(RECORD, {}) for output in outputs]
    return {key: text for record in records for key, text in record.items()}


def _score_texts(key: str, row: Row, metric: str) -> dict[str, str]:
    score = row.score(metric)
    texts = {
        key: format_value(score),
        f"{key}/interval": format_interval(score),
        f"{key}/n": f"{score.n:,}",
    }
    if "image" in row.scores[metric]:
        texts[f"{key}/image_interval"] = format_interval(row.scores[metric]["image"])
    return texts


def _fact_text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{100 * value:.1f} %" if isinstance(value, float) else str(value)


def provenance(**details: object) -> dict:
    """Commit, versions and machine, with whatever else the caller knows."""
    return {
        "package": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in _VERSIONS},
        "processors": os.cpu_count(),
        **details,
    }


def write_json(path: Path, content: object) -> Path:
    """Write a JSON file that is whole or not there."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def _rows(folder: Path) -> dict[str, Row]:
    rows = [_read(path) for path in sorted(folder.glob("*.json")) if path.stem not in _SIDE_FILES]
    return {row.title: row for row in sorted(rows, key=lambda row: row.order)}


def _read(path: Path) -> Row:
    plain = Row("", {})
    with reading(path, **_DAMAGED):
        content = json.loads(path.read_text("utf-8"))
        content["scores"] = {
            metric: {unit: Score(**score) for unit, score in units.items()}
            for metric, units in content["scores"].items()
        }
        differences = content["differences"].items()
        content["differences"] = {metric: Difference(**found) for metric, found in differences}
        row = Row(**{each.name: content[each.name] for each in fields(Row)})
        typed = (type(value) is type(getattr(plain, name)) for name, value in vars(row).items())
        scores = [
            s for metric, all_ in row.scores.items() for s in (row.score(metric), *all_.values())
        ]
        scores += row.differences.values()
        numbers = (n for s in scores for n in (*astuple(s)[:-1], s.unit.isascii()))
        if not all(typed) or not all(map(math.isfinite, numbers)) or row.key != path.stem:
            raise ValueError("a value of another type, no number, or the name of another row")
    return row


def _commit() -> str:
    """The checkout's commit, with a plus where files differ from it; "unknown" elsewhere."""
    command = ["git", "-C", str(project_root()), "describe", "--always", "--abbrev=12"]
    try:
        run = subprocess.run(
            [*command, "--dirty=+", "--exclude=*"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return run.stdout.strip() or "unknown"
