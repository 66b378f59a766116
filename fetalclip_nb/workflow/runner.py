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

from fetalclip_nb.errors import NotebookError, ProfileError, listing, refuse
from fetalclip_nb.files import key, lock
from fetalclip_nb.paths import project_root, resolve, shown
from fetalclip_nb.profiles import DEMO, Profile, named_data
from fetalclip_nb.workflow.dependencies import notebook_files
from fetalclip_nb.workflow.parameters import Parameter, check_parameters, declared_parameters

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
    runs = []
    for source in [_source(profile, name) for name in dict.fromkeys(names or profile.notebooks)]:
        values, declared = notebook_parameters(profile, source.stem), declared_parameters(source)
        check_parameters(source.name, declared, values)
        require_data(source.stem, declared, values, profile)
        runs.append((source, values, outside_state(declared, values)))
    return [
        run_notebook(
            source,
            profile.folder / "notebooks" / source.name,
            values,
            data=state,
            # An executed copy whose result files were deleted is no use to the book.
            force=force or not (profile.folder / "results" / source.stem).is_dir(),
        )
        for source, values, state in runs
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
    refuse(
        [f"no {n}" for n, entry in declared.items() if entry.default == DEMO and n not in values],
        "Profile does not say which data a notebook reads",
        error=ProfileError,
        where=f"{profile.path}, notebooks {name}",
        expected=f"data: one of {listing(profile.data)}, or data: {{PARAMETER: one of them}}; "
        'or the parameter itself: a folder, or "" for none',
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
        error = _execute(source, partial, parameters)
        if not error:
            _publish(partial, target, mark)
        return Outcome(name, "failed" if error else "done", time.monotonic() - started, error)


def fingerprint(source: Path, parameters: Mapping[str, object], data: Mapping[str, str]) -> str:
    """16 hexadecimal digits over all that an executed notebook depends on."""
    files = [(path.name, _digest(path)) for path in notebook_files(source)]
    return key([dict(parameters), dict(data), files])


def folder_state(root: Path) -> str:
    """16 hexadecimal digits over the names and sizes in a folder and its tables' content.

    Cheap enough to ask before every run; embeddings are keyed by the images' bytes themselves.
    """
    if not root.exists():
        return "absent"
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
    names = [str(path.relative_to(root)) for path in files]
    sizes = [path.stat().st_size for path in files]
    tables = [path.suffix in _TABLES and _digest(path) for path in files]
    return key(list(zip(names, sizes, tables, strict=True)))


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


def _source(profile: Profile, name: str) -> Path:
    path = project_root() / "notebooks" / f"{name}.ipynb"
    if name in profile.notebooks and path.is_file():
        return path
    close = difflib.get_close_matches(name, profile.notebooks, n=1)
    raise NotebookError(
        "No such notebook",
        where=shown(path) if name in profile.notebooks else f"profile {profile.name}",
        expected=listing(profile.notebooks),
        found=name,
        fix=f"did you mean {close[0]}?" if close and close[0] != name else "",
    )


def _mark_of(executed: Path) -> str:
    with contextlib.suppress(OSError, nbformat.reader.NotJSONError, nbformat.ValidationError):
        metadata = nbformat.read(executed, as_version=4).metadata
        return metadata.get("fetalclip_nb", {}).get("fingerprint", "")
    return ""


def _execute(source: Path, partial: Path, parameters: Mapping[str, object]) -> str:
    """Run papermill; return an empty string, or what went wrong and where."""
    try:
        with _job_environment():
            papermill.execute_notebook(
                source,
                partial,
                dict(parameters),
                kernel_name="python3",
                progress_bar=False,
                cwd=project_root(),
                iopub_timeout=PATIENCE,
            )
    except PapermillExecutionError as error:
        return _blame(partial, f"{error.ename}: {error.evalue}")
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
    """What went wrong, and where: in the last cell that was started."""
    cells = nbformat.read(partial, as_version=4).cells if partial.is_file() else []
    codes = [cell for cell in cells if cell.cell_type == "code"]
    started = [cell for cell in codes if cell.metadata.get("papermill", {}).get("start_time")]
    where = "before the first cell"
    if started:
        line = next(filter(None, map(str.strip, started[-1].source.splitlines())), "")
        where = f"cell In [{codes.index(started[-1]) + 1}], `{line}`"
    return f"{where}: {' '.join(exception.split())}"
