"""Run notebooks with papermill: strict parameters, resumable, one failure stops no other."""

import contextlib
import difflib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from fetalclip_nb.errors import NotebookError, ProfileError, listing
from fetalclip_nb.files import key, lock
from fetalclip_nb.paths import project_root, resolve, shown
from fetalclip_nb.profiles import DEMO, Profile, named_data
from fetalclip_nb.workflow.dependencies import notebook_files
from fetalclip_nb.workflow.parameters import Parameter, check_parameters, declared_parameters

KERNEL = "python3"

PATIENCE = 600
"""Seconds to wait for what a cell shows once it has run: a busy machine needs more than
papermill's four."""

_WRITTEN = ("results_dir", "cache_dir")

_TABLES = (".csv", ".json")

_WORDS = re.compile(r"[,+=:\s]+")


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    Attributes:
        notebook: Name without folder and suffix.
        status: "done", "up to date" or "failed".
        seconds: Wall time.
        error: Empty, or one sentence that names cell and exception.
    """

    notebook: str
    status: str
    seconds: float = 0.0
    error: str = ""


def run_profile(
    profile: Profile, names: Sequence[str] = (), *, force: bool = False
) -> list[Outcome]:
    """Run a profile's notebooks one after the other.

    Executed copies go to build/PROFILE/notebooks, results to build/PROFILE/results.

    Args:
        profile: Says which notebooks there are and with what parameters.
        names: Some of them; all when empty.
        force: Run those that are up to date, too.

    Returns:
        One outcome a notebook, in order. One that fails does not stop the others.

    Raises:
        NotebookError: A name that the profile does not have, or no such notebook.
        ParameterError: Parameters that a notebook does not take; nothing has run then.
    """
    root = project_root()
    sources = {name: _source(root, profile, name) for name in names or profile.notebooks}
    values = {name: notebook_parameters(profile, name) for name in sources}
    states = {}
    for name, source in sources.items():
        declared = declared_parameters(source)
        check_parameters(source.name, declared, values[name])
        require_data(name, declared, values[name], profile)
        states[name] = outside_state(declared, values[name])
    return [
        run_notebook(
            source,
            profile.folder / "notebooks" / f"{name}.ipynb",
            values[name],
            folder=root,
            data=states[name],
            # An executed copy whose result files were deleted is no use to the book.
            force=force or not (profile.folder / "results" / name).is_dir(),
        )
        for name, source in sources.items()
    ]


def notebook_parameters(profile: Profile, name: str) -> dict[str, object]:
    """What a profile injects into a notebook: its settings for all, then those for this one.

    The key ``data`` is no parameter: it names a data set, whose folder becomes ``data_root``,
    or several, each under the parameter that takes its folder.
    """
    own = dict(profile.notebooks[name])
    folders = {
        parameter: shown(profile.data[source].root)
        for parameter, source in named_data(own.pop("data", {})).items()
    }
    return {
        "profile": profile.name,
        "models": ", ".join(profile.models),
        "device": profile.device,
        "precision": profile.precision,
        "results_dir": f"build/{profile.name}/results",
        "cache_dir": "build/cache",
        **folders,
        **own,
    }


def require_data(
    name: str, declared: Mapping[str, Parameter], values: Mapping[str, object], profile: Profile
) -> None:
    """Refuse to let a profile's notebook fall back on phantoms without being told to.

    Raises:
        ProfileError: The notebook reads a data set and the profile does not say which.
    """
    missing = [n for n, entry in declared.items() if entry.default == DEMO and n not in values]
    if missing:
        raise ProfileError(
            "Profile does not say which data a notebook reads",
            where=f"{profile.path}, notebooks {name}",
            expected=f"data: one of {listing(profile.data)}, or data: {{PARAMETER: one of them}}; "
            'or the parameter itself: a folder, or "" for none',
            found=f"no {listing(missing)}",
        )


def outside_state(
    declared: Mapping[str, Parameter], values: Mapping[str, object], *, made: Sequence[Path] = ()
) -> dict[str, str]:
    """State of every file and folder that a notebook's parameters name.

    Args:
        declared: What the notebook declares; its defaults count, too.
        values: Values that are injected.
        made: Folders that the workflow makes itself and watches by other means.

    Returns:
        Path as given to `folder_state`; folders that the notebook writes are left out.
    """
    used = {name: entry.default for name, entry in declared.items()} | dict(values)
    texts = [v for k, v in used.items() if k not in _WRITTEN and isinstance(v, str)]
    words = {word for text in texts for word in _WORDS.split(text)}
    paths = {word: resolve(word) for word in words if "/" in word or "." in word}
    known = {path.resolve() for path in made}
    return {
        word: folder_state(path)
        for word, path in sorted(paths.items())
        if path.resolve() not in known
    }


def run_notebook(
    source: Path,
    target: Path,
    parameters: Mapping[str, object],
    *,
    folder: Path,
    data: Mapping[str, str] | None = None,
    force: bool = False,
) -> Outcome:
    """Execute one notebook, unless its executed copy is up to date.

    The copy appears at ``target`` only when every cell has run; until then, and after a
    failure or a kill, what has run lies in ``target.parent / "failed"``.

    Args:
        source: Source notebook; its parameters are checked already.
        target: Where the executed copy goes.
        parameters: Values to inject.
        folder: Working directory of the kernel.
        data: States of the files and folders that it reads, by path.
        force: Run even if the copy is up to date.

    Returns:
        What became of it; a failing cell is an outcome, no exception.
    """
    name = source.stem
    with lock(target):
        mark = fingerprint(source, parameters, data or {})
        if not force and _mark_of(target) == mark:
            return Outcome(name, "up to date")
        started = time.monotonic()
        partial = target.parent / "failed" / f"{name}.ipynb"
        partial.parent.mkdir(exist_ok=True)
        partial.unlink(missing_ok=True)
        # Whatever lies at the target is outdated by now: a failure must not leave it to a book.
        target.unlink(missing_ok=True)
        error = _execute(source, partial, parameters, folder)
        if not error:
            _publish(partial, target, mark)
        status = "failed" if error else "done"
        return Outcome(name, status, time.monotonic() - started, error)


def fingerprint(source: Path, parameters: Mapping[str, object], data: Mapping[str, str]) -> str:
    """16 hexadecimal digits over all that an executed notebook depends on.

    Args:
        source: Source notebook.
        parameters: Values that are injected.
        data: States of the files and folders that it reads, by path.
    """
    files = [(path.name, _digest(path)) for path in notebook_files(source)]
    return key([dict(parameters), dict(data), files])


def folder_state(root: Path) -> str:
    """16 hexadecimal digits over the names and sizes in a folder and its tables' content.

    Cheap enough to ask before every run; embeddings are keyed by the images' bytes themselves.
    """
    if not root.exists():
        return "absent"
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    return key(
        [
            (
                str(path.relative_to(root)),
                path.stat().st_size,
                path.suffix in _TABLES and _digest(path),
            )
            for path in files
        ]
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def summary(outcomes: list[Outcome]) -> str:
    """One line a notebook: name, status, seconds."""
    width = max((len(outcome.notebook) for outcome in outcomes), default=0)
    return "\n".join(f"{o.notebook:{width}}  {o.status:10}  {o.seconds:6.1f} s" for o in outcomes)


def require_success(outcomes: list[Outcome]) -> None:
    """Raise one error for all notebooks that failed.

    Raises:
        NotebookError: Naming each notebook, the cell, its first line and the exception.
    """
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise NotebookError(
            f"{len(failed)} of {len(outcomes)} notebooks failed",
            found="; ".join(f"{outcome.notebook}, {outcome.error}" for outcome in failed),
            fix="what has run is kept in the folder `failed` beside the executed notebooks; "
            "mend and run again: finished notebooks are not repeated",
        )


def _source(root: Path, profile: Profile, name: str) -> Path:
    path = root / "notebooks" / f"{name}.ipynb"
    if name in profile.notebooks and path.is_file():
        return path
    close = difflib.get_close_matches(name, profile.notebooks, n=1)
    raise NotebookError(
        "No such notebook",
        where=path.relative_to(root) if name in profile.notebooks else f"profile {profile.name}",
        expected=listing(profile.notebooks),
        found=name,
        fix=f"did you mean {close[0]}?" if close and close[0] != name else "",
    )


def _mark_of(executed: Path) -> str:
    if not executed.is_file():
        return ""
    try:
        metadata = nbformat.read(executed, as_version=4).metadata
    except (nbformat.reader.NotJSONError, nbformat.ValidationError):
        return ""
    return metadata.get("fetalclip_nb", {}).get("fingerprint", "")


def _execute(source: Path, partial: Path, parameters: Mapping[str, object], folder: Path) -> str:
    """Run papermill; return an empty string, or what went wrong and where."""
    try:
        with _job_environment():
            papermill.execute_notebook(
                source,
                partial,
                dict(parameters),
                kernel_name=KERNEL,
                progress_bar=False,
                cwd=folder,
                iopub_timeout=PATIENCE,
            )
    except PapermillExecutionError as error:
        return _sentence(error.exec_count, error.source, f"{error.ename}: {error.evalue}")
    except Exception as error:  # a dead kernel, a full disk: the other notebooks still run
        return _blame(partial, f"{type(error).__name__}: {error}")
    return ""


@contextlib.contextmanager
def _job_environment() -> Iterator[None]:
    """What a kernel inherits: its own IPython folder, quiet bars, figures in the page."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as ipython:
        os.environ.update(IPYTHONDIR=ipython, TQDM_DISABLE="1")
        os.environ.pop("MPLBACKEND", None)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _publish(partial: Path, target: Path, mark: str) -> None:
    notebook = nbformat.read(partial, as_version=4)
    notebook.metadata["fetalclip_nb"] = {"fingerprint": mark}
    nbformat.write(notebook, partial)
    partial.replace(target)


def _blame(partial: Path, exception: str) -> str:
    """Name the last cell that was started, for errors that are not a cell's own."""
    if not partial.is_file():
        return f"before the first cell: {exception}"
    cells = [c for c in nbformat.read(partial, as_version=4).cells if c.cell_type == "code"]
    started = [
        n for n, c in enumerate(cells, 1) if c.metadata.get("papermill", {}).get("start_time")
    ]
    if not started:
        return f"before the first cell: {exception}"
    return _sentence(started[-1], cells[started[-1] - 1].source, exception)


def _sentence(number: int, code: str, exception: str) -> str:
    first = next((line.strip() for line in code.splitlines() if line.strip()), "")
    return f"cell In [{number}], `{first}`: {' '.join(exception.split())}"
