"""Sphinx extension of the book: executed notebooks in, foreign requests out.

The table of contents names the source notebooks, so that Colab and download links lead to
them. What a page shows is the executed copy, build/<profile>/notebooks/NAME.ipynb, which is
handed to Sphinx here, its record of texts in the form that `{glue:text}` reads. The profile is
taken from the environment variable FETALCLIP_NB_PROFILE (a name or the path of a profile file;
default: demo).
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable
from html import escape
from importlib import metadata
from pathlib import Path, PurePosixPath

import nbformat
from myst_nb.ext.glue import GLUE_PREFIX
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset

from fetalclip_nb.profiles import Profile, load_profile
from fetalclip_nb.results.result_files import RECORD, record_of
from fetalclip_nb.results.tables import difference_table
from fetalclip_nb.workflow.gate import MARK

MATHJAX_PARTS = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2")
DIFFERENCES = "<!-- differences of all chapters -->"
COMPARED = (
    "01_zero_shot",
    "02_gestational_age",
    "03_linear_probing",
    "04_segmentation",
    "05_few_data",
)
_LOG = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict:
    """Connect the parts below to Sphinx's events."""
    profile = os.environ.get("FETALCLIP_NB_PROFILE", "demo")
    app.add_config_value("book_profile", profile, "env", types=[str])
    app.connect("config-inited", configure)
    app.connect("source-read", read_executed)
    app.connect("source-read", fill_differences)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def configure(app: Sphinx, config: Config) -> None:
    """Set what depends on profile and checkout: banner, repository links."""
    options = config.html_theme_options
    profile = load_profile(config.book_profile)
    config.executed_notebooks = Path(app.srcdir, "build", profile.name, "notebooks")
    note = demo_note(profile)
    if note:
        options["announcement"] = note
    repository = repository_url(Path(app.srcdir))
    if repository:
        options.update(repository_url=repository, use_repository_button=True)
    else:
        # Launch buttons without a repository make the theme fail.
        options["launch_buttons"] = {}


def demo_note(profile: Profile) -> str:
    """What every page says when a profile's data are synthetic; else an empty string."""
    if not profile.synthetic:
        return ""
    return f"<strong>{profile.name.capitalize()} profile.</strong> {escape(profile.description)}"


def repository_url(checkout: Path) -> str:
    """The GitHub address that links lead to, or an empty string where none is known."""
    url = os.environ.get("FETALCLIP_NB_REPOSITORY", "")
    if not url:
        command = ["git", "-C", str(checkout), "remote", "get-url", "origin"]
        try:
            url = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            return ""
    match = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(\.git)?/?$", url.strip())
    return f"https://github.com/{match[1]}" if match else ""


def read_executed(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace a source notebook's text by that of its executed copy.

    The copy becomes a dependency of the page: Sphinx reads the page again when the copy
    changes, disappears or comes into being.
    """
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    executed = app.config.executed_notebooks / f"{PurePosixPath(docname).name}.ipynb"
    app.env.note_dependency(str(executed))
    if executed.is_file():
        asked = re.compile(rf"{re.escape(executed.name)}::(.+?):s`")
        pages = (path.read_text("utf-8") for path in Path(app.srcdir, "book").glob("*.md"))
        source[0] = glued(executed.read_text("utf-8"), asked.findall("".join(pages)))
    else:
        shown = executed.relative_to(app.srcdir)
        _LOG.warning("no executed notebook %s; run it first", shown, location=docname)


def fill_differences(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the differences of the built chapters in place of their mark on a page."""
    if DIFFERENCES not in source[0]:
        return
    results = app.config.executed_notebooks.parent / "results"
    for path in results.glob("*/*.json"):
        app.env.note_dependency(str(path))
    table = difference_table(results, COMPARED)
    if table.empty:
        text = "No chapter has been run with this profile."
    else:
        rows = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
        text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    source[0] = source[0].replace(DIFFERENCES, text)


def glued(text: str, asked: Iterable[str] = ()) -> str:
    """A notebook with an output a text, as `myst_nb.glue` makes them, in place of its record.

    Where the chapter was not run, that is what other pages show that have asked for its texts.
    """
    notebook = json.loads(text)
    if "left_out" in notebook["metadata"].get(MARK, {}):
        outputs = [_glue_output(key, "not run") for key in sorted({*asked})]
        notebook["cells"].append(nbformat.v4.new_code_cell("", outputs=outputs, id="not-run"))
    for cell in notebook["cells"]:
        texts = record_of({"cells": [cell]})
        if texts:
            others = [each for each in cell["outputs"] if RECORD not in each.get("data", {})]
            cell["outputs"] = others + [_glue_output(*pair) for pair in texts.items()]
    return json.dumps(notebook)


def _glue_output(key: str, text: str) -> dict:
    metadata = {"scrapbook": {"name": key, "mime_prefix": GLUE_PREFIX}}
    data = {f"{GLUE_PREFIX}text/plain": repr(text)}
    return {"output_type": "display_data", "data": data, "metadata": metadata}


def drop_thebe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Leave thebe's scripts out: unused here, and they throw an error on every page."""
    scripts = context.get("script_files", [])
    context["script_files"] = [script for script in scripts if not _is_thebe(script)]


def _is_thebe(script: object) -> bool:
    name = str(getattr(script, "filename", script) or "")
    body = str(getattr(script, "attributes", {}).get("body", ""))
    return "thebe" in name or "THEBE" in body


def copy_mathjax(app: Sphinx, error: Exception | None) -> None:
    """Copy MathJax and its fonts out of the package sphinx-mathjax-offline."""
    if error is not None or app.builder.format != "html":
        return
    # The package's folder has dashes in its name, so it cannot be imported.
    files = metadata.files("sphinx-mathjax-offline")
    entry = next(file for file in files if file.name == MATHJAX_PARTS[0])
    home = Path(entry.locate()).parent
    target = Path(app.outdir, "_static", "mathjax")
    for part in MATHJAX_PARTS:
        source = home / part
        copy_asset(source, target / part if source.is_dir() else target)
