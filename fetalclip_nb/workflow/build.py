"""Build the book of a profile: the gate first, then Jupyter Book with warnings as errors."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from filelock import FileLock

from fetalclip_nb.errors import NotebookError
from fetalclip_nb.paths import project_root
from fetalclip_nb.profiles import Profile
from fetalclip_nb.workflow.gate import check_notebooks


def build_book(profile: Profile) -> Path:
    """Check a profile's executed notebooks and build its book; give back the book's first page.

    Raises:
        NotebookError: A notebook may not be published, or the build gave warnings.
    """
    root = project_root()
    names = notebook_pages(root / "book" / "_toc.yml")
    check_notebooks(names, repository=root, built=profile.folder)
    output = profile.folder / "book"
    output.mkdir(parents=True, exist_ok=True)
    with FileLock(output / ".lock"):
        # Whole each time: what Sphinx keeps it trusts by dates, and repeats no warning for.
        shutil.rmtree(output / "_build", ignore_errors=True)
        _run_jupyter_book(root, output, profile)
    return output / "_build" / "html" / "index.html"


def notebook_pages(toc: Path) -> list[str]:
    """Names of the notebooks that are pages of the book, from its table of contents."""
    pages = (Path(page) for page in _files(yaml.safe_load(toc.read_text("utf-8"))))
    return [page.stem for page in pages if page.parent.name == "notebooks"]


def _files(entry: object) -> Iterator[str]:
    """Pages below an entry of the table of contents, in its order."""
    if isinstance(entry, list):
        for part in entry:
            yield from _files(part)
    elif isinstance(entry, dict):
        for key, value in entry.items():
            yield from [value] if key == "file" else _files(value)


def _run_jupyter_book(root: Path, output: Path, profile: Profile) -> None:
    if importlib.util.find_spec("jupyter_book") is None:
        raise NotebookError("Jupyter Book is not installed", fix="pip install -e '.[book]'")
    program = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, "build", "."]
    command += ["--toc", "book/_toc.yml", "--config", "_config.yml", "--path-output", str(output)]
    command += ["-W", "-n", "--keep-going"]
    environment = os.environ | {"FETALCLIP_NB_PROFILE": str(profile.path)}
    run = subprocess.run(command, cwd=root, env=environment, check=False)
    if run.returncode:
        raise NotebookError(
            "The book was not built",
            where=output.relative_to(root),
            found=f"warnings or errors above (exit code {run.returncode})",
            fix="mend the pages that they name and build again",
        )
