"""Arrays on disk: whole or not at all, resumed after any cut, checked when read, room first."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fetalclip_nb.errors import CacheError
from fetalclip_nb.models.store import stored_arrays

META = {
    "model": "Some model (1)",
    "model_fingerprint": "0123456789abcdef",
    "blocks": (1, 2),
    "package": "0.1.0",
}
ROWS = 7


def two_arrays(rows):
    numbers = np.asarray(rows, dtype=np.float16)
    return {
        "blocks": numbers[:, None, None] * np.ones((2, 3), dtype=np.float16),
        "masks": np.asarray(rows, dtype=np.uint8)[:, None] + np.arange(4, dtype=np.uint8),
    }


def store(cache, meta=META, compute=two_arrays, rows=ROWS, chunk=2):
    return stored_arrays(cache, "blocks", meta, rows, compute, chunk=chunk)


def never(*_):
    pytest.fail("computed again")


def folder_of(cache):
    return next(path for path in (cache / "blocks").iterdir() if path.is_dir())


def assert_whole(found):
    for name, expected in two_arrays(range(ROWS)).items():
        assert np.array_equal(found.arrays[name], expected)
        assert found.arrays[name].dtype == expected.dtype


def cut_after(chunks):
    """Computes so many chunks, then is interrupted."""
    asked = []

    def compute(rows):
        if len(asked) == chunks:
            raise KeyboardInterrupt
        asked.append(rows)
        return two_arrays(rows)

    return compute


def cut_short(cache, chunks):
    with pytest.raises(KeyboardInterrupt):
        store(cache, compute=cut_after(chunks))
    return folder_of(cache)


def noting(asked):
    return lambda rows: asked.extend(rows) or two_arrays(rows)


def test_rows_are_asked_for_in_chunks_and_kept(tmp_path):
    asked = []
    found = store(tmp_path, compute=lambda rows: asked.append(list(rows)) or two_arrays(rows))
    assert asked == [[0, 1], [2, 3], [4, 5], [6]]
    assert_whole(found)
    for name, array in found.arrays.items():
        assert isinstance(array, np.memmap)
        assert Path(array.filename) == found.folder / f"{name}.npy"
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert_whole(store(tmp_path, compute=never))
    assert [path.suffix for path in sorted((tmp_path / "blocks").iterdir())] == ["", ".lock"]


def test_entries_keep_their_names(tmp_path):
    # A folder of an earlier release; who changes the key throws all stored arrays away.
    found = store(tmp_path)
    assert found.folder == tmp_path / "blocks" / "some-model-1-dc587de76b3b898b"
    files = sorted(path.name for path in found.folder.iterdir())
    assert files == ["blocks.npy", "journal.json", "masks.npy"]
    assert found.meta == {**META, "blocks": [1, 2]}
    store(tmp_path, {**META, "package": "9.9"}, compute=never)
    for change in ({"blocks": (1, 3)}, {"model_fingerprint": "0"}):
        assert store(tmp_path, {**META, **change}).folder != found.folder


@pytest.mark.parametrize(
    ("meta", "begin"),
    [
        ({"model": "CLIP", "dataset": "hc18"}, "clip-hc18-"),
        ({"task": "four chamber", "side": 128}, "four-chamber-"),
        ({"side": 128}, "blocks-"),
    ],
)
def test_model_and_dataset_or_task_name_an_entry(tmp_path, meta, begin):
    assert store(tmp_path, meta).folder.name.startswith(begin)


def test_a_store_travels_as_the_place_of_its_files(tmp_path):
    found = stored_arrays(
        tmp_path, "big", {"task": "a"}, 64, lambda rows: {"a": np.ones((len(rows), 4096))}
    )
    message = pickle.dumps(found)
    assert len(message) < 1000
    again = pickle.loads(message)
    assert (again.folder, again.meta) == (found.folder, found.meta)
    assert isinstance(again.arrays["a"], np.memmap)
    assert np.array_equal(again.arrays["a"], found.arrays["a"])


@pytest.mark.parametrize("chunk", [1, 2, 3, 64])
def test_cut_run_goes_on_with_any_chunk(tmp_path, chunk):
    cut_short(tmp_path, chunks=2)
    asked = []
    assert_whole(store(tmp_path, compute=noting(asked), chunk=chunk))
    assert asked == [4, 5, 6]
    assert not list(tmp_path.glob("blocks/*.partial"))
    assert_whole(store(tmp_path, compute=never))


def test_damaged_chunk_is_computed_again_with_all_that_follow(tmp_path):
    parts = cut_short(tmp_path, chunks=3)
    masks = np.load(parts / "masks.npy", mmap_mode="r+")
    masks[3, 1] += 1
    masks.flush()
    asked = []
    assert_whole(store(tmp_path, compute=noting(asked)))
    assert asked == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("name", ["blocks.npy", "journal.json"])
@pytest.mark.parametrize("change", ["cut", "gone"])
def test_unusable_parts_are_made_anew(tmp_path, name, change):
    path = cut_short(tmp_path, chunks=3) / name
    path.write_bytes(path.read_bytes()[:-10]) if change == "cut" else path.unlink()
    asked = []
    assert_whole(store(tmp_path, compute=noting(asked)))
    assert asked == list(range(ROWS))


def test_parts_of_another_length_are_made_anew(tmp_path):
    cut_short(tmp_path, chunks=3)
    asked = []
    found = store(tmp_path, compute=noting(asked), rows=ROWS + 1)
    assert asked == list(range(ROWS + 1))
    assert len(found.arrays["blocks"]) == ROWS + 1


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_store as tests
tests.store(Path(sys.argv[1]), compute=lambda rows: time.sleep(0.3) or tests.two_arrays(rows))
"""


def test_killed_run_goes_on_where_it_was(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(Path(__file__).parent)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("blocks/*.partial/journal.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    journal = next(tmp_path.glob("blocks/*.partial/journal.json"))
    done = len(json.loads(journal.read_text())["chunks"])
    assert 1 <= done < 4
    asked = []
    assert_whole(store(tmp_path, compute=noting(asked)))
    assert asked == list(range(2 * done, ROWS))


def test_two_runs_at_once_compute_once(tmp_path):
    asked, together = [], threading.Barrier(2)

    def compute(rows):
        asked.extend(rows)
        time.sleep(0.05)
        return two_arrays(rows)

    def run():
        together.wait()
        return store(tmp_path, compute=compute)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run) for _ in range(2)]
        for one in runs:
            assert_whole(one.result())
    assert asked == list(range(ROWS))


def test_changed_content_is_refused_with_its_rows(tmp_path):
    folder = store(tmp_path).folder
    blocks = np.load(folder / "blocks.npy", mmap_mode="r+")
    blocks[4, 0, 0] += 1
    blocks.flush()
    message = f"another content of blocks, rows 4 to 5.*delete the folder {folder.name}"
    with pytest.raises(CacheError, match=message):
        store(tmp_path, compute=never)


def test_array_of_another_form_is_refused(tmp_path):
    path = store(tmp_path).folder / "masks.npy"
    for array in (np.zeros((ROWS, 4)), np.zeros((ROWS - 1, 4), dtype=np.uint8)):
        np.save(path, array)
        with pytest.raises(CacheError, match="another shape or type of masks"):
            store(tmp_path, compute=never)


@pytest.mark.parametrize(
    ("name", "error"), [("blocks.npy", "Value"), ("journal.json", "JSONDecode")]
)
def test_missing_or_cut_file_is_refused(tmp_path, name, error):
    path = store(tmp_path).folder / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CacheError, match=f"another state: {error}"):
        store(tmp_path, compute=never)
    path.unlink()
    missing = f"another state: FileNotFoundError.*{name}.*delete the folder"
    with pytest.raises(CacheError, match=missing):
        store(tmp_path, compute=never)


CHANGES = [
    ("0.1.0", "0.1.1"),
    ("0123456789abcdef", "1123456789abcdef"),
    ('"masks": {', '"nasks": {'),
    ('"stop": 7', '"stop": 6'),
    ('"chunks"', '"chunkz"'),
    ('"sum": "', '"sum": "0'),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_another_journal_is_refused_or_what_it_tells_of_is_made_anew(tmp_path, old, new):
    for folder in (cut_short(tmp_path / "cut", chunks=3), store(tmp_path / "done").folder):
        journal = (folder / "journal.json").read_text()
        (folder / "journal.json").write_text(journal.replace(old, new, 1))
    with pytest.raises(CacheError, match="not what their key promises.*delete the folder"):
        store(tmp_path / "done", compute=never)
    found = store(tmp_path / "cut")
    assert_whole(found)
    assert found.meta == {**META, "blocks": [1, 2]}


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"arrays": {}, "chunks": []}'])
def test_a_journal_of_another_form_is_refused(tmp_path, content):
    (store(tmp_path).folder / "journal.json").write_text(content)
    with pytest.raises(CacheError, match="not what their key promises.*delete the folder"):
        store(tmp_path, compute=never)


def test_an_entry_of_an_earlier_release_is_read(tmp_path):
    path = store(tmp_path).folder / "journal.json"
    content = json.loads(path.read_text())
    del content["sum"]
    path.write_text(json.dumps(content))
    assert_whole(store(tmp_path, compute=never))


def test_full_disk_is_noticed_before_the_second_chunk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 900, 100))
    asked = []
    needed = ROWS * (2 * 3 * 2 + 4)
    with pytest.raises(CacheError) as caught:
        store(tmp_path, compute=noting(asked))
    for words in ("too little room", f"{tmp_path / 'blocks'}", f"{needed} bytes", "100 bytes free"):
        assert words in str(caught.value)
    assert asked == [0, 1]
    assert not list(tmp_path.glob("blocks/*.partial"))


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EOPNOTSUPP])
def test_a_quota_is_noticed_too_and_a_disk_that_cannot_claim_room_is_used(
    tmp_path, monkeypatch, code
):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    if code == errno.EOPNOTSUPP:
        assert_whole(store(tmp_path))
        return
    with pytest.raises(CacheError, match="too little room"):
        store(tmp_path)
    assert not list(tmp_path.glob("blocks/*.partial"))


def test_room_is_claimed_before_rows_are_written(tmp_path):
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system cannot claim room")
    sizes = []

    def compute(rows):
        sizes.extend(path.stat().st_blocks * 512 for path in tmp_path.glob("big/*.partial/*.npy"))
        return {"a": np.zeros((len(rows), 2**16))}

    stored_arrays(tmp_path, "big", {"task": "a"}, 4, compute, chunk=2)
    assert len(sizes) == 1
    assert sizes[0] >= 4 * 2**16 * 8
