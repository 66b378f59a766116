"""Long steps that are killed, have no room, find a bit altered, or must not write.

The next run completes and equals an undisturbed one, computes nothing finished again and leaves
nothing behind; what is altered is made again or refused, and never gives another answer.
Downloads are cut and resumed in tests/downloads, the book is built in tests/workflow.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest

import steps
from fetalclip_nb.errors import FetalClipError
from fetalclip_nb.phantoms import writer

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pytest", "steps"])  # torch is imported once, not by each process

RESUMED = ("embeddings", "decoder", "pretraining")
"""Steps that go on after the part in which they were killed."""

ONCE = ("phantoms", "embeddings", "texts", "probes", "decoder", "pool")
"""Steps that one of two processes does, while the other one waits and reads."""

KEPT = (*ONCE, "pretraining", "export")
"""Steps that read what they find; a notebook that runs again saves its results again."""

SEALED = KEPT[1:]
"""Steps whose files show whether they are as they were written; phantoms are plain pictures."""


@dataclass
class Said:
    """What a process has said, and how it ended."""

    code: int = 0
    part: list[str] = field(default_factory=list)
    done: str = ""
    failed: str = ""
    marks: int = 0


def started(name, folder, **fault):
    folder.mkdir(exist_ok=True)
    pipe, of_child = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=steps.child, args=(of_child, name, folder), kwargs=fault)
    process.start()
    of_child.close()
    return process, pipe


def ended(process, pipe):
    said = Said()
    with contextlib.suppress(EOFError):
        while True:
            what, value = pipe.recv()
            said.part.append(value) if what == "part" else setattr(said, what, value)
    process.join(60)
    said.code = process.exitcode
    return said


def elsewhere(name, folder, **fault):
    """Do a step in a process of its own."""
    return ended(*started(name, folder, **fault))


def here(name, folder):
    """Outcome of a step in this process, and the parts that were computed."""
    parts = []
    return steps.outcome(name, folder, parts.append), parts


def left(folder):
    """Names of what no later run needs."""
    return [path.name for path in folder.rglob("*") if path.suffix in (".tmp", ".part", ".partial")]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Gives what an undisturbed run of a step says, and its folder."""
    known = {}

    def of(name):
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            known[name] = elsewhere(name, folder), folder
            assert known[name][0].done, known[name][0].failed
        return known[name]

    return of


@pytest.mark.parametrize("name", steps.STEPS)
def test_a_killed_step_is_done_by_the_next_run(name, clean, tmp_path):
    whole, _ = clean(name)
    places = sorted({1 + i * (whole.marks - 1) // 3 for i in range(4)})
    for place in places:
        folder = tmp_path / str(place)
        broken = elsewhere(name, folder, kill_at=place)
        assert (broken.code, broken.done) == (-signal.SIGKILL, "")
        done, parts = here(name, folder)
        assert (done, left(folder)) == (whole.done, [])
        if name in RESUMED:
            assert len(broken.part) + len(parts) <= len(whole.part) + 1
        if name in KEPT:
            assert here(name, folder) == (whole.done, [])


@pytest.mark.parametrize("name", steps.STEPS)
def test_a_full_disk_is_told_with_the_file_and_leaves_nothing_that_counts(name, clean, tmp_path):
    full = elsewhere(name, tmp_path, limit=100)
    assert full.code == 0 and full.done == ""
    assert str(tmp_path) in full.failed and full.failed.startswith(("OSError", "CacheError"))
    assert here(name, tmp_path)[0] == clean(name)[0].done
    assert left(tmp_path) == []


@contextlib.contextmanager
def read_only(folder):
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.mark.skipif(sys.platform != "linux", reason="takes root's privileges as Linux does")
@pytest.mark.parametrize("name", steps.STEPS)
def test_what_is_there_is_read_where_nothing_may_be_written(name, clean, tmp_path):
    whole, folder = clean(name)
    copy, empty = tmp_path / "copy", tmp_path / "empty"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.lock"))
    empty.mkdir()
    with read_only(copy), read_only(empty):
        if name in KEPT:
            found = elsewhere(name, copy, bound=True)
            assert (found.done, found.part, found.failed) == (whole.done, [], "")
        assert str(empty) in elsewhere(name, empty, bound=True).failed
    assert not list(copy.rglob("*.lock")) and not list(empty.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="takes root's privileges as Linux does")
def test_a_notebook_runs_on_a_read_only_cache(clean, tmp_path):
    (tmp_path / "cache").mkdir()
    with read_only(tmp_path / "cache"):
        assert elsewhere("results", tmp_path, bound=True).done == clean("results")[0].done


def damages(data, chance, flips):
    """A file's content with a bit flipped here or there, cut, lost or overwritten."""
    for place in chance.integers(len(data), size=flips):
        bit = 1 << chance.integers(8)
        yield data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :]
    yield from (b"", data[: len(data) // 2], bytes(len(data)), b"[]", data + b"0")


def survived(name, folder, kept, done, flips=3):
    """Whether a step gives the same with each file of a folder damaged, or refuses it."""
    chance = np.random.default_rng(0)
    files = [path for path in kept.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert files
    for path in files:
        for content in damages(path.read_bytes(), chance, flips):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(kept, folder)
            (folder / path.relative_to(kept)).write_bytes(content)
            with contextlib.suppress(FetalClipError):
                assert here(name, folder)[0] == done, f"{path.name} damaged"


@pytest.mark.parametrize("name", SEALED)
def test_a_damaged_file_gives_the_same_or_one_error(name, clean, tmp_path):
    whole, kept = clean(name)
    flips = 12 if name in ("embeddings", "export") else 3  # files of many parts, and of one
    survived(name, tmp_path / "copy", kept, whole.done, flips)


@pytest.mark.parametrize("name", RESUMED)
def test_a_damaged_file_of_a_broken_run_gives_the_same(name, clean, tmp_path):
    whole, _ = clean(name)
    elsewhere(name, tmp_path / "kept", kill_at=whole.marks - 2)
    survived(name, tmp_path / "copy", tmp_path / "kept", whole.done)


@pytest.mark.parametrize("name", steps.STEPS)
def test_two_at_once_give_the_same_and_compute_once(name, clean, tmp_path):
    both = [ended(*one) for one in [started(name, tmp_path) for _ in range(2)]]
    whole = clean(name)[0]
    assert [one.done for one in both] == [whole.done] * 2, [one.failed for one in both]
    if name in ONCE:
        assert sorted(both[0].part + both[1].part) == sorted(whole.part)
    assert left(tmp_path) == []


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("year", [1980, 2100])
def test_the_clock_decides_nothing(name, clean, tmp_path, year):
    whole, folder = clean(name)
    shutil.copytree(folder, tmp_path / "copy")
    seconds = (year - 1970) * 365 * 86400
    for path in [tmp_path / "copy", *tmp_path.rglob("*")]:
        os.utime(path, (seconds, seconds))
    assert here(name, tmp_path / "copy") == (whole.done, [])


DRAW = """
import os, signal, sys
from pathlib import Path
from fetalclip_nb.phantoms import writer

def job(_, path):
    Path(path).write_text(str(os.getpid()))
    signal.pause()

if __name__ == "__main__":
    writer.FEW = 0
    record = {"seed": 0, "patients": 1}
    writer.publish(sys.argv[1], lambda _: writer.draw_all(job, sys.argv[2:], 0, 2), **record)
"""


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_no_drawing_process_outlives_another(tmp_path, victim):
    paths = [tmp_path / name for name in "ab"]
    (tmp_path / "draw.py").write_text(DRAW)
    command = [sys.executable, tmp_path / "draw.py", tmp_path / "set", *paths]
    with (tmp_path / "error").open("w") as file:
        parent = subprocess.Popen(command, stderr=file)
    until(lambda: all(path.exists() and path.read_text() for path in paths))
    workers = [int(path.read_text()) for path in paths]
    os.kill(parent.pid if victim == "parent" else workers[0], signal.SIGKILL)
    parent.wait()
    until(lambda: not any(map(alive, workers)))
    if victim == "worker":
        expected = "DataError: A drawing process was ended by the system"
        assert expected in (tmp_path / "error").read_text()
        assert left(tmp_path) == []
    writer.publish(tmp_path / "set", lambda _: 0, seed=0, patients=1)
    assert left(tmp_path) == []


def test_a_command_that_is_told_to_end_leaves_nothing(tmp_path):
    data = f"heads: {{kind: hc18, root: {tmp_path}/heads, phantoms: {{patients: 2000, seed: 1}}}}"
    profile = f"name: p\ndata: {{{data}}}\nmodels: [phantomclip]\nnotebooks: {{}}\n"
    (tmp_path / "p.yaml").write_text(profile)
    command = [sys.executable, "-m", "fetalclip_nb.cli", "data", "--profile", tmp_path / "p.yaml"]
    process = subprocess.Popen(command)
    until(lambda: list(tmp_path.glob("*.tmp/heads/training_set/*.png")))
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heads.lock", "p.yaml"]
