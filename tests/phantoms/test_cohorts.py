"""Phantom cohorts of planes and heads: layout, and truth in the tables."""

import cv2
import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.african_planes import read_african_planes
from fetalclip_nb.growth import perimeter
from fetalclip_nb.phantoms import cohorts, picture
from fetalclip_nb.phantoms.cohorts import write_african_planes, write_fetal_planes, write_hc18
from fetalclip_nb.phantoms.patient import CENTRES, MACHINES, draw_patient
from fetalclip_nb.stats.patients import likeness

HEADER = ["Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train "]
LABELS = {plane.name for plane in cohorts.REAL_PLANES.values()}
BRAINS = {"Trans-thalamic", "Trans-cerebellum", "Trans-ventricular", "Other"}


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    root = tmp_path_factory.mktemp("planes") / "fetal_planes"
    write_fetal_planes(root, patients=16, seed=7, workers=1)
    return root


@pytest.fixture
def table(planes):
    return pd.read_csv(planes / "FETAL_PLANES_DB_data.csv", sep=";")


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    root = tmp_path_factory.mktemp("heads") / "hc18"
    write_hc18(root, patients=30, seed=11, workers=1)
    return root


def test_planes_have_the_real_layout(planes, table):
    assert list(table.columns) == HEADER
    names = {path.name for path in (planes / "Images").iterdir()}
    assert names == {f"{name}.png" for name in table["Image_name"]}
    assert table["Image_name"].str.fullmatch(r"Patient\d{5}_Plane[1-6]_\d+_of_\d+").all()
    assert set(table["Plane"]) == LABELS
    numbers = table["Image_name"].str.slice(7, 12).astype(int)
    assert (numbers == table["Patient_num"]).all()
    brain = table["Plane"] == "Fetal brain"
    assert (table.loc[~brain, "Brain_plane"] == "Not A Brain").all()
    assert table.loc[brain, "Brain_plane"].isin(BRAINS).all()


def test_a_patient_is_of_one_split_one_machine_and_one_operator(table):
    kinds = table.groupby("Patient_num")[["Train ", "Operator", "US_Machine"]].nunique()
    assert (kinds == 1).all(axis=None)
    assert set(table["Train "]) == {0, 1}
    assert table.groupby("Patient_num").size().max() > 2


def test_planes_come_in_the_real_proportions():
    _, table = cohorts._plan_planes(400, 3)
    shares = table["Plane"].value_counts(normalize=True)
    total = sum(plane.images for plane in cohorts.REAL_PLANES.values())
    for plane in cohorts.REAL_PLANES.values():
        assert shares[plane.name] == pytest.approx(plane.images / total, abs=0.002)
    assert table["Patient_num"].nunique() == 400
    assert table.groupby("Patient_num")["Train "].first().sum() == 200


def test_african_planes_have_the_real_layout_and_machines_that_no_other_cohort_has(tmp_path):
    write_african_planes(tmp_path / "a", patients=7, seed=3, workers=1)
    data = read_african_planes(tmp_path / "a")
    assert data.synthetic and len(data) == 7 * 4 - 2  # Ghana and Uganda have no thorax
    assert sorted(set(data.table["centre"])) == list(CENTRES)
    assert data.table["patient"].nunique() == 7
    counts = pd.crosstab(data.table["centre"], data.table["plane"])
    assert counts["heart"].to_dict() == {
        "Algeria": 2, "Egypt": 2, "Ghana": 0, "Malawi": 1, "Uganda": 0
    }  # fmt: skip
    assert set(data.table.groupby("patient")["split"].first()) == {"train", "test"}
    machines = {machine for _, machine in CENTRES.values()}
    assert len(machines) == 5 and not machines & set(MACHINES)
    jobs, _ = cohorts._plan_african(7, 3)
    assert {job.patient.machine for job in jobs} == machines
    write_african_planes(tmp_path / "b", patients=7, seed=3, workers=1)
    assert read_african_planes(tmp_path / "b").fingerprint == data.fingerprint


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


def test_pictures_of_a_patient_are_alike():
    """The field of view within a patient, between the 0.54 and 0.68 of real heads."""
    streams = [np.random.default_rng([5, i]) for i in range(400)]
    people = [draw_patient(rng, hc_mm=200.0) for rng in streams]
    jobs = [cohorts.Job("", "brain", None, person) for person in people]
    pairs = zip(jobs, streams, strict=True)
    fields = np.array([[cohorts._draw_field(job, rng) for _ in range(3)] for job, rng in pairs])
    found = likeness(np.log(fields).ravel(), np.repeat(np.arange(400), 3))
    assert 0.54 < found < 0.68
    assert np.median(fields) == pytest.approx(1.69, abs=0.06)  # of real heads


def test_speckle_is_new_in_every_picture_of_an_examination(monkeypatch):
    monkeypatch.setattr(picture, "LIKENESS", 1.0)
    person = draw_patient(np.random.default_rng(1), hc_mm=200.0)
    options = {"brain_plane": "trans-thalamic", "patient": person, "size": (256, 172)}
    first, second = (
        picture.draw("brain", np.random.default_rng(i), examination=True, **options).image
        for i in (1, 2)
    )
    assert (first != second).mean() > 0.5
