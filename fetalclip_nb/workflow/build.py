"""Build the book of a profile: the gate first, then Jupyter Book with warnings as errors."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from filelock import FileLock

from fetalclip_nb.errors import NotebookError, ProfileError, listing
from fetalclip_nb.files import write_text
from fetalclip_nb.paths import project_root
from fetalclip_nb.profiles import Profile
from fetalclip_nb.workflow.gate import check_notebooks


def build_book(profile: Profile) -> Path:
    """Check a profile's executed notebooks and build its book; give back the book's first page.

    Raises:
        NotebookError: A notebook may not be published, or the build gave warnings.
        ProfileError: The profile has no chapter of the book.
    """
    root = project_root()
    check_notebooks(book_chapters(profile), repository=root, built=profile.folder)
    output = profile.folder / "book"
    output.mkdir(parents=True, exist_ok=True)
    with FileLock(output / ".lock"):
        # Whole each time: what Sphinx keeps it trusts by dates, and repeats no warning for.
        shutil.rmtree(output / "_build", ignore_errors=True)
        _run_jupyter_book(root, output, profile)
    return output / "_build" / "html" / "index.html"


def book_chapters(profile: Profile) -> list[str]:
    """Chapters of a profile's book: those of the table of contents that the profile runs."""
    pages = notebook_pages(project_root() / "book" / "_toc.yml")
    chapters = [name for name in pages if name in profile.notebooks]
    if not chapters:
        raise ProfileError(
            "Profile has no chapter of the book",
            where=f"{profile.path}, notebooks",
            expected=f"one of {listing(pages)}, or several",
            found=listing(profile.notebooks) or "nothing",
        )
    return chapters


def contents(entry: object, absent: Iterable[str]) -> object:
    """An entry of the table of contents without absent notebooks; None where none is left."""
    if isinstance(entry, list):
        return [kept for part in entry if (kept := contents(part, absent))]
    if not isinstance(entry, dict):
        return entry
    if entry.get("file") in [f"notebooks/{name}" for name in absent]:
        return None
    kept = {key: value for key, part in entry.items() if (value := contents(part, absent))}
    return None if "chapters" in entry.keys() - kept.keys() else kept


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
    toc, given = output / "_toc.yml", root / "book" / "_toc.yml"
    absent = {*notebook_pages(given)} - {*profile.notebooks}
    kept = contents(yaml.safe_load(given.read_text("utf-8")), absent)
    write_text(toc, yaml.safe_dump(kept, sort_keys=False))
    program = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", program, "build", "."]
    command += ["--toc", str(toc), "--config", "_config.yml", "--path-output", str(output)]
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
