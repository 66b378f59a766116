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
from told import asked, told

from fetalclip_nb.profiles import DEMO, Profile, load_profile
from fetalclip_nb.results.result_files import RECORD, record_of
from fetalclip_nb.results.tables import difference_table
from fetalclip_nb.workflow.absent import names_in
from fetalclip_nb.workflow.build import notebook_pages
from fetalclip_nb.workflow.dependencies import read_notebook
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
# Texts that the demo lacks; a name of another text that it lacks is mistyped.
OPTIONAL = re.compile(r"own_|african_planes")
_LOG = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict:
    """Connect the parts below to Sphinx's events."""
    profile = os.environ.get("FETALCLIP_NB_PROFILE", "demo")
    app.add_config_value("book_profile", profile, "env", types=[str])
    app.connect("config-inited", configure)
    app.connect("source-read", read_executed)
    app.connect("source-read", tell)
    app.connect("source-read", fill_differences)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def configure(app: Sphinx, config: Config) -> None:
    """Set what depends on profile and checkout: banner, repository links."""
    options = config.html_theme_options
    profile = load_profile(config.book_profile)
    config.executed_notebooks = Path(app.srcdir, "build", profile.name, "notebooks")
    config.has_all_texts = profile.name == DEMO
    config.book_texts, config.absent_chapters = {}, {}
    for name in notebook_pages(Path(app.srcdir, "book", "_toc.yml")):
        executed = config.executed_notebooks / f"{name}.ipynb"
        if name not in profile.notebooks:
            names = names_in(read_notebook(Path(app.srcdir, "notebooks", executed.name)))
            config.absent_chapters[name] = names.pop("")
            config.absent_chapters |= {f"#{label}": text for label, text in names.items()}
        elif executed.is_file():
            made = json.loads(executed.read_text("utf-8"))
            if "left_out" not in made["metadata"].get(MARK, {}):
                config.book_texts[name] = record_of(made)
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
        pages = (path.read_text("utf-8") for path in Path(app.srcdir, "book").glob("*.md"))
        keys = [key for page in pages for name, key in asked(page) if name == executed.stem]
        source[0] = glued(executed.read_text("utf-8"), keys)
    else:
        shown = executed.relative_to(app.srcdir)
        _LOG.warning("no executed notebook %s; run it first", shown, location=docname)


def tell(app: Sphinx, docname: str, source: list[str]) -> None:
    """Leave out what this run has no number for, and links to chapters that it does not have."""
    texts, absent = app.config.book_texts, app.config.absent_chapters

    def find(name: str, key: str) -> str | None:
        name = name or PurePosixPath(docname).name
        if name in texts:
            return texts[name].get(key)
        # A chapter that was not run says so; it has no page in the book if it is absent.
        return None if name in absent or OPTIONAL.search(key) else key

    notebook = json.loads(source[0]) if app.env.doc2path(docname).endswith(".ipynb") else {}
    cells = [cell for cell in notebook.get("cells", ()) if cell["cell_type"] == "markdown"]
    parts = ["".join(cell["source"]) for cell in cells] if notebook else source
    for name, key in [each for part in parts for each in asked(part)]:
        known = find(name, key) is not None or name in absent or OPTIONAL.search(key)
        if app.config.has_all_texts and not known:
            _LOG.warning("no text %s in this run: is its name right?", key, location=docname)
    parts = [told(part, find, absent) for part in parts]
    for cell, part in zip(cells, parts, strict=False):
        cell["source"] = part
    source[0] = json.dumps(notebook) if notebook else parts[0]


def fill_differences(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the differences of the built chapters in place of their mark on a page."""
    if DIFFERENCES not in source[0]:
        return
    results = app.config.executed_notebooks.parent / "results"
    for path in results.glob("*/*.json"):
        app.env.note_dependency(str(path))
    table = difference_table(results, [n for n in COMPARED if n not in app.config.absent_chapters])
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
