"""The command line: one paragraph an error, nothing heavy before it is needed."""

import subprocess
import sys

import pytest

from fetalclip_nb import cli
from fetalclip_nb.errors import DataError
from tiny import notebook, project


def run(*words: str, cwd) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "fetalclip_nb.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_help_imports_nothing_heavy(tmp_path):
    code = (
        "import sys\nfrom fetalclip_nb import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'open_clip', 'papermill', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("data", "embed", "run", "book", "download", "doctor", "pretrain"):
        assert f"    {name} " in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--profile", "nowhere"), "Profile is missing"),
        (("run", "two"), "No such notebook"),
        (("data", "nothing"), "The profile has no such data set"),
        (("embed", "--data", "nothing"), "The profile has no such data set"),
        (("download", "nothing"), "Nothing is registered under this name"),
        (("book",), "The book cannot be built: 1 problem. "),
    ],
)
def test_an_error_is_one_paragraph_and_exit_code_2(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(project(tmp_path, one=notebook("1")))
    (tmp_path / "book").mkdir()
    (tmp_path / "book/_toc.yml").write_text("root: book/intro\nchapters: [{file: notebooks/one}]")
    assert cli.main(words) == cli.USAGE_ERROR == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {message}")
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err


def test_an_error_of_several_lines_is_joined(monkeypatch, capsys):
    def fail(name):
        raise DataError("First\nsecond", found="a\n  b")

    monkeypatch.setattr(cli, "load_profile", fail)
    assert cli.main(["data"]) == 2
    assert capsys.readouterr().err == "error: First second. Found: a b.\n"


def test_failed_notebook_gives_exit_code_1_and_a_summary(tmp_path):
    project(tmp_path, bad=notebook("1 / 0"), good=notebook("1"))
    done = run("run", cwd=tmp_path)
    assert done.returncode == cli.NOTEBOOK_FAILED == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["bad", "failed"],
        ["good", "done"],
    ]
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: 1 of 2 notebooks failed. Found: bad, cell In [3], `1 / 0`")
    assert "Traceback" not in done.stderr


def test_unknown_command_is_a_usage_error(tmp_path):
    done = run("publish", cwd=tmp_path)
    assert done.returncode == 2 and "invalid choice: 'publish'" in done.stderr
