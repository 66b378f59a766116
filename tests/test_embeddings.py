import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from helpers import write_heads, write_image

from fetalclip_nb import datasets, embeddings
from fetalclip_nb.errors import CacheError, ImageError
from fetalclip_nb.images import read_square
from fetalclip_nb.models import load_model


@pytest.fixture(scope="module")
def model():
    return load_model("phantomclip-untrained", device="cpu")


@pytest.fixture
def heads(tmp_path):
    return datasets.read_hc18(write_heads(tmp_path / "heads"))


def folder_of(cache):
    return next(p for p in (cache / "embeddings").iterdir() if p.is_dir())


def test_embeddings_equal_one_image_at_a_time(model, heads, tmp_path):
    found = embeddings.image_embeddings(model, heads, cache_dir=tmp_path, batch_size=4)
    for path, vector in zip(heads.paths, found.vectors, strict=True):
        pixels = model.preprocess(read_square(path))[None]
        with torch.inference_mode():
            slow = model.network.encode_image(pixels)[0].numpy()
        assert vector == pytest.approx(slow, abs=1e-5)


def test_batch_size_does_not_matter(model, heads, tmp_path):
    found = [
        embeddings.image_embeddings(model, heads, cache_dir=tmp_path / str(n), batch_size=n)
        for n in (1, 4, 64)
    ]
    assert np.abs(found[0].vectors - found[1].vectors).max() < 1e-5
    assert np.abs(found[0].vectors - found[2].vectors).max() < 1e-5


def test_worker_processes_give_the_same(model, heads, tmp_path):
    alone = embeddings.image_embeddings(model, heads, cache_dir=tmp_path / "a")
    helped = embeddings.image_embeddings(model, heads, cache_dir=tmp_path / "b", workers=2)
    assert np.array_equal(alone.vectors, helped.vectors)


def test_second_call_reads_and_never_computes(model, heads, tmp_path, monkeypatch):
    first = embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    monkeypatch.setattr(embeddings, "_compute", lambda *_: pytest.fail("computed again"))
    again = embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    assert np.array_equal(first.vectors, again.vectors)
    assert again.ids == tuple(heads.table["id"])


def test_subsets_are_picked_by_id(model, heads, tmp_path):
    found = embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    subset = heads.where(datasets.counted(heads))
    assert np.array_equal(found.of(subset), found.vectors[1:])
    other = subset.table.assign(id="unknown")
    with pytest.raises(CacheError, match="Images without embedding"):
        found.of(datasets.Dataset("hc18", heads.root, other, False, ""))


def test_another_image_model_or_precision_gets_another_key(model, heads, tmp_path):
    embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    write_image(heads.paths[0], seed=77)
    changed = datasets.read_hc18(heads.root)
    embeddings.image_embeddings(model, changed, cache_dir=tmp_path)
    rough = load_model("phantomclip-untrained", device="cpu", precision="bf16")
    embeddings.image_embeddings(rough, changed, cache_dir=tmp_path)
    other = load_model("phantomclip-untrained=phantomclip", device="cpu")
    assert other.name == model.name
    embeddings.image_embeddings(other, changed, cache_dir=tmp_path)
    assert sum(p.is_dir() for p in (tmp_path / "embeddings").iterdir()) == 4


def test_changed_or_incomplete_cache_is_refused(model, heads, tmp_path):
    embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    folder = folder_of(tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps({**meta, "dataset_fingerprint": "0"}))
    with pytest.raises(CacheError, match="another dataset_fingerprint.*delete the folder"):
        embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    (folder / "meta.json").write_text(json.dumps(meta))
    array = np.load(folder / "embeddings.npy")
    np.save(folder / "embeddings.npy", array + 1)
    with pytest.raises(CacheError, match=r"content of embeddings\.npy"):
        embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    (folder / "table.parquet").unlink()
    with pytest.raises(CacheError, match="incomplete"):
        embeddings.image_embeddings(model, heads, cache_dir=tmp_path)


def test_image_that_breaks_after_reading_is_named(model, heads, tmp_path):
    heads.paths[3].write_bytes(b"x")
    with pytest.raises(ImageError, match="002_2HC"):
        embeddings.image_embeddings(model, heads, cache_dir=tmp_path)
    assert not any(p.is_dir() and "partial" not in p.name for p in tmp_path.glob("embeddings/*"))


SCRIPT = """
import sys, time
from pathlib import Path
from fetalclip_nb import datasets, embeddings
from fetalclip_nb.models import load_model
embeddings.CHUNK = 2
inner = embeddings._embed
def slow(*arguments):
    time.sleep(0.5)
    return inner(*arguments)
embeddings._embed = slow
heads = datasets.read_hc18(sys.argv[1])
model = load_model("phantomclip-untrained", device="cpu")
print("start", flush=True)
embeddings.image_embeddings(model, heads, cache_dir=Path(sys.argv[2]))
"""


def test_killed_run_goes_on_where_it_was(model, heads, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", SCRIPT, str(heads.root), str(cache)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(cache.glob("embeddings/*.partial/*.npy")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = sorted(cache.glob("embeddings/*.partial/*.npy"))
    assert 1 <= len(finished) < 3
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    monkeypatch.setattr(embeddings, "CHUNK", 2)
    computed = []
    inner = embeddings._embed
    monkeypatch.setattr(
        embeddings, "_embed", lambda m, paths, *a: computed.extend(paths) or inner(m, paths, *a)
    )
    seen = {}
    publish = embeddings._publish

    def note_stamps_then_publish(*arguments):
        seen.update({path: path.stat().st_mtime_ns for path in finished})
        publish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(embeddings, "_publish", note_stamps_then_publish)
        resumed = embeddings.image_embeddings(model, heads, cache_dir=cache)
    assert seen == stamps
    assert len(computed) == len(heads) - 2 * len(finished)
    whole = embeddings.image_embeddings(model, heads, cache_dir=tmp_path / "other")
    assert np.array_equal(resumed.vectors, whole.vectors)
    assert not list(cache.glob("embeddings/*.partial"))


def test_text_is_encoded_once_per_distinct_sentence(model, tmp_path, monkeypatch):
    first = embeddings.text_embeddings(model, ["a", "b", "a"], cache_dir=tmp_path)
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(first[:2], model.encode_text(["a", "b"]))
    monkeypatch.setattr(type(model), "encode_text", lambda *_: pytest.fail("encoded again"))
    again = embeddings.text_encoder(model, tmp_path)(["a", "b", "b"])
    assert np.array_equal(again[:2], first[:2])


def test_damaged_text_cache_is_computed_again(model, tmp_path):
    first = embeddings.text_embeddings(model, ["a"], cache_dir=tmp_path)
    path = next(tmp_path.glob("text/*.npy"))
    path.write_bytes(path.read_bytes()[:50])
    assert np.array_equal(embeddings.text_embeddings(model, ["a"], cache_dir=tmp_path), first)


def test_black_image_has_unit_norm(model):
    assert np.linalg.norm(embeddings.black_embedding(model)) == pytest.approx(1, abs=1e-6)


def test_two_runs_at_once_compute_once(model, heads, tmp_path, monkeypatch):
    computed = []
    inner = embeddings._compute
    monkeypatch.setattr(embeddings, "_compute", lambda *a: computed.append(1) or inner(*a))
    with ThreadPoolExecutor(2) as pool:
        runs = [
            pool.submit(embeddings.image_embeddings, model, heads, cache_dir=tmp_path)
            for _ in range(2)
        ]
        first, second = (run.result() for run in runs)
    assert len(computed) == 1
    assert np.array_equal(first.vectors, second.vectors)
