"""FASS in miniature, and files that would run code if they were trusted."""

import os
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest

from fetalclip_nb.data.fass import STRUCTURES, decode_arrays, read_fass
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.errors import DataError
from fetalclip_nb.tasks.masks import structure_task
from helpers import FASS_IMAGES, save_fass, write_fass, write_image


def test_patients_are_those_of_the_file_names(tmp_path):
    write_fass(tmp_path)
    data = load_dataset("fass", tmp_path)
    assert data.table["patient"].tolist() == ["P0149", "P01", "P01"]
    assert data.table["id"].tolist() == [*FASS_IMAGES]
    assert (data.name, set(data.table["split"])) == ("fass", {""})


def test_masks_are_read_in_the_protocols_order_and_the_stand_in_is_named(tmp_path):
    masks = write_fass(tmp_path)
    task = structure_task("abdomen", tmp_path)
    assert task.structures == STRUCTURES == ("stomach", "artery", "liver", "vein")
    assert task.stand_in == "FASS, a stand-in, not a reproduction"
    for row, name in enumerate(FASS_IMAGES):
        expected = np.stack([masks[name][s] > 0 for s in task.structures])
        np.testing.assert_array_equal(task.read(row), expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_files_of_older_and_newer_numpy_are_read(protocol, module):
    mask = np.asfortranarray(np.eye(3, 4, dtype=bool))
    array = np.empty((), object)
    array[()] = {"structures": {"liver": mask, "vein": mask[:, ::2]}}
    body = pickle.dumps(array, protocol=protocol)
    old, new = b"numpy._core.multiarray", module.encode()
    if protocol > 3:  # names carry their length
        old, new = b"\x8c" + bytes([len(old)]) + old, b"\x8c" + bytes([len(new)]) + new
    body = unframed(body).replace(old, new)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        liver, vein, absent = decode_arrays(data, ("liver", "vein", "stomach"))
    if protocol == 2:  # bytes are text that needs decoding there: refused with the rest
        assert liver.text == "asks to run _codecs.encode, which no array needs"
        return
    np.testing.assert_array_equal(liver, mask)
    np.testing.assert_array_equal(vein, mask[:, ::2])
    assert absent.text == "no array (height, width) in it"


def unframed(body):
    """A pickle without its frame: lengths change."""
    at = body.find(b"\x95")
    return body if at != 2 else body[:2] + body[11:]


class Malicious:
    """Unpickling it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("place", ["structures", "image", "whole"])
def test_malicious_file_is_refused_and_runs_nothing(tmp_path, place):
    masks = write_fass(tmp_path)
    witness = tmp_path / "ran"
    attack = Malicious(f"touch {witness}")
    content = {"image": 0, "structures": dict(masks[FASS_IMAGES[0]])}
    if place == "whole":
        content = attack
    elif place == "image":
        content["image"] = attack
    else:
        content["structures"]["liver"] = attack
    path = save_fass(tmp_path, FASS_IMAGES[1], content)
    np.load(path, allow_pickle=True)
    assert witness.exists()  # the attack works on those who trust it
    witness.unlink()
    with pytest.raises(DataError) as caught:
        structure_task("abdomen", tmp_path)
    text = str(caught.value)
    assert f"ARRAY_FORMAT/P01_IMG1.npy: asks to run {os.system.__module__}.system" in text
    assert "do not trust such a file" in text
    assert not witness.exists()


@pytest.mark.parametrize(
    "name", ["builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile", "posix.scalar"]
)
def test_only_what_rebuilds_arrays_is_allowed(name):
    module, _, function = name.rpartition(".")
    body = f"c{module}\n{function}\n.".encode()
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body
    (flaw,) = decode_arrays(data, ("liver",))
    assert flaw.text == f"asks to run {name}, which no array needs"


def number(value):
    return b"\x8a\x08" + value.to_bytes(8, "little")


N = 300_000_000
ARRAY = b"cnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n(V%b\nK\x00K\x01tR"
BUILT = b"cnumpy.core.multiarray\n_reconstruct\n(" + ARRAY + b"(%bt\x43\x01btR"
EMPTY = BUILT % b"K\x00"


@pytest.mark.parametrize(
    "body",
    [
        b"Nr" + (N // 8).to_bytes(4, "little") + b".",
        b"Np%d\n." % (N // 8),
        BUILT % number(N) + b".",
        ARRAY + b"(" + number(N) + DTYPE % b"u1" + b"tR.",
        ARRAY + b"(" + number(N) + b"t\x81.",
        b"cnumpy.core.multiarray\nscalar\n(" + DTYPE % b"V%d" % N + b"tR.",
        EMPTY + b"(K\x01(" + number(N // 8) + b"t" + DTYPE % b"O8" + b"\x89]tb.",
        EMPTY + b"(K\x01(" + number(N) + b"t" + DTYPE % b"u1" + b"\x89C\x04abcdtb.",
        b"\x96" + N.to_bytes(8, "little") + b"abc.",
        b"\x8e" + N.to_bytes(8, "little") + b"abc.",
    ],
)
def test_small_file_that_claims_much_takes_no_memory(body):
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\x80\x05" + body
    tracemalloc.start()
    try:
        (flaw,) = decode_arrays(data, ("liver",))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert flaw.text == "damaged, or no FASS file"


def test_every_kind_of_bad_file_is_named_at_once(tmp_path):
    masks = write_fass(tmp_path)
    path = save_fass(tmp_path, FASS_IMAGES[0], {"structures": masks[FASS_IMAGES[0]]})
    path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / "ARRAY_FORMAT" / f"{FASS_IMAGES[1]}.npy").unlink()
    other = {"liver": masks[FASS_IMAGES[2]]["liver"] * 1, "vein": np.zeros((3, 4)), "artery": None}
    other["stomach"] = masks[FASS_IMAGES[2]]["stomach"][..., None]
    other["liver"][0, 0] = 7
    save_fass(tmp_path, FASS_IMAGES[2], {"structures": other})
    with pytest.raises(DataError) as caught:
        structure_task("abdomen", tmp_path)
    text = str(caught.value)
    assert text.startswith("12 of 12 masks cannot be used")
    assert "P0149_IMG1.npy: damaged, or no FASS file" in text
    assert "P01_IMG1.npy: file is missing" in text
    assert "P01_IMG2.npy stomach: no array (height, width) in it" in text
    assert "P01_IMG2.npy artery: no array" in text


def test_other_values_and_sizes_are_named(tmp_path):
    masks = write_fass(tmp_path)
    other = dict(masks[FASS_IMAGES[2]])
    other["liver"] = other["liver"].copy()
    other["liver"][0, :2] = 7, 8
    other["vein"] = np.zeros((3, 4), np.uint8)
    save_fass(tmp_path, FASS_IMAGES[2], {"structures": other})
    with pytest.raises(DataError, match=r"2 of 12 .*liver: values 0, 1, 7, 8, .*vein: size 4x3"):
        structure_task("abdomen", tmp_path)


def test_order_of_the_structures_is_in_the_fingerprint(tmp_path):
    write_fass(tmp_path)
    first, second = (structure_task(name, tmp_path) for name in ("abdomen", "own"))
    assert second.structures == ("artery", "liver", "stomach", "vein")
    assert first.fingerprint != second.fingerprint


def test_plain_array_is_no_fass_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 4), np.uint8))
    (flaw,) = decode_arrays(path.read_bytes(), ("liver",))
    assert flaw.text == "damaged, or no FASS file"


def test_names_out_of_form_and_masks_alone(tmp_path):
    write_fass(tmp_path)
    save_fass(tmp_path, "P07_IMG1", {})
    with pytest.raises(DataError, match=r"1 masks have no image.*Found: P07_IMG1"):
        read_fass(tmp_path)
    write_image(tmp_path / "IMAGES" / "head.png")
    with pytest.raises(DataError, match=r"not of the FASS form.*PNN_IMGMM\.png.*Found: head"):
        read_fass(tmp_path)
