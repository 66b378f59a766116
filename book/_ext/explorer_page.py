"""Sphinx extension: the directive `explorer`, all rows of models as one table.

Rows come with the book (book/_static/reference.csv) or from the chapters that this book shows.
The page holds them whole and can be read without a script; explorer.js sorts and filters.
"""

from pathlib import Path

import jinja2
import pandas as pd
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from fetalclip_nb.errors import ResultError
from fetalclip_nb.experiments.summary.flat import ABOUT, MEASURES, flat_table, read_flat

TEMPLATE = Path(__file__).with_name("explorer.html.jinja")


def setup(app: Sphinx) -> dict:
    """Add the directive, and its script and style to the pages that have it."""
    app.add_directive("explorer", Explorer)
    app.connect("html-page-context", add_assets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Explorer(Directive):
    """The table, made while the page is read; a file that cannot be used is the page's error."""

    def run(self) -> list[nodes.Node]:
        """Give back the table as HTML."""
        env = self.state.document.settings.env
        shipped = Path(env.app.srcdir, "book", "_static", "reference.csv")
        results = env.app.config.executed_notebooks.parent / "results"
        for path in (shipped, *results.glob("*/*.json")):
            env.note_dependency(str(path))
        try:
            tables = [read_flat(shipped).assign(rows="reference")]
            if any(results.glob("0[1-7]_*/model_*.json")):
                tables.append(flat_table(results).assign(rows="this book"))
        except ResultError as error:
            raise self.error(str(error)) from None
        return [nodes.raw("", explorer(joined(pd.concat(tables))), format="html")]


def add_assets(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Script and style, only where the table is."""
    if '<div class="explorer">' in context.get("body", ""):
        app.add_js_file("explorer.js", loading_method="defer")
        app.add_css_file("explorer.css")


def joined(table: pd.DataFrame) -> pd.DataFrame:
    """One row where two are the same model with the same scores, data and protocols."""
    same = ["model", "fingerprint", *(name for name in table if "/" in name)]
    both = table.groupby(same, dropna=False)["rows"].transform(" and ".join)
    return table.assign(rows=both).drop_duplicates(same)


def explorer(table: pd.DataFrame) -> str:
    """The table as HTML: a body of two lines a model, its scores and how they were measured.

    Args:
        table: As given by `flat_table`, with a column rows that says where each row is from.
    """
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    measures = {
        name: f"{column.name} ({column.measure})"
        for name, column in MEASURES.items()
        if table[f"{name}/value"].notna().any()
    }
    sizes = table["parameters"].map("{:,}".format, na_action="ignore").astype(object)
    rows = table.assign(parameters=sizes.where(sizes.notna(), "")).to_dict("records")
    about = [name for name in ABOUT if name not in ("model", "kind", "reader")]
    template = environment.from_string(TEMPLATE.read_text("utf-8"))
    return template.render(rows=rows, measures=measures, about=about)
