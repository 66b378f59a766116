"""No file is read twice, and none that has changed is missed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fetalclip_nb import memory
from fetalclip_nb.errors import DataError
from fetalclip_nb.memory import remember_in, remembered
from fetalclip_nb.phantoms.cohorts import write_hc18

OPENS = """
import sys
from fetalclip_nb import memory
from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.tasks.masks import head_task

seen = []
sys.addaudithook(lambda event, args: event == "open" and seen.append(str(args[0])))
memory._TICK_S = -1e9
for verify in (False, False, True):
    seen.clear()
    memory.remember_in(sys.argv[2], verify=verify)
    print(head_task(read_hc18(sys.argv[1])).fingerprint, len({s for s in seen if ".png" in s}))
"""


@pytest.fixture(autouse=True)
def settled(monkeypatch, tmp_path):
    """Files count as old; nothing is remembered from test to test."""
    monkeypatch.setattr(memory, "_TICK_S", -1e9)
    monkeypatch.setattr(memory, "_HERE", memory._Place())
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("one")


def look(reads: list | None = None) -> list:
    def find(item: int) -> list[str]:
        if reads is not None:
            reads.append(item)
        return [Path("a").read_text()]

    return remembered("text", Path(), [("a",)], find)


def opened(root: Path) -> tuple[list[str], list[int]]:
    """Fingerprints and numbers of images and outlines opened: first, again, to verify."""
    words = [sys.executable, "-c", OPENS, str(root), "cache"]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    lines = [line.split() for line in run.stdout.splitlines()]
    return [mark for mark, _ in lines], [int(count) for _, count in lines]


def test_the_second_time_no_image_and_no_outline_is_opened_but_to_verify(tmp_path):
    write_hc18(tmp_path / "heads", patients=3, seed=1, workers=1)
    files = len([*(tmp_path / "heads/training_set").iterdir()])
    marks, counts = opened(tmp_path / "heads")
    assert counts == [files, 0, files] and len(set(marks)) == 1
    assert opened(tmp_path / "heads") == (marks, [0, 0, files])  # in a new process


def test_real_heads_are_opened_once(shared_data):
    marks, counts = opened(shared_data / "hc18")
    assert counts == [392, 0, 392] and len(set(marks)) == 1


def rewritten() -> None:
    """Other words of the same length under the old modification time."""
    old = Path("a").stat()
    Path("a").write_text("two")
    os.utime("a", ns=(old.st_atime_ns, old.st_mtime_ns))


def replaced() -> None:
    """Another file under the old name and modification time."""
    old = Path("a").stat()
    Path("b").write_text("two")
    os.utime("b", ns=(old.st_atime_ns, old.st_mtime_ns))
    Path("b").replace("a")


@pytest.mark.parametrize("change", [rewritten, replaced])
@pytest.mark.parametrize("between", [lambda: None, lambda: remember_in(Path("cache"))])
def test_a_change_is_seen_though_size_and_modification_time_stay(change, between):
    remember_in(Path("cache"))
    assert look() == [["one"]]
    between()
    change()
    assert look(reads := []) == [["two"]] and reads == [0]
    assert look(reads) == [["two"]] and reads == [0]


def test_what_changed_a_moment_ago_is_not_remembered(monkeypatch):
    monkeypatch.setattr(memory, "_TICK_S", 3.0)
    look(reads := [])
    look(reads)
    monkeypatch.setattr(memory.time, "time", lambda: Path("a").stat().st_ctime + 3.1)
    look(reads)
    assert reads == [0, 0, 0] and look(reads) == [["one"]] and len(reads) == 3


def test_a_file_that_changes_while_it_is_read_is_not_remembered():
    def find(item: int) -> list[str]:
        text = Path("a").read_text()
        Path("a").write_text(text + "!")
        return [text]

    assert [remembered("text", Path(), [("a",)], find) for _ in "12"] == [[["one"]], [["one!"]]]


def test_errors_and_missing_files_are_looked_at_each_time():
    answers = iter([ValueError("damaged"), None, ["whole"]])
    found = [remembered("x", Path(), [("a",)], lambda item: next(answers)) for _ in "123"]
    assert [str(each) for (each,) in found] == ["damaged", "None", "['whole']"]
    assert remembered("x", Path(), [("none",)], lambda item: [1]) == [[1]]
    assert remembered("x", Path(), [("none",)], lambda item: [2]) == [[2]]


def test_verify_names_what_changed_while_its_times_did_not(monkeypatch):
    Path("b").write_text("one")
    files, texts = [("a",), ("b",)], ["one", "one"]

    def find(item: int) -> list[str]:
        return [texts[item]]

    remember_in(Path("cache"))
    remembered("text", Path(), files, find)
    texts[1] = "rot"  # as a failing disk gives it
    assert remembered("text", Path(), files, find) == [["one"], ["one"]]
    remember_in(Path("cache"), verify=True)
    for _ in "12":  # it is not taken for right the second time
        message = "1 of 2 files have changed without a changed time.*: b\\. .*touch"
        with pytest.raises(DataError, match=message):
            remembered("text", Path(), files, find)
    os.utime("b")
    assert remembered("text", Path(), files, find) == [["one"], ["rot"]]


def test_a_damaged_memory_is_made_again_and_one_that_cannot_be_written_does_without(tmp_path):
    remember_in(Path("cache"))
    look()
    (kept,) = Path("cache/files").glob("*.json")
    kept.write_bytes(kept.read_bytes().replace(b"one", b"two"))
    remember_in(Path("cache"))
    assert look(reads := []) == [["one"]] and reads == [0]
    remember_in(Path("cache"))
    assert look(reads) == [["one"]] and reads == [0]
    remember_in(tmp_path / "a" / "cache")  # below a file
    assert look(reads) == look(reads) == [["one"]] and reads == [0, 0]


def test_what_two_processes_find_is_kept_of_both():
    Path("b").write_text("two")
    remember_in(Path("cache"))
    ours, theirs = [("a",)], [("b",)]
    remembered("text", Path(), [], list)  # this process has read what was kept: nothing
    other = (
        "from fetalclip_nb import memory; from pathlib import Path; memory._TICK_S = -1e9\n"
        "memory.remember_in(Path('cache'))\n"
        f"memory.remembered('text', Path(), {theirs}, lambda item: ['theirs'])"
    )
    subprocess.run([sys.executable, "-c", other], check=True)
    remembered("text", Path(), ours, lambda item: ["ours"])
    remember_in(Path("cache"))
    found = remembered("text", Path(), ours + theirs, lambda item: ["read again"])
    assert found == [["ours"], ["theirs"]]
