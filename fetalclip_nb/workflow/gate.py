"""How executed notebooks are published, and what they must satisfy before a book shows them.

Jupyter Book builds a failed, stale or never executed notebook without a word, so all of it is
checked here, and all problems of all notebooks are reported together.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbformat import NotebookNode

from fetalclip_nb.errors import NotebookError, listing
from fetalclip_nb.files import key
from fetalclip_nb.results.result_files import RECORD
from fetalclip_nb.workflow.absent import page
from fetalclip_nb.workflow.dependencies import read_notebook
from fetalclip_nb.workflow.states import state

MARK = "fetalclip_nb"
"""Key of an executed copy's metadata: {"fingerprint": of its inputs, "made": as by `made`,
"left_out": why it did not run, where it did not}."""


def made(notebook: NotebookNode, results: Path) -> str:
    """16 hexadecimal digits over what a run has made: cells with all outputs, and result files."""
    others = {name: value for name, value in notebook.metadata.items() if name != MARK}
    return key([notebook.cells, others, state(results)])


def check_notebooks(names: Iterable[str], *, repository: Path, built: Path) -> None:
    """Refuse a book whose notebooks are missing, stale, broken or at odds with their results.

    Args:
        names: Notebooks, without folder and suffix.
        repository: Root of the checkout, with the sources; its path must not be shown.
        built: Folder of the executed copies and the results: build/PROFILE.

    Raises:
        NotebookError: Naming every problem of every notebook.
    """
    problems = [
        f"{name}: {problem}" for name in names for problem in _problems(name, repository, built)
    ]
    if problems:
        raise NotebookError(
            f"The book cannot be built: {len(problems)} problem{'s' * (len(problems) > 1)}",
            where=built / "notebooks",
            found="; ".join(problems),
            fix="mend the notebooks and execute them again (`make book`, or `fetalclip-nb run`)",
        )


def _problems(name: str, repository: Path, built: Path) -> list[str]:
    path, source = (root / "notebooks" / f"{name}.ipynb" for root in (built, repository))
    if not path.is_file():
        return ["has not been executed"]
    try:
        notebook, original = map(read_notebook, (path, source))
    except NotebookError as error:
        return [str(error)]
    mark = notebook.metadata.get(MARK)
    if not isinstance(mark, dict) or mark.get("made") != made(notebook, built / "results" / name):
        return ["was not run by `fetalclip-nb run`, or changed after it, or its result files were"]
    if "left_out" in mark:
        original = page(original, mark["left_out"])
    return [
        *_execution_problems(notebook),
        *["is stale: the source has other cells"] * (_texts(notebook) != _texts(original)),
        *_path_problems(notebook, repository),
        *_figure_problems(notebook),
    ]


def _execution_problems(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":  # where a cell's tag lets papermill go on
                yield f"{_label(number, cell)} ended in {output.ename}: {output.evalue}"


def _texts(notebook: NotebookNode) -> list[tuple[str, str]]:
    tagged = ((cell, cell.metadata.get("tags", [])) for cell in notebook.cells)
    return [(c.cell_type, c.source) for c, tags in tagged if "injected-parameters" not in tags]


def _path_problems(notebook: NotebookNode, repository: Path) -> Iterator[str]:
    pattern = _machine_paths(repository)
    for number, cell in enumerate(notebook.cells, 1):
        texts = [cell.source] if cell.cell_type == "markdown" else _output_texts(cell)
        hits = {match for text in texts for match in pattern.findall(text)}
        if hits:
            yield f"{_label(number, cell)} shows a path of this machine ({listing(sorted(hits))})"


def _machine_paths(repository: Path) -> re.Pattern:
    """Folders that only this machine has, wherever a path starts with one of them."""
    folders = {repository.resolve(), Path.home(), Path(tempfile.gettempdir()), Path("/tmp")}
    names = sorted((str(folder) for folder in folders if len(folder.parts) > 1), reverse=True)
    starts = "|".join(re.escape(name) for name in names)
    return re.compile(rf"(?<![\w.~/-])(?:{starts})(?=[/\\'\"\s:;,.)<]|$)|site-packages")


def _output_texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.get("outputs", []):
        if output.get("name") == "stderr":
            continue  # warnings of libraries: pages leave them out (_config.yml)
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        for kind, content in output.get("data", {}).items():
            if kind == RECORD:
                yield from content.values()
            elif isinstance(content, str) and not _is_picture(kind):
                yield content


def _label(number: int, cell: NotebookNode) -> str:
    count = cell.get("execution_count")
    return f"In [{count}]" if count else f"cell {number}"


def _is_picture(kind: str) -> bool:
    return kind.startswith("image/")


def _figure_problems(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, 1):
        pictures = [o for o in cell.get("outputs", []) if any(map(_is_picture, o.get("data", {})))]
        image = cell.metadata.get("mystnb", {}).get("image", {})
        if pictures and not str(image.get("alt", "")).strip():
            where = _label(number, cell)
            yield f"{where} shows a figure without alt text (metadata mystnb.image.alt)"
