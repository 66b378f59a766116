"""Folders of phantoms: the same bytes however they are made, whole or not there."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.phantoms import chd, cohorts, organs, writer
from fetalclip_nb.phantoms.chd import write_chd
from fetalclip_nb.phantoms.cohorts import write_fetal_planes, write_hc18
from fetalclip_nb.phantoms.organs import write_organs

WRITERS = {
    "fetal_planes": (write_fetal_planes, cohorts, "VERSION"),
    "hc18": (write_hc18, cohorts, "VERSION"),
    "chd": (write_chd, chd, "CHD_VERSION"),
    "four_chamber": (partial(write_organs, view="four_chamber"), organs, "ORGANS_VERSION"),
}
"""Kind of cohort to what writes it, and the module and name of its version."""


def digest(root):
    """Hash of every file below root by its relative path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", WRITERS)
def test_a_cohort_depends_on_its_seed_and_not_on_workers(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(writer, "FEW", 0)
    write = WRITERS[kind][0]
    for name, seed, workers in (("one", 4, 1), ("two", 4, 2), ("other", 5, 1)):
        write(tmp_path / name, patients=3, seed=seed, workers=workers)
    one, two, other = (digest(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    pictures = [value for found in (one, other) for p, value in found.items() if "png" in p]
    assert len(set(pictures)) == len(pictures) > 4


def test_seed_and_place_decide_the_chance_of_a_job():
    first, second, other = (
        writer.draw_all(lambda rng, job: rng.random(), jobs, seed, 1)
        for jobs, seed in (("aa", 1), ("ab", 1), ("aa", 2))
    )
    assert first == second and len({*first, *other}) == 4


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_there_is_left_alone_and_replaced_when_it_differs(tmp_path, monkeypatch, kind):
    write, module, name = WRITERS[kind]
    root = tmp_path / "set"
    write(root, patients=2, seed=1, workers=1)
    record = json.loads((root / writer.RECORD).read_text())
    version = getattr(module, name)
    files_an_image = {"hc18": 2, "four_chamber": 10}.get(kind, 1)
    assert record.pop("images") * files_an_image == len([*root.rglob("*.png")])
    assert record == {"version": version, "kind": kind, "seed": 1, "patients": 2}
    mark = root / "mark"
    mark.touch()
    write(root, patients=2, seed=1, workers=1)
    assert mark.exists()
    write(root, patients=2, seed=2, workers=1)
    assert not mark.exists()
    mark.touch()
    monkeypatch.setattr(module, name, version + 1)
    write(root, patients=2, seed=2, workers=1)
    assert not mark.exists()
    assert json.loads((root / writer.RECORD).read_text())["version"] == version + 1
    write_organs(root, view="abdomen", patients=2, seed=2, workers=1)
    assert json.loads((root / writer.RECORD).read_text())["kind"] == "abdomen"
    assert {path.name for path in tmp_path.iterdir()} == {"set", "set.lock"}


@pytest.mark.parametrize("record", [None, "{", '{"kind": "mine"}'])
def test_a_foreign_folder_is_refused_and_kept(tmp_path, record):
    root = tmp_path / "mine"
    root.mkdir()
    (root / "notes.txt").write_text("precious")
    if record is not None:
        (root / "phantom.json").write_text(record)
    with pytest.raises(DataError, match="holds no phantoms.*mine"):
        write_fetal_planes(root, patients=1, seed=0, workers=1)
    assert (root / "notes.txt").read_text() == "precious"


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    whole, calls = cohorts.write_png, []

    def full_disk(path, image):
        calls.append(path)
        if len(calls) > 3:
            raise OSError("disk full")
        whole(path, image)

    monkeypatch.setattr(cohorts, "write_png", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_hc18(tmp_path / "set", patients=5, seed=1, workers=1)
    assert len(calls) > 3 and [path.name for path in tmp_path.iterdir()] == ["set.lock"]


def test_a_killed_write_is_never_taken_as_whole(tmp_path):
    root = tmp_path / "set"
    code = "from fetalclip_nb.phantoms import write_hc18; import sys; "
    code += "write_hc18(sys.argv[1], patients=2000, seed=1, workers=1)"
    process = subprocess.Popen([sys.executable, "-c", code, str(root)])
    try:
        until = time.monotonic() + 30
        while not list(tmp_path.glob("set.*.tmp/set/training_set/*.png")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not root.exists()
    write_hc18(root, patients=1, seed=1, workers=1)
    assert (root / "phantom.json").is_file()


@pytest.mark.parametrize(("patients", "seed"), [(0, 1), (3, -1), (2.5, 1)])
def test_impossible_requests_are_refused(tmp_path, patients, seed):
    with pytest.raises(ParameterError, match="whole number"):
        write_chd(tmp_path / "set", patients=patients, seed=seed)
    assert not (tmp_path / "set").exists()
