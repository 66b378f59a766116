"""Run notebooks with papermill: strict parameters, resumable, one failure stops no other."""

import contextlib
import difflib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from fetalclip_nb.errors import NotebookError, ProfileError, listing, refuse
from fetalclip_nb.files import key, lock, whole
from fetalclip_nb.models.names import model_name
from fetalclip_nb.paths import project_root, shown
from fetalclip_nb.profiles import DEMO, Profile, named_data
from fetalclip_nb.results.result_files import LEFT_OUT, write_json
from fetalclip_nb.workflow.absent import absent_models, left_out, page
from fetalclip_nb.workflow.dependencies import notebook_files, read_notebook
from fetalclip_nb.workflow.gate import MARK, made
from fetalclip_nb.workflow.parameters import Parameter, check_parameters, declared_parameters
from fetalclip_nb.workflow.states import chapters_read, outside_state, state

PATIENCE = 600
"""Seconds to wait for what a cell has shown: on a busy machine, papermill's four are too few."""

_BUSY = " (too much is shown at once, or on too busy a machine: show less, or take fewer cores)"


@dataclass(frozen=True)
class Outcome:
    """What became of one notebook.

    Attributes:
        notebook: Name without folder and suffix.
        status: "done", "up to date", "left out" or "failed".
        seconds: Wall time.
        error: Empty, or one sentence: cell and exception, or why it was left out.
    """

    notebook: str
    status: str
    seconds: float = 0.0
    error: str = ""


def run_profile(
    profile: Profile, names: Sequence[str] = (), *, force: bool = False
) -> list[Outcome]:
    """Run a profile's notebooks one after the other; one that fails does not stop the others.

    Executed copies go to build/PROFILE/notebooks, results to build/PROFILE/results.

    Args:
        profile: Says which notebooks there are and with what parameters.
        names: Some of them; all when empty.
        force: Run those that are up to date, too.

    Raises:
        NotebookError: A name that the profile does not have, or no such notebook.
        ParameterError: Parameters that a notebook does not take; nothing has run then.
    """
    names = dict.fromkeys(names or profile.notebooks)
    for name in names:
        plan(profile, name)
    if profile.leaves_out:
        write_json(profile.folder / "results" / LEFT_OUT, left_out_of(profile))
    # Planned again in its turn: a chapter may read what those before it have left.
    return [run_notebook(*plan(profile, name), force=force) for name in names]


def left_out_of(profile: Profile) -> dict[str, object]:
    """What left_out.json holds: reasons by notebook, and by model under "models"."""
    reasons = {name: plan(profile, name)[-1] for name in profile.notebooks}
    models = {model_name(spec): why for spec, why in absent_models(profile).items()}
    return {name: why for name, why in reasons.items() if why} | {"models": models}


def plan(profile: Profile, name: str) -> tuple[Path, Path, dict[str, object], dict[str, str], str]:
    """What `run_notebook` and `is_current` take for a notebook of a profile, checked."""
    source = source_of(profile, name)
    values, declared = notebook_parameters(profile, name), declared_parameters(source)
    check_parameters(source.name, declared, values)
    require_data(name, declared, values, profile)
    target = profile.folder / "notebooks" / source.name
    before = chapters_before(profile, name)
    if "chapters" in declared and "results_dir" not in profile.notebooks[name]:
        # What a chapter has left that the profile had once must not be read.
        values["chapters"] = ", ".join(before)
        refuse(
            [] if before else chapters_read(declared, {}),
            "Notebook reads chapters, and the profile has none of them",
            error=ProfileError,
            where=f"{profile.path}, notebooks {name}",
            fix="give the profile one of these chapters, or the notebook a `results_dir`",
        )
    optional = [key for key, entry in declared.items() if entry.default == ""]
    values, reason = left_out(profile, name, values, optional)
    if profile.leaves_out and before and all(plan(profile, chapter)[-1] for chapter in before):
        reason = "none of the chapters that it reads was run"
    return source, target, values, {} if reason else outside_state(declared, values), reason


def chapters_before(profile: Profile, name: str) -> list[str]:
    """Chapters of a profile whose result files its notebook of this name reads."""
    declared = declared_parameters(source_of(profile, name))
    read = chapters_read(declared, notebook_parameters(profile, name))
    return [chapter for chapter in read if chapter in profile.notebooks]


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


def run_notebook(
    source: Path,
    target: Path,
    parameters: Mapping[str, object],
    data: Mapping[str, str],
    reason: str = "",
    *,
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
        reason: Why it cannot run: then a page that says so takes its place.
        force: Run even if the copy is up to date.

    Returns:
        What became of it; a failing cell is an outcome, no exception.
    """
    with lock(target):
        if not force and is_current(source, target, parameters, data, reason):
            return Outcome(source.stem, "left out" if reason else "up to date", error=reason)
        started, error = time.monotonic(), ""
        partial = target.parent / "failed" / source.name
        mark = fingerprint(source, parameters, data)
        try:
            partial.parent.mkdir(exist_ok=True)
            partial.unlink(missing_ok=True)
            # Whatever lies at the target is outdated by now: a failure must not leave it to a book.
            target.unlink(missing_ok=True)
            if reason:
                shutil.rmtree(_results(source, parameters), ignore_errors=True)
                nbformat.write(page(read_notebook(source), reason), partial)
            else:
                _execute(source, partial, parameters)
            notebook = read_notebook(partial)
            notebook.metadata[MARK] = _mark(notebook, source, parameters, mark, reason)
            with whole(target) as path:
                nbformat.write(notebook, path)
            partial.unlink()
        except Exception as problem:  # a failing cell, a dead kernel, a full disk: the others run
            error = _blame(partial, problem)
        seconds = time.monotonic() - started
        status = "failed" if error else "left out" if reason else "done"
        return Outcome(source.stem, status, seconds, error or reason)


def is_current(
    source: Path,
    target: Path,
    parameters: Mapping[str, object],
    data: Mapping[str, str],
    reason: str = "",
) -> bool:
    """Whether a run would change nothing: copy and result files are as such a run left them."""
    mark = fingerprint(source, parameters, data)
    with contextlib.suppress(NotebookError):
        notebook = read_notebook(target)
        return notebook.metadata.get(MARK) == _mark(notebook, source, parameters, mark, reason)
    return False


def _mark(
    notebook: nbformat.NotebookNode,
    source: Path,
    parameters: Mapping[str, object],
    fingerprint: str,
    reason: str,
) -> dict[str, str]:
    mark = {"fingerprint": fingerprint, "made": made(notebook, _results(source, parameters))}
    return mark | ({"left_out": reason} if reason else {})


def fingerprint(source: Path, parameters: Mapping[str, object], data: Mapping[str, str]) -> str:
    """16 hexadecimal digits over all that an executed notebook depends on."""
    return key([dict(parameters), dict(data), state(*notebook_files(source))])


def _results(source: Path, parameters: Mapping[str, object]) -> Path:
    return project_root() / str(parameters["results_dir"]) / source.stem


def summary(outcomes: list[Outcome]) -> str:
    """One line a notebook: name, status, seconds, and why it was left out."""
    width = max((len(outcome.notebook) for outcome in outcomes), default=0)
    whys = ["  " + o.error if o.status == "left out" else "" for o in outcomes]
    return "\n".join(
        f"{o.notebook:{width}}  {o.status:10}  {o.seconds:6.1f} s{why}"
        for o, why in zip(outcomes, whys, strict=True)
    )


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


def source_of(profile: Profile, name: str) -> Path:
    """The source of a profile's notebook."""
    path = project_root() / "notebooks" / f"{name}.ipynb"
    if name in profile.notebooks and path.is_file():
        return path
    lost = name in profile.notebooks
    known = sorted(each.stem for each in path.parent.glob("*.ipynb")) if lost else profile.notebooks
    close = difflib.get_close_matches(name, known, n=1)
    raise NotebookError(
        "No such notebook",
        where=shown(path) if lost else f"profile {profile.name}",
        expected=listing(known),
        found=name,
        fix=f"did you mean {close[0]}?" if close else "",
    )


def _execute(source: Path, partial: Path, parameters: Mapping[str, object]) -> None:
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


def _blame(partial: Path, problem: Exception) -> str:
    """What went wrong, and where: in the last cell that was started."""
    cells = []
    with contextlib.suppress(NotebookError):  # a full disk leaves an empty copy
        cells = read_notebook(partial).cells
    codes = [cell for cell in cells if cell.cell_type == "code"]
    started = [cell for cell in codes if cell.metadata.get("papermill", {}).get("start_time")]
    where = "before the first cell"
    if started:
        line = next(filter(None, map(str.strip, started[-1].source.splitlines())), "")
        where = f"cell In [{codes.index(started[-1]) + 1}], `{line}`"
    name, said = type(problem).__name__, problem
    if isinstance(problem, PapermillExecutionError):  # its text is a whole page
        name, said = problem.ename, problem.evalue
    return f"{where}: {name}: {' '.join(str(said).split())}{_BUSY * ('IOPub' in str(said))}"
