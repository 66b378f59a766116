"""Planted repeats, contradictions and odd names are found, twins that differ are not."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from fetalclip_nb import cli, phantoms
from fetalclip_nb.audit import description, findings, repeats
from fetalclip_nb.audit.findings import odd_names
from fetalclip_nb.data.own_images import open_folder
from fetalclip_nb.phantoms import draw
from fetalclip_nb.tasks.official_splits import official_folds


def phantom(seed):
    return Image.fromarray(draw("brain", np.random.default_rng(seed)).image)


def jpeg(image):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=50)
    return Image.open(data).convert("L")


def cut(image, share):
    width, height = image.size
    left, top = int(width * share / 2), int(height * share / 2)
    return image.crop((left, top, width - left, height - top))


CHANGES = {
    "jpeg": jpeg,
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "gain": lambda image: image.point(lambda value: min(255, value * 1.3)),
    "cut": lambda image: cut(image, 0.15),
    "mirror": ImageOps.mirror,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve phantoms, each of another patient, then one changed copy of each kind."""
    root = tmp_path_factory.mktemp("audit") / "own"
    (root / "images").mkdir(parents=True)
    images = {f"p{i:02d}": phantom(i) for i in range(12)}
    copies = {
        f"{k}-p{i:02d}": change(images[f"p{i:02d}"])
        for i, (k, change) in enumerate(CHANGES.items())
    }
    for name, image in (images | copies).items():
        image.save(root / "images" / f"{name}.png")
    names = [*images, *copies]
    table = pd.DataFrame({"image": [f"images/{name}.png" for name in names]})
    table["label"] = ["brain"] * 12 + ["femur", *["brain"] * 4]
    table["patient"] = [*names[:12], "x", "p01", "p02", "x", "y"]
    table["split"] = ["train"] * 12 + ["test", "train", "train", "test", "test"]
    table.to_csv(root / "manifest.csv", index=False)
    return root


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Runs the command; gives its exit code and the findings."""
    monkeypatch.setattr("fetalclip_nb.audit.command.project_root", lambda: tmp_path)

    def audit(*words):
        code = cli.main(["audit", *map(str, words), "--output", str(tmp_path / "out")])
        capsys.readouterr()
        found = json.loads((tmp_path / "out" / "report.json").read_text())["findings"]
        # Some phantoms have a block.
        return code, [each for each in found if not each["kind"].startswith("Black block")]

    return audit


def test_every_changed_copy_is_found_and_what_it_crosses_is_named(folder, run, tmp_path):
    code, found = run(folder)
    said = [each["detail"] for each in found if "Repeat" in each["kind"]]
    for i, kind in enumerate(CHANGES):
        assert sum(f"p{i:02d}.png" in each and f"{kind}-p{i:02d}" in each for each in said) == 1, (
            kind
        )
    assert len(said) == len(CHANGES) and code == 1
    crossing = [each["detail"] for each in found if each["fault"]]
    assert len(crossing) == 3
    [label] = [each for each in crossing if "jpeg" in each]
    assert "patient p00 and x; side train and test; label brain and femur" in label
    assert sum("mirrored" in each for each in said) == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 2 * len(said)
    assert "http" not in page


def test_another_data_set_is_compared_and_equal_pixels_are_called_so(folder, run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.open(folder / "images" / "p07.png").save(other / "again.bmp")
    phantom(99).save(other / "new.png")
    code, found = run(other, "--against", folder)
    assert code == 1
    assert [(each["kind"], each["detail"]) for each in found] == [
        ("Image of another data set", "again.bmp and images/p07.png: equal pixels")
    ]
    assert run(other)[0] == 0


def test_a_refused_data_set_is_compared_by_its_images_alone(folder, run, tmp_path):
    root = tmp_path / "refused"
    (root / "images").mkdir(parents=True)
    for name in ("p01.png", "half-p01.png"):
        (root / "images" / name).write_bytes((folder / "images" / name).read_bytes())
    (root / "manifest.csv").write_text("image,label\nimages/p01.png,brain\n")
    code, found = run(root)
    assert code == 1 and [each["kind"] for each in found] == [
        "Refused by the reader: images alone are compared",
        "Repeat with another patient, side or label",
    ]
    assert "patient" in found[0]["detail"]  # the missing column


def test_all_that_a_reader_refuses_is_named_at_once(run, tmp_path):
    phantoms.write_fetal_planes(tmp_path / "planes", patients=12, seed=0)
    path = next((tmp_path / "planes").glob("*.csv"))
    table = pd.read_csv(path, sep=";")
    brain = table.index[table["Plane"] == "Fetal brain"][0]
    table.loc[brain, "Brain_plane"] = "Not A Brain"
    table.loc[0, "Patient_num"] = 999
    table.to_csv(path, sep=";", index=False)
    for _ in range(2):  # the first look is remembered, and nothing is by it taken for right
        code, found = run(tmp_path / "planes")
        refused = [each["detail"] for each in found if each["kind"].startswith("Refused")]
        assert code == 1 and len(refused) == 2
        assert str(table.loc[brain, "Image_name"]) in refused[0]
        assert str(table.loc[0, "Image_name"]) in refused[1]


def test_names_that_differ_in_form_only():
    names = ["012", "12", "7", "7.0", "A 1", "a1", "b\u200b", "b", "x1", "x01", "0"]
    assert [found.detail for found in odd_names(pd.Series(names))] == [
        "'012' = '12'",
        "'7' = '7.0'",
        "'A 1' = 'a1'",
        r"'b' = 'b\u200b'",
    ]


def test_a_second_audit_reads_no_picture_for_its_keypoints(folder, tmp_path, monkeypatch):
    dataset = open_folder(folder)
    first = findings.described(dataset, tmp_path)
    monkeypatch.setattr(description, "_look", lambda path: pytest.fail(f"{path} is read again"))
    again = findings.described(dataset, tmp_path)
    assert [each.pixels for each in again] == [each.pixels for each in first]
    assert repeats.repeats(again) == repeats.repeats(first)


def test_few_keypoints_and_blank_corners_are_no_repeat():
    flat = description.Described(
        "a",
        False,
        *[np.zeros((0, n), t) for n, t in ((2, "f4"), (32, "u1"), (32, "u1"), (2, "f4"))],
    )
    assert repeats.agreeing(flat, flat, False) == 0
    assert repeats.repeats([flat, flat._replace(pixels="b")]) == []
    assert repeats.repeats([flat, flat]) == [repeats.Repeat(0, 1, -1, False)]


def test_real_heads_hold_one_frame_three_times_and_nothing_across_examinations(shared_data, run):
    code, found = run(shared_data / "hc18", "--official", shared_data / "fetalclip")
    within = [each["detail"] for each in found if each["kind"].startswith("Repeat within")]
    for pair in ("392_2HC and 392_HC: equal", "392_2HC and 392_3HC", "392_3HC and 392_HC"):
        assert sum(pair in each for each in within) == 1
    assert not [each for each in found if each["kind"].startswith("Repeat with another")]
    [leak] = [each["detail"] for each in found if each["fault"]]
    split = official_folds(shared_data / "fetalclip", "head")
    assert code == 1 and leak.startswith(f"18 of {len(split.test)} tested examinations: ")


def test_black_blocks_in_a_corner_are_told_from_the_fan():
    picture = np.asarray(phantom(0)).copy()
    picture[picture == 0] = 1
    assert not description.has_block(picture)
    picture[-picture.shape[0] // 5 :, -picture.shape[1] // 4 :] = 0
    assert description.has_block(picture)
    fan = np.add.outer(np.arange(200), np.arange(200)) > 90
    assert not description.has_block(np.where(fan, 80, 0).astype(np.uint8))
