"""The report of an audit: one page with pictures that needs nothing beside it, and JSON."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from itertools import groupby
from pathlib import Path

from jinja2 import Environment
from PIL import Image

from fetalclip_nb.audit.findings import Finding
from fetalclip_nb.data.images import read_image
from fetalclip_nb.files import write_text

PICTURES = 200
"""Findings of a kind that are shown with pictures; the others are named."""


def write_report(folder: Path, title: str, looked_at: str, findings: Sequence[Finding]) -> Path:
    """Write report.html and report.json, each whole or not at all; the path of the page.

    Args:
        folder: Where to.
        title: Name of the data set.
        looked_at: What was looked at, as a sentence.
        findings: What was found.
    """
    ordered = sorted(findings, key=lambda each: (not each.fault, each.kind))
    record = [asdict(each) | {"files": [str(file) for file in each.files]} for each in ordered]
    content = {"data": title, "looked_at": looked_at, "findings": record}
    write_text(folder / "report.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    kinds = [(kind, [*each]) for kind, each in groupby(ordered, lambda each: each.kind)]
    source = resources.files("fetalclip_nb.audit").joinpath("report.html.jinja").read_text("utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    text = page.render(title=title, looked_at=looked_at, kinds=kinds, most=PICTURES, shown=_shown)
    write_text(folder / "report.html", text)
    return folder / "report.html"


def _shown(file: Path) -> str:
    """A picture as the page holds it: at most 240 pixels wide, JPEG in base64."""
    image: Image.Image = read_image(file).convert("RGB")
    image.thumbnail((240, 240))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
