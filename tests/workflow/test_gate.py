"""The gate refuses whatever a book must not show, and says so for every notebook at once."""

import json
from collections.abc import Callable
from functools import reduce
from operator import getitem
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from fetalclip_nb.errors import NotebookError
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
def check(tmp_path) -> Callable[..., None]:
    """Write source, results and executed notebook (None: not at all), then ask the gate."""

    def run(executed: NotebookNode | None, change=lambda built: None, names=("one",)) -> None:
        checkout, built = tmp_path / "checkout", tmp_path / "built"
        for folder in (checkout, built):
            (folder / "notebooks").mkdir(parents=True, exist_ok=True)
        nbformat.write(source(), checkout / "notebooks/one.ipynb")
        results = built / "results/one"
        results.mkdir(parents=True, exist_ok=True)
        (results / "glue.json").write_text(json.dumps(TEXTS))
        if executed is not None:
            executed.metadata[gate.MARK] = {"made": gate.made(executed, results)}
            nbformat.write(executed, built / "notebooks/one.ipynb")
        change(built)
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
        (("cells", 4, "outputs"), [ERROR], "In [4] ended in ValueError: no"),
        (("cells", 4, "source"), "print(2)", "is stale: the source has other cells"),
        (("cells", 0, "source"), "# Else", "is stale: the source has other cells"),
        (("cells", slice(5, 5)), [MORE], "is stale: the source has other cells"),
        (ALT, {}, "In [3] shows a figure without alt text"),
        (ALT, {"mystnb": {"image": {"alt": " "}}}, "In [3] shows a figure without alt text"),
        (TEXT, f"saved {Path.home()}/x.png", "In [4] shows a path of this machine"),
        (TEXT, "File /opt/site-packages/x.py", "shows a path of this machine (site-packages)"),
        (("cells", 4, "outputs", 0), TEMPORARY, "In [4] shows a path of this machine (/tmp)"),
        ((*GLUE, "vpr"), f"83.4 % in {Path.home()}/x", "In [4] shows a path of this machine"),
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


def test_what_was_never_executed_is_refused(check):
    with pytest.raises(NotebookError, match="one: has not been executed"):
        check(None)


def edited(path: str, old: str, new: str) -> Callable[[Path], object]:
    """Replaces a text in a file below the built folder."""

    def change(built: Path) -> None:
        text = (built / path).read_text()
        assert old in text
        (built / path).write_text(text.replace(old, new))

    return change


COPY = "notebooks/one.ipynb"
CHANGED = "changed after it, or its result files were"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edited(COPY, "1 of build", "2 of build"), CHANGED),
        (edited(COPY, "aGVsbG8=", "aGVsbG9="), CHANGED),
        (edited(COPY, '"execution_count": 3', '"execution_count": 4'), CHANGED),
        (edited(COPY, '"vpr": "83.4 %"', '"vpr": "93.4 %"'), CHANGED),
        (edited(COPY, "fetalclip_nb", "other"), CHANGED),
        (edited("results/one/glue.json", "83.4", "93.4"), CHANGED),
        (lambda built: (built / "results/one/glue.json").unlink(), CHANGED),
        (lambda built: (built / COPY).write_bytes(b'{"cells": ['), "cannot be read"),
        (lambda built: (built / COPY).write_bytes(b"\xff"), "cannot be read"),
        (lambda built: (built / COPY).write_bytes(b"[]"), "cannot be read"),
        # nbformat's own validation of this one never ends.
        (edited(COPY, '"output_type": "stream"', '"output_type": "output"'), "cannot be read"),
    ],
)
def test_what_was_damaged_or_changed_after_its_run_is_refused(check, change, message):
    with pytest.raises(NotebookError, match=message):
        check(execute(source()), change)


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


def test_all_problems_of_all_notebooks_come_together(check):
    executed = execute(source())
    executed.cells[4].outputs = [ERROR]
    executed.cells[3].metadata = {}
    with pytest.raises(NotebookError) as error:
        check(executed, names=("one", "two"))
    text = str(error.value)
    assert "3 problems" in text and "ValueError" in text and "alt text" in text
    assert "two: has not been executed" in text and "\n" not in text
