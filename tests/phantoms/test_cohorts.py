"""Phantom cohorts: layout, truth in the tables, determinism, and folders that are whole."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.phantoms import cohorts, writer
from fetalclip_nb.phantoms.cohorts import write_fetal_planes, write_hc18
from fetalclip_nb.phantoms.patient import draw_patient, perimeter

HEADER = ["Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train "]
LABELS = set(cohorts.PLANE_NAMES.values())


def digest(root):
    """Hash of every file below root by its relative path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def read_planes(root):
    return pd.read_csv(root / "FETAL_PLANES_DB_data.csv", sep=";")


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    root = tmp_path_factory.mktemp("planes") / "fetal_planes"
    write_fetal_planes(root, patients=16, seed=7, workers=1)
    return root


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    root = tmp_path_factory.mktemp("heads") / "hc18"
    write_hc18(root, patients=30, seed=11, workers=1)
    return root


def test_planes_have_the_real_layout(planes):
    table = read_planes(planes)
    assert list(table.columns) == HEADER
    names = {path.name for path in (planes / "Images").iterdir()}
    assert names == {f"{name}.png" for name in table["Image_name"]}
    assert table["Image_name"].str.fullmatch(r"Patient\d{5}_Plane[1-6]_\d+_of_\d+").all()
    assert set(table["Plane"]) == LABELS
    numbers = table["Image_name"].str.slice(7, 12).astype(int)
    assert (numbers == table["Patient_num"]).all()
    brain = table["Plane"] == "Fetal brain"
    assert (table.loc[~brain, "Brain_plane"] == "Not A Brain").all()
    assert table.loc[brain, "Brain_plane"].isin(cohorts.BRAIN_NAMES.values()).all()
    record = json.loads((planes / "phantom.json").read_text())
    expected = {"version": cohorts.VERSION, "kind": "fetal_planes", "seed": 7, "patients": 16}
    assert record == {**expected, "images": len(table)}


def test_a_patient_is_of_one_split_one_machine_and_one_operator(planes):
    table = read_planes(planes)
    kinds = table.groupby("Patient_num")[["Train ", "Operator", "US_Machine"]].nunique()
    assert (kinds == 1).all(axis=None)
    assert set(table["Train "]) == {0, 1}
    assert table.groupby("Patient_num").size().max() > 2


def test_planes_come_in_the_real_proportions():
    _, table = cohorts._plan_planes(400, 3)
    shares = table["Plane"].value_counts(normalize=True)
    total = sum(cohorts.IMAGES_A_PATIENT.values())
    for plane, images in cohorts.IMAGES_A_PATIENT.items():
        assert shares[cohorts.PLANE_NAMES[plane]] == pytest.approx(images / total, abs=0.002)
    assert table["Patient_num"].nunique() == 400
    assert table.groupby("Patient_num")["Train "].first().sum() == 200


def test_pictures_are_small_grey_and_not_black(planes, heads):
    for path in [*(planes / "Images").iterdir(), *heads.glob("training_set/*HC.png")]:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image.ndim == 2 and (image > 8).mean() > 0.05
        assert path.stat().st_size < 60_000


def test_heads_have_the_real_layout_and_true_circumferences(heads):
    table = pd.read_csv(heads / "training_set_pixel_size_and_HC.csv")
    assert list(table.columns) == ["filename", "pixel size(mm)", "head circumference (mm)"]
    assert table["filename"].str.fullmatch(r"\d{3}_\d?HC\.png").all()
    assert table["filename"].str.contains("2HC").any()
    assert len(list((heads / "training_set").iterdir())) == 2 * len(table)
    for name, pixel_mm, hc_mm in table.itertuples(index=False):
        annotation = heads / "training_set" / name.replace(".png", "_Annotation.png")
        outline = cv2.imread(str(annotation), cv2.IMREAD_UNCHANGED)
        assert outline.ndim == 2 and set(np.unique(outline)) == {0, 255}
        _, (a, b), _ = cv2.fitEllipse(np.argwhere(outline)[:, ::-1].astype(np.int32))
        assert perimeter(a / 2, b / 2) * pixel_mm == pytest.approx(hc_mm, rel=0.015)


def test_heads_are_as_large_as_real_ones(shared_data):
    table = pd.read_csv(shared_data / "hc18/training_set_pixel_size_and_HC.csv")
    real = table["head circumference (mm)"]
    rng = np.random.default_rng(0)
    drawn = np.array([cohorts._draw_circumference(rng) for _ in range(4000)])
    for edge in (100, 150, 200, 250):
        assert (drawn < edge).mean() == pytest.approx((real < edge).mean(), abs=0.06)


def test_workers_change_nothing(heads, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "FEW", 0)
    again = tmp_path / "hc18"
    write_hc18(again, patients=30, seed=11, workers=2)
    assert digest(again) == digest(heads)


def test_another_seed_gives_other_pictures(heads, tmp_path):
    write_hc18(tmp_path / "other", patients=2, seed=12, workers=1)
    name = "training_set/000_HC.png"
    assert digest(tmp_path / "other")[name] != digest(heads)[name]


def test_the_seed_reaches_every_picture(tmp_path):
    patient = draw_patient(np.random.default_rng(0))
    jobs = [
        writer.Job(f"{seed}_{index}.png", "femur", None, patient, seed, index, size=(128, 88))
        for seed, index in ((1, 0), (1, 1), (2, 0))
    ]
    writer.render(jobs, tmp_path, 1)
    assert len(set(digest(tmp_path).values())) == 3


def test_what_is_there_is_left_alone_and_replaced_when_it_differs(tmp_path, monkeypatch):
    root = tmp_path / "set"
    write_hc18(root, patients=2, seed=1, workers=1)
    mark = root / "training_set/000_HC.png"
    mark.write_bytes(b"touched")
    write_hc18(root, patients=2, seed=1, workers=1)
    assert mark.read_bytes() == b"touched"
    write_hc18(root, patients=2, seed=2, workers=1)
    assert mark.read_bytes() != b"touched"
    mark.write_bytes(b"touched")
    monkeypatch.setattr(cohorts, "VERSION", cohorts.VERSION + 1)
    write_hc18(root, patients=2, seed=2, workers=1)
    assert mark.read_bytes() != b"touched"
    assert json.loads((root / "phantom.json").read_text())["version"] == cohorts.VERSION
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("record", [None, "{", '{"kind": "mine"}'])
def test_a_foreign_folder_is_refused_and_kept(tmp_path, record):
    root = tmp_path / "mine"
    root.mkdir()
    (root / "notes.txt").write_text("precious")
    if record is not None:
        (root / "phantom.json").write_text(record)
    with pytest.raises(DataError, match="mine"):
        write_fetal_planes(root, patients=1, seed=0, workers=1)
    assert (root / "notes.txt").read_text() == "precious"


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    whole = writer.write_png
    calls = []

    def full_disk(path, image):
        calls.append(path)
        if len(calls) > 3:
            raise OSError("disk full")
        whole(path, image)

    monkeypatch.setattr(writer, "write_png", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_hc18(tmp_path / "set", patients=5, seed=1, workers=1)
    assert len(calls) > 3 and list(tmp_path.iterdir()) == []


def test_a_killed_write_is_never_taken_as_whole(tmp_path):
    root = tmp_path / "set"
    code = "from fetalclip_nb.phantoms import write_hc18; import sys; "
    code += "write_hc18(sys.argv[1], patients=2000, seed=1, workers=1)"
    process = subprocess.Popen([sys.executable, "-c", code, str(root)])
    try:
        until = time.monotonic() + 30
        while not list(tmp_path.glob(".set-*/training_set/*.png")):
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
        write_fetal_planes(tmp_path / "set", patients=patients, seed=seed)
    assert not (tmp_path / "set").exists()
