"""Notebooks are run strictly, resumed, and fail one by one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from fetalclip_nb.errors import NotebookError, ParameterError, ProfileError
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.workflow import parameters, runner
from tiny import PARAMETERS, notebook, project


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """An empty project that is the current folder."""
    monkeypatch.chdir(tmp_path)
    return project(tmp_path)


def outputs(path: Path) -> str:
    """All text that an executed notebook shows."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(o.get("text", "") for c in cells for o in c.get("outputs", []))


def test_run_injects_profile_values_and_keeps_machine_out(tiny, monkeypatch):
    cells = ("import os", "print(profile, models, count, os.getcwd() == os.environ['HERE'])")
    cells += ("print(os.environ['TQDM_DISABLE'], 'MPLBACKEND' in os.environ)",)
    cells += ("print(os.environ['IPYTHONDIR'])",)
    values = {"count": 7, "rate": 1, "quick": True, "device": "cuda", "models": "a, b"}
    project(tiny, {"one": values}, one=notebook(*cells))
    monkeypatch.setenv("HERE", str(tiny))
    execute, asked = runner.papermill.execute_notebook, {}
    monkeypatch.setattr(
        runner.papermill, "execute_notebook", lambda *a, **k: (asked.update(k), execute(*a, **k))
    )
    outcome = runner.run_profile(load_profile("demo"))[0]
    assert asked["iopub_timeout"] == 600
    executed = tiny / "build/demo/notebooks/one.ipynb"
    assert (outcome.notebook, outcome.status, outcome.error) == ("one", "done", "")
    assert outputs(executed).startswith("demo a, b 7 True\n1 True\n")
    assert str(Path.home()) not in outputs(executed).splitlines()[-1]
    assert "TQDM_DISABLE" not in os.environ
    assert not list((executed.parent / "failed").iterdir())
    content = json.loads(executed.read_text())
    nbformat.validate(content)
    assert len(content["metadata"]["fetalclip_nb"]["fingerprint"]) == 16


def test_unknown_parameter_is_refused_before_any_kernel_starts(tiny, monkeypatch):
    monkeypatch.setattr(runner.papermill, "execute_notebook", lambda *a, **k: pytest.fail("ran"))
    project(tiny, {"two": {"cuont": 3}}, one=notebook("1"), two=notebook("1"))
    with pytest.raises(ParameterError) as error:
        runner.run_profile(load_profile("demo"))
    text = str(error.value)
    assert "unknown name 'cuont' (did you mean 'count'?)" in text
    assert "count: int, rate: float, quick: bool" in text and "two.ipynb" in text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": "3"}, "count = '3' is str, not int"),
        ({"count": True}, "count = True is bool, not int"),
        ({"count": 1.5}, "count = 1.5 is float, not int"),
        ({"rate": "1e-3"}, "rate = '1e-3' is str, not float"),
        ({"quick": "false"}, "quick = 'false' is str, not bool"),
        ({"models": ["a", "b"]}, "models = ['a', 'b'] is list, not str"),
        ({"device": "gpu"}, "device = 'gpu' is none of auto, cpu, cuda"),
        ({"count": "3", "colour": 1}, "2 parameters"),
    ],
)
def test_wrong_values_are_refused_by_name(tiny, values, message):
    project(tiny, one=notebook("1"))
    declared = parameters.declared_parameters(tiny / "notebooks/one.ipynb")
    with pytest.raises(ParameterError, match=r"Where: one\.") as error:
        parameters.check_parameters("one", declared, values)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "null", "[]", "\udcff", '{"cells": 3}', "= f()", '{"output_type": "output"}']
)
def test_a_source_that_is_no_notebook_or_computes_its_parameters_is_named(tiny, content):
    path = project(tiny, one=notebook("1")) / "notebooks/one.ipynb"
    if content == "= f()":
        content = path.read_text().replace("= 2", content)
    if "output_type" in content:
        content = path.read_text().replace('"outputs": []', f'"outputs": [{content}]')
    path.write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(
        (NotebookError, ParameterError), match=r"cannot be read. Where: .*one\.ipynb"
    ):
        runner.run_profile(load_profile("demo"))


def test_notebooks_without_parameters_or_of_another_name_are_refused(tiny):
    project(tiny, zero_shot=notebook("1", parameters=""))
    with pytest.raises(ParameterError, match="declares no parameters"):
        runner.run_profile(load_profile("demo"))
    with pytest.raises(NotebookError, match=r"did you mean zero_shot"):
        runner.run_profile(load_profile("demo"), ["zero_shoot"])


def test_failing_cell_is_named_kept_and_stops_no_other(tiny):
    broken = notebook("print('before')", "# halve it\nhalf = 1 / 0", "print('never')")
    project(tiny, bad=broken, good=notebook("print('fine')"))
    executed = tiny / "build/demo/notebooks"
    executed.mkdir(parents=True)
    (executed / "bad.ipynb").write_text("{}")  # an outdated copy must not survive the failure
    outcomes = runner.run_profile(load_profile("demo"))
    assert [outcome.status for outcome in outcomes] == ["failed", "done"]
    with pytest.raises(NotebookError) as error:
        runner.require_success(outcomes)
    text = str(error.value)
    assert "1 of 2 notebooks failed" in text and "\n" not in text
    assert "bad, cell In [4], `# halve it`: ZeroDivisionError: division by zero" in text
    assert not (executed / "bad.ipynb").exists()
    assert "before" in outputs(executed / "failed/bad.ipynb")
    assert "bad   failed" in runner.summary(outcomes)


def test_dead_kernel_is_a_failure_that_names_its_cell(tiny):
    project(tiny, dead=notebook("import os\nos._exit(3)"))
    outcome = runner.run_profile(load_profile("demo"))[0]
    assert outcome.status == "failed"
    assert "cell In [3], `import os`: DeadKernelError" in outcome.error


def test_resume_runs_only_what_changed(tiny):
    counter = "with open('runs.txt', 'a') as file:\n    file.write(profile)"
    saving = "from pathlib import Path\nmade = Path(results_dir, {!r})\n"
    saving += "made.mkdir(parents=True, exist_ok=True)\n(made / 'row.json').write_text(str(count))"
    one, two = ((counter, saving.format(name)) for name in ("one", "two"))
    project(tiny, one=notebook(*one), two=notebook(*two))

    def statuses(**options) -> list[str]:
        return [o.status for o in runner.run_profile(load_profile("demo"), **options)]

    assert statuses() == ["done", "done"]
    assert statuses() == ["up to date", "up to date"]
    project(tiny, {"two": {"count": 5}}, one=notebook(*one), two=notebook(*two))
    assert statuses() == ["up to date", "done"]
    project(tiny, {"two": {"count": 5}}, one=notebook(*one, "2"), two=notebook(*two))
    assert statuses() == ["done", "up to date"]
    assert statuses(force=True) == ["done", "done"]
    (tiny / "build/demo/results/two/row.json").unlink()
    (tiny / "build/demo/results/one/row.json").write_text("3")
    assert statuses() == ["done", "done"]
    copy = tiny / "build/demo/notebooks/two.ipynb"
    copy.write_text(copy.read_text().replace("A tiny", "A big"))
    assert statuses() == ["up to date", "done"]
    assert (tiny / "runs.txt").read_text() == "demo" * 9


def test_a_chapter_that_reads_another_is_run_again_after_it(tiny):
    """In the same call: what it reads is looked at when its turn comes."""
    saving = "from pathlib import Path\nmade = Path(results_dir, 'one')\n"
    saving += "made.mkdir(parents=True, exist_ok=True)\n(made / 'row.json').write_text(str(count))"
    parameters = f'{PARAMETERS}\nchapters: str = "one"  # chapters to read'
    both = {"one": notebook(saving), "two": notebook("2", parameters=parameters)}
    for count, status in ((2, "done"), (2, "up to date"), (3, "done")):
        project(tiny, {"one": {"count": count}}, **both)
        outcomes = runner.run_profile(load_profile("demo"))
        assert [outcome.status for outcome in outcomes] == [status] * 2


def test_fingerprint_follows_parameters_data_and_modules(tiny, tmp_path):
    source = project(tiny, one=notebook("import fetalclip_nb.growth")) / "notebooks/one.ipynb"
    first = runner.fingerprint(source, {"count": 1}, {"hc18": "a"})
    assert runner.fingerprint(source, {"count": 1}, {"hc18": "a"}) == first
    assert runner.fingerprint(source, {"count": 2}, {"hc18": "a"}) != first
    assert runner.fingerprint(source, {"count": 1}, {"hc18": "b"}) != first


def test_a_copy_that_was_damaged_is_run_again(tiny, monkeypatch):
    """What its texts, metadata or validation hold against it: never a traceback, never by hand."""
    project(tiny, one=notebook("1"))
    profile = load_profile("demo")
    assert runner.run_profile(profile)[0].status == "done"
    job = runner.plan(profile, "one")
    whole = job[1].read_text()
    assert runner.is_current(*job)
    metadata = json.loads(whole) | {"metadata": {"fetalclip_nb": "x", "papermill": "y"}}
    broken = whole.replace('"outputs": []', '"outputs": [{"output_type": "output"}]', 1)
    assert broken != whole
    for content in ("", "[]", "{}", "\udcff", json.dumps(metadata), broken):
        job[1].write_text(content, "utf-8", "surrogateescape")
        assert not runner.is_current(*job)
    execute = runner.papermill.execute_notebook

    def full_disk(source, partial, *rest, **options):
        Path(partial).write_bytes(b"")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runner.papermill, "execute_notebook", full_disk)
    project(tiny, one=notebook("1"), two=notebook("2"))
    outcomes = runner.run_profile(load_profile("demo"))
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert outcomes[0].error == "before the first cell: OSError: [Errno 28] No space left on device"

    def busy(*given, **options):
        execute(*given, **options)
        raise TimeoutError("Timeout waiting for IOPub output")

    monkeypatch.setattr(runner.papermill, "execute_notebook", busy)
    error = runner.run_profile(load_profile("demo"), ["two"])[0].error
    assert error.startswith("cell In [3], `2`: TimeoutError: Timeout waiting")
    assert error.endswith("show less, or take fewer cores)")


def test_killed_run_leaves_no_copy_and_the_next_one_finishes(tiny):
    cells = ("from pathlib import Path\nfirst = not Path('flag').exists()\nPath('flag').touch()",)
    cells += ("import time\nif first:\n    time.sleep(60)", "print('whole')")
    project(tiny, slow=notebook(*cells))
    command = [sys.executable, "-m", "fetalclip_nb.cli", "run"]
    killed = subprocess.Popen(command, cwd=tiny, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tiny / "flag").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    executed = tiny / "build/demo/notebooks/slow.ipynb"
    assert not executed.exists()
    assert runner.run_profile(load_profile("demo"))[0].status == "done"
    assert outputs(executed) == "whole\n"


def test_parameter_text_reaches_no_shell(tiny):
    evil = "$(touch owned); `touch owned`; '\"; import os; os.system('touch owned') #"
    project(tiny, {"one": {"models": evil}}, one=notebook("print(models)"))
    assert runner.run_profile(load_profile("demo"))[0].status == "done"
    assert outputs(tiny / "build/demo/notebooks/one.ipynb") == evil + "\n"
    assert not (tiny / "owned").exists()


def test_a_chapter_reads_those_of_its_profile_alone(tiny):
    """One that the profile had once may have left results."""
    reads = notebook("1", parameters=f'{PARAMETERS}\nchapters: str = "gone, one"  # chapters')
    project(tiny, {"three": {"results_dir": "far"}}, one=notebook("1"), two=reads, three=reads)
    profile = load_profile("demo")
    assert runner.plan(profile, "two")[2]["chapters"] == "one"
    assert "chapters" not in runner.plan(profile, "three")[2]  # of another run
    del profile.notebooks["one"]
    with pytest.raises(ProfileError, match=r"profile has none of them.*Found: gone, one\."):
        runner.plan(profile, "two")


def test_a_chapter_without_a_source_is_named(tiny):
    project(tiny, one=notebook("1"))
    profile = load_profile("demo")
    profile.notebooks["onn"] = {}
    with pytest.raises(NotebookError, match=r"Expected: one\. Found: onn.*did you mean one"):
        runner.plan(profile, "onn")
