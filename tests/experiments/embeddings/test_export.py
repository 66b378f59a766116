import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.embeddings.export import SUFFIXES, export_embeddings, load_export
from fetalclip_nb.models.store import Embeddings

VECTORS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
META = {"model": "m (v1.0)", "model_fingerprint": "0123", "precision": "fp32", "dataset": "hc18"}
EMBEDDED = Embeddings(VECTORS, tuple("abcde"), META)
TABLE = pd.DataFrame(
    {
        "id": list("abcde"),
        "path": [f"Images/{name}.png" for name in "abcde"],
        "patient": ["P1", "P1", "P2", "P3", "P3"],
        "label": ["größer", "", "x", "y", "x"],
        "machine": ["Aloka", "Voluson E6", "Aloka", "Other", "Aloka"],
        "hc_mm": [100.5, 200, 300, 150, 175],
    }
)


def dataset(table=TABLE):
    return Dataset("hc18", "somewhere", table, synthetic=True, fingerprint="f")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read(tmp_path, suffix):
    stem = tmp_path / "new" / "m-v1.0"  # a dot in a name begins no suffix
    export_embeddings(stem, EMBEDDED, dataset())
    assert sorted(path.name for path in stem.parent.iterdir()) == ["m-v1.0.npz", "m-v1.0.parquet"]
    found = load_export(f"{stem}{suffix}")
    assert (found.vectors == VECTORS).all() and found.vectors.dtype == np.float32
    assert found.meta == META
    assert list(found.table) == list(TABLE)
    for name in TABLE:
        assert found.table[name].tolist() == TABLE[name].tolist(), name


def test_a_subset_has_its_own_rows(tmp_path):
    part = dataset().where(TABLE["label"] == "x")
    export_embeddings(tmp_path / "x", EMBEDDED, part)
    for suffix in SUFFIXES:
        found = load_export(tmp_path / f"x{suffix}")
        assert found.table["id"].tolist() == ["c", "e"]
        assert (found.vectors == VECTORS[[2, 4]]).all()


def test_other_programs_can_read_the_files(tmp_path):
    export_embeddings(tmp_path / "m", EMBEDDED, dataset())
    rows = pd.read_parquet(tmp_path / "m.parquet", columns=["id", "embedding"])
    assert rows["embedding"][1].dtype == np.float32
    assert rows["embedding"][1].tolist() == VECTORS[1].tolist()
    with np.load(tmp_path / "m.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == {"vectors", "made_with", *TABLE}
        assert arrays["label"].dtype.kind == "U" and arrays["hc_mm"].dtype == np.float64


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    export_embeddings(tmp_path / "m", EMBEDDED, dataset())
    parquet = tmp_path / "m.parquet"
    before = parquet.read_bytes()

    def half_written(_, path, **__):
        path.write_bytes(b"PAR1")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", half_written)
    with pytest.raises(OSError, match="disk full"):
        export_embeddings(tmp_path / "m", EMBEDDED, dataset())
    assert parquet.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.npz", "m.parquet"]


def test_reserved_columns_are_refused(tmp_path):
    taken = dataset(TABLE.assign(vectors="1", embedding="2"))
    with pytest.raises(DataError, match="embedding, vectors.*rename"):
        export_embeddings(tmp_path / "m", EMBEDDED, taken)
    for name in ("file", "allow_pickle"):  # what NumPy calls its own parameters
        with pytest.raises(DataError, match=f"Column names are reserved.*Found: {name}"):
            export_embeddings(tmp_path / "m", EMBEDDED, dataset(TABLE.assign(**{name: "1"})))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_and_foreign_files_are_one_clear_error(tmp_path, suffix):
    export_embeddings(tmp_path / "m", EMBEDDED, dataset())
    path = tmp_path / f"m{suffix}"
    whole = path.read_bytes()
    for damaged in (b"", b"no such file", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"cannot be read.*m\..*export them again"):
            load_export(path)
    with pytest.raises(DataError, match="file of exported"):
        load_export(tmp_path / f"absent{suffix}")
    (tmp_path / "m.csv").touch()
    with pytest.raises(DataError, match=r"No \.parquet or \.npz file"):
        load_export(tmp_path / "m.csv")


def test_pickled_objects_are_not_read(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "m.npz", vectors=objects, made_with=np.array("{}"))
    with pytest.raises(DataError, match="cannot be read.*allow_pickle"):
        load_export(tmp_path / "m.npz")


def test_files_without_parts_or_with_wrong_vectors_are_refused(tmp_path):
    path = tmp_path / "m.npz"
    arrays = {name: TABLE[name].to_numpy(dtype=str) for name in ("id", "path", "patient")}
    whole = {"vectors": VECTORS, "made_with": np.array("{}"), **arrays}

    def refuse(message, **changes):
        kept = {name: array for name, array in (whole | changes).items() if array is not None}
        np.savez(path, **kept)
        with pytest.raises(DataError, match=message):
            load_export(path)

    np.savez(path, **whole)
    assert load_export(path).meta == {}
    refuse("cannot be read.*patient", patient=None)
    refuse("cannot be read.*made_with", made_with=None)
    refuse("cannot be read.*length", vectors=VECTORS[:4])
    refuse(r"shape \(5,\)", vectors=VECTORS[:, 0])
    refuse("not finite", vectors=np.where(VECTORS > 0, np.float32(np.nan), VECTORS))
    refuse("occur twice", id=np.array(list("abcda")))
