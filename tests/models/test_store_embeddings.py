"""The embeddings' files: kept keys, runs cut short or at once, files changed by others."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import CacheError
from fetalclip_nb.models import store
from fetalclip_nb.models.store import Embeddings, cached_embeddings

META = {
    "model": "Some model (1)",
    "model_fingerprint": "0123456789abcdef",
    "dataset": "hc18",
    "dataset_fingerprint": "fedcba9876543210",
    "augmentation": None,
    "package": "0.1.0",
}
TABLE = pd.DataFrame({"id": list("abcde")})


def rows_as_vectors(rows):
    return np.array([[row, 2 * row] for row in rows], dtype=np.float32)


def read(cache, meta=META, embed=rows_as_vectors):
    return cached_embeddings(cache, TABLE, meta, embed)


def never(*_):
    pytest.fail("computed again")


def folder_of(cache):
    return next(path for path in (cache / "embeddings").iterdir() if path.is_dir())


def test_second_call_reads_and_never_computes(tmp_path):
    first, again = read(tmp_path), read(tmp_path, embed=never)
    for found in (first, again):
        assert np.array_equal(found.vectors, rows_as_vectors(range(5)))
        assert found.vectors.dtype == np.float32
        assert found.ids == tuple("abcde")
        assert META.items() <= found.meta.items()


def test_entries_keep_their_names(tmp_path):
    # A folder of an earlier release; who changes the key throws all embeddings away.
    read(tmp_path)
    assert folder_of(tmp_path).name == "some-model-1-hc18-716ed3a9d8ef6b3b"
    files = sorted(path.name for path in folder_of(tmp_path).iterdir())
    assert files == ["embeddings.npy", "meta.json", "table.parquet"]
    read(tmp_path, {**META, "package": "9.9"}, embed=never)


@pytest.mark.parametrize("name", ["model_fingerprint", "dataset", "augmentation"])
def test_another_setting_is_another_entry(tmp_path, name):
    read(tmp_path)
    computed = []
    read(tmp_path, {**META, name: "2"}, lambda rows: computed.append(1) or rows_as_vectors(rows))
    assert computed == [1]


def test_rows_are_asked_for_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 2)
    asked = []
    found = read(tmp_path, embed=lambda rows: asked.append(list(rows)) or rows_as_vectors(rows))
    assert asked == [[0, 1], [2, 3], [4]]
    assert np.array_equal(found.vectors, rows_as_vectors(range(5)))
    assert not list(tmp_path.glob("embeddings/*.partial"))


def test_changed_or_incomplete_entry_is_refused(tmp_path):
    read(tmp_path)
    folder = folder_of(tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "dataset_fingerprint": "0"}))
    with pytest.raises(CacheError, match="another dataset_fingerprint.*delete the folder"):
        read(tmp_path)
    (folder / "meta.json").write_text(json.dumps(meta))
    np.save(folder / "embeddings.npy", np.load(folder / "embeddings.npy") + 1)
    with pytest.raises(CacheError, match=r"content of embeddings\.npy"):
        read(tmp_path)
    (folder / "table.parquet").unlink()
    with pytest.raises(CacheError, match="incomplete"):
        read(tmp_path)


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_store_embeddings as tests
tests.store.CHUNK = 2
tests.read(Path(sys.argv[1]), embed=lambda rows: time.sleep(0.5) or tests.rows_as_vectors(rows))
"""


def test_killed_run_goes_on_where_it_was(tmp_path, monkeypatch):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(Path(__file__).parent)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("embeddings/*.partial/*.npy")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = sorted(tmp_path.glob("embeddings/*.partial/*.npy"))
    assert 1 <= len(finished) < 3
    stamps = [path.stat().st_mtime_ns for path in finished]
    monkeypatch.setattr(store, "CHUNK", 2)
    asked, seen = [], []
    publish = store._publish

    def note_stamps_then_publish(*arguments):
        seen.extend(path.stat().st_mtime_ns for path in finished)
        publish(*arguments)

    monkeypatch.setattr(store, "_publish", note_stamps_then_publish)
    resumed = read(tmp_path, embed=lambda rows: asked.extend(rows) or rows_as_vectors(rows))
    assert seen == stamps
    assert asked == list(range(2 * len(finished), 5))
    assert np.array_equal(resumed.vectors, rows_as_vectors(range(5)))
    assert not list(tmp_path.glob("embeddings/*.partial"))


def test_damaged_chunk_is_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CHUNK", 2)

    def cut_short(rows):
        if 4 in rows:
            raise KeyboardInterrupt
        return rows_as_vectors(rows)

    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, embed=cut_short)
    first, second = sorted(tmp_path.glob("embeddings/*.partial/*.npy"))
    first.write_bytes(first.read_bytes()[:-3])
    np.save(second, rows_as_vectors([2]))
    asked = []
    found = read(tmp_path, embed=lambda rows: asked.extend(rows) or rows_as_vectors(rows))
    assert asked == [0, 1, 2, 3, 4]
    assert np.array_equal(found.vectors, rows_as_vectors(range(5)))


def test_two_runs_at_once_compute_once(tmp_path):
    computed, together = [], threading.Barrier(2)

    def embed(rows):
        computed.append(1)
        time.sleep(0.2)
        return rows_as_vectors(rows)

    def run():
        together.wait()
        return read(tmp_path, embed=embed)

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run) for _ in range(2)]
        first, second = (one.result() for one in runs)
    assert len(computed) == 1
    assert np.array_equal(first.vectors, second.vectors)


def test_vectors_are_picked_by_id():
    found = Embeddings(rows_as_vectors(range(5)), tuple("abcde"), {})

    def picked(*ids):
        return found.of(Dataset("hc18", None, pd.DataFrame({"id": ids}), False, ""))

    assert picked("d", "a").tolist() == [[3, 6], [0, 0]]
    with pytest.raises(CacheError, match=r"Images without embedding\. Found: x, y"):
        picked("x", "b", "y")
