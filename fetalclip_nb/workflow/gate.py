"""What an executed notebook must satisfy before a book shows it.

Jupyter Book builds a failed, stale or never executed notebook without a word, so all of it is
checked here, and all problems of all notebooks are reported together.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from fetalclip_nb.errors import NotebookError, ResultError, listing
from fetalclip_nb.results.result_files import RECORD, record_of, render_glue


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
        notebook, original = (nbformat.read(each, as_version=4) for each in (path, source))
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        return [f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"]
    problems = [
        *_execution_problems(notebook),
        *_staleness(notebook, original),
        *_path_problems(notebook, repository),
        *_figure_problems(notebook),
    ]
    return problems or [*_text_problems(notebook, built / "results" / name)]


def _execution_problems(notebook: NotebookNode) -> Iterator[str]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in cells]
    if counts != list(range(1, len(cells) + 1)):
        yield f"cells were not executed once each from top to bottom (counts {listing(counts)})"
    for number, cell in enumerate(cells, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"In [{number}] ended in {output.ename}: {output.evalue}"
    if notebook.metadata.get("papermill", {}).get("exception"):
        yield "papermill recorded an exception"


def _staleness(notebook: NotebookNode, source: NotebookNode) -> Iterator[str]:
    shown, now = (
        [(cell.cell_type, cell.source) for cell in each.cells if not _is_injected(cell)]
        for each in (notebook, source)
    )
    pairs = enumerate(zip_longest(shown, now), 1)
    if changed := [number for number, (old, new) in pairs if old != new]:
        yield f"is stale: the source has another text in cell {listing(changed)}"


def _is_injected(cell: NotebookNode) -> bool:
    return "injected-parameters" in cell.metadata.get("tags", [])


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


def _text_problems(notebook: NotebookNode, results: Path) -> Iterator[str]:
    shown = record_of(notebook)
    try:
        stored = render_glue(results)
    except ResultError as error:
        yield f"its result files cannot be read ({error})"
        return
    for key in sorted(shown.keys() | stored.keys()):
        if shown.get(key) != stored.get(key):
            page, file = shown.get(key, "absent"), stored.get(key, "absent")
            yield f"the value {key!r} is {page!r} in the page and {file!r} in the result files"
