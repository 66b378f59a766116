"""The workflow runs what is out of date and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tiny import checkout

pytest.importorskip("snakemake")


@pytest.fixture(scope="module")
def built(tmp_path_factory, repository) -> Path:
    """A checkout in miniature whose book the workflow has built."""
    folder = checkout(tmp_path_factory.mktemp("checkout"), repository)
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr
    return folder


def snakemake(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def planned(folder: Path) -> dict[str, int]:
    """Rules that would run, and how often."""
    done = snakemake(folder, "--dry-run")
    pairs = (row.split() for row in (done.stdout + done.stderr).splitlines())
    known = {"data", "embeddings", "notebook", "book"}
    return {p[0]: int(p[1]) for p in pairs if len(p) == 2 and p[0] in known and p[1].isdigit()}


def test_a_second_run_has_nothing_to_do(built):
    assert (built / "build/demo/book/_build/html/index.html").is_file()
    done = snakemake(built)
    assert "Nothing to be done" in done.stderr


@pytest.mark.parametrize(
    ("path", "old", "new", "rules"),
    [
        ("profiles/demo.yaml", "one: {}", "one: {count: 3}", {"notebook": 1, "book": 1}),
        ("notebooks/one.ipynb", "6 * 7", "7 * 6", {"notebook": 1, "book": 1}),
        ("book/intro.md", "See", "Read", {"book": 1}),
        ("profiles/demo.yaml", "data: {}", "data:  {}", {}),
    ],
)
def test_a_change_reruns_what_depends_on_it(built, path, old, new, rules):
    content = (built / path).read_text()
    assert old in content
    (built / path).write_text(content.replace(old, new))
    try:
        assert planned(built) == rules
    finally:
        (built / path).write_text(content)


def test_an_unknown_profile_is_named(built):
    done = snakemake(built, "--config", "profile=nowhere")
    assert done.returncode == 1
    assert "Profile is missing" in done.stderr and "one of demo" in done.stderr


def test_a_failing_notebook_keeps_its_partial_copy_and_log(built):
    path = built / "notebooks/one.ipynb"
    content = path.read_text()
    path.write_text(content.replace("print('answer', 6 * 7 * count)", "1 / 0"))
    done = snakemake(built)
    path.write_text(content)
    assert done.returncode == 1
    assert (built / "build/demo/notebooks/failed/one.ipynb").is_file()
    assert not (built / "build/demo/notebooks/one.ipynb").exists()
    assert "`1 / 0`: ZeroDivisionError" in (built / "build/demo/logs/one.log").read_text()
    # The only job has all cores, and knows it.
    asked = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['LOKY_MAX_CPU_COUNT'])"
    path.write_text(content.replace("print('answer', 6 * 7 * count)", asked))
    assert snakemake(built, "--cores", "3").returncode == 0
    assert '"3 3\\n"' in (built / "build/demo/notebooks/one.ipynb").read_text()
    path.write_text(content)
