"""The workflow runs what is out of date and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from fetalclip_nb.workflow.states import state
from tiny import PARAMETERS, TOC, checkout, notebook, project

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


def planned(folder: Path, *targets: str) -> dict[str, int]:
    """Rules that would run, and how often."""
    done = snakemake(folder, "--dry-run", *targets)
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
        # What was made is no longer as it was left.
        ("build/demo/results/one/model_tiny.json", "0.834", "0.934", {"notebook": 1, "book": 1}),
        ("build/demo/book/_build/html/index.html", "", "<!-- -->", {"book": 1}),
    ],
)
def test_a_change_reruns_what_depends_on_it(built, path, old, new, rules):
    """And no date hides it."""
    content = (built / path).read_text()
    assert old in content
    (built / path).write_text(content.replace(old, new))
    os.utime(built / path, (1e9, 1e9))
    try:
        assert planned(built) == rules
    finally:
        (built / path).write_text(content)


def test_weights_and_images_that_were_replaced_rerun_what_used_them(tmp_path, repository):
    """Same names, sizes and dates; one model of two and one data set of two."""
    folder = checkout(tmp_path, repository)
    sources = {"a": "my data, a=1+b:c", "b": "other"}
    for path in ("mod 1/open_clip_config.json", "mod 1/w.bin", *sources.values()):
        replace(folder / path / ("" if path[:3] == "mod" else "1.png"), b"old")
    profile = yaml.safe_load((folder / "profiles/demo.yaml").read_text())
    data = {name: {"kind": "manifest", "root": root} for name, root in sources.items()}
    profile |= {"data": data, "models": ["ours=local-dir:./mod 1", "phantomclip"]}
    (folder / "profiles/demo.yaml").write_text(yaml.safe_dump(profile))
    marks = [f"build/demo/data-{name}.ready" for name in sources]
    targets = [
        f"build/demo/embeddings-{model}-on-{name}.ready"
        for model in ("ours-local-dir-.-mod-1", "phantomclip")
        for name in sources
    ]
    for mark in (*marks, *targets):
        replace(folder / mark, b"")
    for mark, root in zip(marks, sources.values(), strict=True):
        (folder / f"{mark}.state").write_text(state(folder / root))
    assert snakemake(folder, "--touch", *targets).returncode == 0
    replace(folder / "mod 1/w.bin", b"new")
    replace(folder / sources["b"] / "1.png", b"new")
    assert planned(folder, *targets) == {"data": 1, "embeddings": 3}


def replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))


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


def test_a_chapter_that_cannot_run_gets_a_page_of_the_book(tmp_path, repository):
    """Data that are not there, and a number on another page, stop nothing."""
    folder = checkout(tmp_path, repository)
    with (folder / "book/intro.md").open("a") as intro:
        intro.write("\nOwn: {glue:text}`../notebooks/one.ipynb::headline/own_classes/f1:s`.\n")
    path = folder / "profiles/demo.yaml"
    profile = yaml.safe_load(path.read_text()) | {"missing": "leave out"}
    profile |= {"data": {"own": {"kind": "hc18", "root": "own"}}, "models": ["a=local-dir:gone"]}
    path.write_text(yaml.safe_dump(profile))
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr
    assert "Missing so far: own, its data are not in own" in done.stderr
    html = folder / "build/demo/book/_build/html"
    page = (html / "notebooks/one.html").read_text()
    assert "a: gone/open_clip_config.json is not there" in page and "pasted" not in page
    intro = (html / "book/intro.html").read_text()
    assert ">not run</span>" in intro and "Own:" not in intro
    assert planned(folder) == {}  # until somebody puts it there
    replace(folder / "own/training_set_pixel_size_and_HC.csv", b"")
    replace(folder / "gone/open_clip_config.json", b"")
    assert planned(folder) == {"data": 1, "embeddings": 1, "notebook": 1, "book": 1}


def test_a_chapter_that_reads_others_runs_after_them(tmp_path, repository):
    folder = checkout(tmp_path, repository)
    reads = 'chapters: str = "one, unknown"  # chapters to read'
    two = notebook("1", parameters=f"{PARAMETERS}\n{reads}")
    project(folder, one=nbformat.read(folder / "notebooks/one.ipynb", 4), two=two)
    target = "build/demo/notebook-two.ready"
    assert planned(folder, target) == {"notebook": 2}
    assert planned(folder, target.replace("two", "one")) == {"notebook": 1}


def test_a_profile_runs_its_chapters_and_no_others(tmp_path, repository):
    folder = checkout(tmp_path, repository)
    one = nbformat.read(folder / "notebooks/one.ipynb", 4)
    project(folder, one=one, two=notebook("1"))
    (folder / "book/_toc.yml").write_text(TOC + "  - file: notebooks/two\n")
    assert planned(folder) == {"notebook": 2, "book": 1}
    path = folder / "profiles/demo.yaml"
    profile = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(profile | {"notebooks": {"two": {}}}))
    assert planned(folder) == {"notebook": 1, "book": 1}
    for chapters, said in (
        ({}, "no chapter of the book"),
        ({"two": {}, "tow": {}}, "No such notebook. Where: notebooks/tow.ipynb"),
    ):
        path.write_text(yaml.safe_dump(profile | {"notebooks": chapters}))
        done = snakemake(folder, "--dry-run")
        assert done.returncode == 1 and said in done.stdout + done.stderr
