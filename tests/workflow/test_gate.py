"""The gate refuses whatever a book must not show, and says so for every notebook at once."""

from collections.abc import Callable
from functools import reduce
from operator import getitem
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from fetalclip_nb.errors import NotebookError, ResultError
from fetalclip_nb.results.result_files import RECORD
from fetalclip_nb.workflow import gate
from tiny import notebook

TEXTS = {"vpr": "83.4 %", "n": "814"}

PICTURE = {"image/png": "aGVsbG8=", "text/plain": "<Figure size 640x480 with 1 Axes>"}


def source() -> NotebookNode:
    """A source notebook: title, parameters, a figure with alt text, a printing cell."""
    figure = new_code_cell("plot()", metadata={"mystnb": {"image": {"alt": "a curve"}}})
    return notebook(figure, "print(1)")


def execute(source: NotebookNode) -> NotebookNode:
    """As papermill would leave it."""
    injected = new_code_cell("count = 3", metadata={"tags": ["injected-parameters"]})
    done = nbformat.from_dict(source)
    done.cells.insert(2, injected)
    for count, cell in enumerate((c for c in done.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    done.cells[3].outputs = [new_output("display_data", data=PICTURE)]
    text = new_output("stream", name="stdout", text="1 of build/demo/results\n")
    record = new_output("display_data", data={RECORD: dict(TEXTS), "text/plain": ""})
    done.cells[4].outputs = [text, record]
    done.metadata["papermill"] = {"exception": None}
    return done


@pytest.fixture
def check(tmp_path, monkeypatch) -> Callable[..., None]:
    """Write source and executed notebook (None: not at all), then ask the gate."""

    def run(executed: NotebookNode | None, render_glue=None, names=("one",)) -> None:
        checkout, built = tmp_path / "checkout", tmp_path / "built"
        for folder in (checkout, built):
            (folder / "notebooks").mkdir(parents=True, exist_ok=True)
        nbformat.write(source(), checkout / "notebooks/one.ipynb")
        if executed is not None:
            nbformat.write(executed, built / "notebooks/one.ipynb")
        monkeypatch.setattr(gate, "render_glue", render_glue or (lambda folder: TEXTS))
        gate.check_notebooks(names, repository=checkout, built=built)

    return run


TEXT = ("cells", 4, "outputs", 0, "text")
GLUE = ("cells", 4, "outputs", 1, "data", RECORD)
ALT = ("cells", 3, "metadata")
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])
TEMPORARY = new_output("display_data", data={"text/html": "<td>/tmp/x</td>"})
MORE = new_markdown_cell("More.")


def test_a_sound_notebook_passes(check):
    check(execute(source()))


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (
            ("cells", 4, "execution_count"),
            None,
            "once each from top to bottom (counts 1, 2, 3, None)",
        ),
        (("cells", 1, "execution_count"), 9, "counts 9, 2, 3, 4"),
        (("cells", 4, "outputs"), [ERROR], "In [4] ended in ValueError: no"),
        (("metadata", "papermill", "exception"), True, "papermill recorded an exception"),
        (("cells", 4, "source"), "print(2)", "is stale: the source has another text in cell 4"),
        (("cells", 0, "source"), "# Else", "is stale: the source has another text in cell 1"),
        (("cells", slice(5, 5)), [MORE], "is stale: the source has another text in cell 5"),
        (ALT, {}, "In [3] shows a figure without alt text"),
        (ALT, {"mystnb": {"image": {"alt": " "}}}, "In [3] shows a figure without alt text"),
        (TEXT, f"saved {Path.home()}/x.png", "In [4] shows a path of this machine"),
        (TEXT, "File /opt/site-packages/x.py", "shows a path of this machine (site-packages)"),
        (("cells", 4, "outputs", 0), TEMPORARY, "In [4] shows a path of this machine (/tmp)"),
        ((*GLUE, "vpr"), f"83.4 % in {Path.home()}/x", "In [4] shows a path of this machine"),
        (
            (*GLUE, "vpr"),
            "99.9 %",
            "'vpr' is '99.9 %' in the page and '83.4 %' in the result files",
        ),
        (GLUE, {"n": "814"}, "'vpr' is 'absent' in the page"),
        ((*GLUE, "extra"), "1", "'extra' is '1' in the page and 'absent' in the result files"),
    ],
)
def test_each_fault_is_refused(check, where, value, message):
    executed = execute(source())
    *steps, last = where
    reduce(getitem, steps, executed)[last] = value
    with pytest.raises(NotebookError) as error:
        check(executed)
    assert message in str(error.value)
    assert "1 problem" in str(error.value)


def test_what_was_never_or_half_executed_is_refused(check, tmp_path):
    with pytest.raises(NotebookError, match="one: has not been executed"):
        check(None)
    with pytest.raises(NotebookError, match="counts None, None, None"):
        check(source())
    (tmp_path / "built/notebooks/one.ipynb").write_text('{"cells": [')
    with pytest.raises(NotebookError, match="one: cannot be read"):
        check(None)


def test_path_of_the_checkout_is_refused(check, tmp_path):
    executed = execute(source())
    executed.cells[4].outputs[0]["text"] = f"wrote {tmp_path / 'checkout'}/build/x"
    with pytest.raises(NotebookError, match="path of this machine"):
        check(executed)


def test_path_in_prose_is_refused(check):
    executed = execute(source())
    executed.cells[0].source = "# A chapter\n\nSee /tmp/notes.md."
    with pytest.raises(NotebookError, match=r"cell 1 shows a path of this machine \(/tmp\)"):
        check(executed)


def test_relative_paths_and_warnings_that_no_page_shows_pass(check, repository):
    executed = execute(source())
    text = "build/demo/tmp/x, a/tmp/b, /tmpfoo and ~/data; images/root.png\n"
    executed.cells[4].outputs[0]["text"] = text
    text = "/opt/lib/site-packages/tqdm/auto.py:21: TqdmWarning"
    executed.cells[4].outputs.append(new_output("stream", name="stderr", text=text))
    check(executed)
    assert "stderr_output: remove" in (repository / "_config.yml").read_text()


def test_missing_results_are_refused(check):
    def render_glue(folder):
        raise ResultError("No results", where=folder)

    with pytest.raises(NotebookError, match="result files cannot be read"):
        check(execute(source()), render_glue)


def test_all_problems_of_all_notebooks_come_together(check):
    executed = execute(source())
    executed.cells[4].outputs = [ERROR]
    executed.cells[3].metadata = {}
    with pytest.raises(NotebookError) as error:
        check(executed, names=("one", "two"))
    text = str(error.value)
    assert "3 problems" in text and "ValueError" in text and "alt text" in text
    assert "two: has not been executed" in text and "\n" not in text
