"""Files are whole or not there, computed once by one of many, and keyed by all they depend on."""

import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from safetensors import numpy as safetensors
from safetensors.numpy import save

from fetalclip_nb.files import cached, key, whole

NUMBERS = np.arange(6).reshape(2, 3)


def never():
    raise AssertionError("computed again")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_or_folder_gets_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "numbers.npy"
    with whole(path) as made:
        np.save(made, NUMBERS)
        assert not path.exists()
    assert np.array_equal(np.load(path), NUMBERS)
    with whole(path.parent / "folder") as made:
        made.mkdir()
        (made / "file").write_text("all")
    assert (path.parent / "folder" / "file").read_text() == "all"
    assert names(path.parent) == ["folder", "numbers.npy"]


def test_the_old_file_stays_where_writing_fails(tmp_path):
    path = tmp_path / "text"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="halfway"), whole(path) as made:
        made.write_text("ne")
        raise RuntimeError("halfway")
    assert path.read_text() == "old" and names(tmp_path) == ["text"]


def test_a_file_is_computed_once_by_one_of_many(tmp_path):
    computed = []

    def compute():
        computed.append(1)
        time.sleep(0.1)  # so that all would begin together
        return NUMBERS

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cached(tmp_path / "a.npy", compute), range(8)))
    assert len(computed) == 1
    assert all(np.array_equal(array, NUMBERS) for array in found)


def savez(file, arrays):
    np.savez(file, **arrays)


def load(file):
    return dict(np.load(file))


@pytest.mark.parametrize(
    ("read", "write"),
    [(load, savez), (lambda file: safetensors.load(file.read()), lambda f, a: f.write(save(a)))],
    ids=["npz", "safetensors"],
)
@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "zeros", "longer"])
def test_a_damaged_file_is_made_again(tmp_path, read, write, damage):
    path = tmp_path / "a"
    content = {"a": np.random.default_rng(0).normal(size=(8, 8))}
    cached(path, lambda: content, read, write)
    assert np.array_equal(cached(path, never, read, write)["a"], content["a"])
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    zeros, longer = bytes(len(data)), data + b"0"
    changed = {"empty": b"", "cut": data[:-1], "one bit": flipped, "zeros": zeros, "longer": longer}
    path.write_bytes(changed[damage])
    cached(path, lambda: content, read, write)
    assert np.array_equal(cached(path, never, read, write)["a"], content["a"])


def test_a_file_under_the_name_of_another_is_made_again(tmp_path):
    cached(tmp_path / "a.npy", lambda: NUMBERS)
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    assert np.array_equal(cached(tmp_path / "b.npy", lambda: NUMBERS + 1), NUMBERS + 1)


def test_a_kept_file_is_what_numpy_reads(tmp_path):
    cached(tmp_path / "a.npy", lambda: NUMBERS)
    assert np.array_equal(np.load(tmp_path / "a.npy"), NUMBERS)
    cached(tmp_path / "a.npz", lambda: {"a": NUMBERS}, load, savez)
    assert np.array_equal(np.load(tmp_path / "a.npz")["a"], NUMBERS)


def test_what_is_there_is_read_without_writing(tmp_path):
    cached(tmp_path / "a.npy", lambda: NUMBERS)
    for path in tmp_path.glob("*.lock"):
        path.unlink()
    assert np.array_equal(cached(tmp_path / "a.npy", never), NUMBERS)
    assert names(tmp_path) == ["a.npy"]


def test_what_a_dead_process_left_is_removed_and_what_a_live_one_writes_stays(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    for pid in (int(dead.stdout), os.getppid()):
        (tmp_path / f"a.npy.{platform.node()}-{pid}.x.tmp").mkdir()
    (tmp_path / f"a.npy.elsewhere-{int(dead.stdout)}.x.tmp").mkdir()
    with whole(tmp_path / "a.npy") as made:
        np.save(made, NUMBERS)
    left = [f"a.npy.{platform.node()}-{os.getppid()}.x.tmp", "a.npy"]
    assert names(tmp_path) == sorted([*left, f"a.npy.elsewhere-{int(dead.stdout)}.x.tmp"])


def test_nothing_is_kept_of_a_computation_that_fails(tmp_path):
    with pytest.raises(AssertionError, match="computed again"):
        cached(tmp_path / "a.npy", never)
    assert names(tmp_path) in ([], ["a.npy.lock"])


def test_a_key_covers_settings_and_arrays():
    keys = [
        key({"a": 1}),
        key({"a": 2}),
        key({"a": 1}, NUMBERS),
        key({"a": 1}, NUMBERS, NUMBERS),
        key({"a": 1}, NUMBERS + 1),
        key({"a": 1}, NUMBERS.ravel()),
        key({"a": 1}, NUMBERS.T),
        key({"a": 1}, NUMBERS.astype(np.int32)),
        key({"a": 1}, NUMBERS[:0]),
    ]
    assert len(set(keys)) == len(keys)
    assert key({"a": 1}, np.asfortranarray(NUMBERS)) == keys[2]
    assert all(len(digits) == 16 for digits in keys)
