"""African planes in miniature: what the table names, and what it may not contradict."""

import pytest

from fetalclip_nb.data.african_planes import TABLE, african_task, read_african_planes
from fetalclip_nb.data.kinds import kind_of, load_dataset
from fetalclip_nb.errors import DataError, ParameterError
from helpers import write_african


def test_a_number_is_another_patient_in_each_centre(tmp_path):
    data = load_dataset(kind_of(write_african(tmp_path)), tmp_path)
    assert data.table["patient"].tolist()[:3] == ["patient001_DZA"] * 2 + ["patient001_EGY"]
    assert data.table["patient"].nunique() == 5
    assert data.table["plane"].tolist() == ["abdomen", "heart", "brain", *["femur"] * 3]
    assert data.table["split"].tolist() == ["test"] * 2 + ["train"] * 4
    assert data.table["centre"].tolist()[2:4] == ["Egypt", "Ghana"]
    assert data.paths[3] == tmp_path / "Ghana" / "patient002_GHA_plane2.png"
    assert data.name == "african_planes" and not data.synthetic
    (images,) = african_task(data, ["five_planes"]).values()
    assert images.table["label"].equals(data.table["plane"])
    with pytest.raises(
        ParameterError, match="this run has none.*external_root.*Found: five_planes"
    ):
        african_task(data, ["own_classes"])


def test_semicolons_padding_and_endings_change_nothing(tmp_path):
    expected = read_african_planes(write_african(tmp_path)).fingerprint
    table = tmp_path / TABLE
    text = (
        table.read_text().replace(",", ";").replace("_plane1", "_plane1.png").replace("1;F", "1 ;F")
    )
    table.write_text("\ufeff" + text, "utf-8")
    assert read_african_planes(tmp_path).fingerprint == expected


GOOD = "1,Fetal brain,0,Algeria,patient001_DZA_plane1"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,Fetal cervix,0,Algeria,patient001_DZA_plane1", "Plane in 1 of 1.*'Fetal cervix'"),
        ("1,Fetal brain,0,Kenya,patient001_KEN_plane1", "Unknown Center in 1 of 1.*'Kenya'"),
        ("1,Fetal brain,yes,Algeria,patient001_DZA_plane1", "Unknown Train.*0, 1.*'yes'"),
        ("2,Fetal brain,0,Algeria,patient001_DZA_plane1", "disagree in 1 of 1.*plane1 / '2' / Alg"),
        ("1,Fetal brain,0,Egypt,patient001_DZA_plane1", "disagree in 1 of 1.*DZA Algeria.*/ Egypt"),
        ("x,Fetal brain,0,Algeria,patient001_DZA_plane1", "disagree in 1 of 1"),
        ("1,Fetal brain,0,Algeria,patient001_DZA_../x", "disagree in 1 of 1"),
        (f"{GOOD}\n{GOOD.replace('brain,0', 'femur,1')}_b", "two splits.*patient001_DZA"),
        (f"{GOOD}\n{GOOD}", "names occur twice.*plane1"),
    ],
)
def test_contradictions_are_refused(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_african_planes(write_african(tmp_path, row.split("\n")))


def test_a_set_without_a_plane_is_no_task(tmp_path):
    data = read_african_planes(write_african(tmp_path, [GOOD]))
    with pytest.raises(DataError, match="lacks images of classes.*: abdomen, femur, heart"):
        african_task(data, ["five_planes"])
