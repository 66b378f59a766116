"""Result files: what was measured, with what, and the texts that the book shows."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from fetalclip_nb import __version__
from fetalclip_nb.errors import ResultError
from fetalclip_nb.files import slug
from fetalclip_nb.paths import project_root
from fetalclip_nb.results.formats import format_interval, format_value
from fetalclip_nb.stats.scores import Score

HEADLINE = "headline"
"""Key under which the first model of a notebook is glued, whatever its name."""

_VERSIONS = ("torch", "open_clip_torch", "numpy", "scikit-learn", "pandas")

_KEYS = ("notebook", "model", "order", "kind", "synthetic", "scores", "parameters", "provenance")

Scores = Mapping[str, Mapping[str, Score]]
"""Metric name to {"patient": score, "image": score}: the unit that was resampled."""


def save_result(
    folder: Path,
    model: str,
    scores: Scores,
    *,
    order: int,
    kind: str = "model",
    synthetic: bool,
    parameters: dict,
    provenance: dict,
) -> Path:
    """Write one model's scores of one notebook.

    Args:
        folder: results_dir/NOTEBOOK.
        model: Name shown in tables.
        scores: Metric to unit ("patient", "image") to score.
        order: Position in tables; 0 is the headline.
        kind: "model", "baseline", "control" or "released".
        synthetic: Whether the images are phantoms.
        parameters: The notebook's parameters.
        provenance: As given by `provenance`.

    Returns:
        The file, written under a temporary name and renamed.
    """
    content = {
        "notebook": folder.name.split(".")[0],
        "model": model,
        "order": order,
        "kind": kind,
        "synthetic": synthetic,
        "scores": {
            name: {u: asdict(s) for u, s in units.items()} for name, units in scores.items()
        },
        "parameters": parameters,
        "provenance": provenance,
    }
    return write_json(folder / f"{slug(model)}.json", content)


def load_results(folder: Path) -> dict[str, dict]:
    """All results of a notebook by model name, in table order.

    Raises:
        ResultError: If the folder holds no result, or a file is damaged.
    """
    found = [_read(path) for path in sorted(folder.glob("*.json")) if path.stem not in _SIDE_FILES]
    if not found:
        raise ResultError("No results", where=folder, fix="run the notebook first")
    return {content["model"]: content for content in sorted(found, key=lambda c: c["order"])}


_SIDE_FILES = ("facts", "glue")


def save_facts(folder: Path, facts: Mapping[str, object]) -> Path:
    """Write what the prose says of the data: counts and the like."""
    return write_json(folder / "facts.json", dict(facts))


def render_glue(results_dir: Path, notebook: str) -> dict[str, str]:
    """Every text that a chapter may show, made from its result files alone.

    Args:
        results_dir: Folder of all results of a profile.
        notebook: Notebook name without suffix.

    Returns:
        Keys and texts: ``MODEL/METRIC`` ("83.4 %"), ``MODEL/METRIC/interval``
        ("80.9 to 85.9 %"), ``MODEL/METRIC/n``, the same under ``headline/``, and
        ``facts/NAME``.

    Raises:
        ResultError: If there is no result.
    """
    return render_folder(Path(results_dir) / notebook)


def render_folder(folder: Path) -> dict[str, str]:
    """As `render_glue`, for one folder of result files."""
    texts: dict[str, str] = {}
    for name, content in load_results(folder).items():
        names = [slug(name)] + ([HEADLINE] if content["order"] == 0 else [])
        for key in names:
            texts[f"{key}/name"] = name
            for metric, units in content["scores"].items():
                texts |= _score_texts(f"{key}/{metric}", metric, units)
    facts = folder / "facts.json"
    if facts.is_file():
        content = json.loads(facts.read_text("utf-8"))
        texts |= {f"facts/{key}": _fact_text(value) for key, value in content.items()}
    return texts


def _score_texts(key: str, metric: str, units: Mapping[str, dict]) -> dict[str, str]:
    score = units.get("patient") or units["image"]
    texts = {
        key: format_value(metric, score["value"]),
        f"{key}/interval": format_interval(metric, score["low"], score["high"]),
        f"{key}/n": f"{score['n']:,}",
    }
    if "image" in units:
        image = units["image"]
        texts[f"{key}/image_interval"] = format_interval(metric, image["low"], image["high"])
    return texts


def _fact_text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{100 * value:.1f} %" if isinstance(value, float) else str(value)


def provenance(**details: object) -> dict:
    """Commit, versions and machine, with whatever else the caller knows."""
    versions = {name: metadata.version(name) for name in _VERSIONS}
    return {
        "package": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": versions,
        "processors": os.cpu_count(),
        **details,
    }


def write_json(path: Path, content: object) -> Path:
    """Write JSON under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    made.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return made.replace(path)


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultError("Result file is no JSON", where=path, found=str(error)) from None
    missing = [key for key in _KEYS if key not in content]
    if missing:
        raise ResultError(
            "Result file lacks keys", where=path, expected=", ".join(_KEYS), found=f"no {missing}"
        )
    return content


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
