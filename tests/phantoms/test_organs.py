"""Phantom trunks: masks that lie where the organs are, a cohort that the tasks can read."""

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from fetalclip_nb.phantoms import organs
from fetalclip_nb.phantoms.organs import ORGANS, organ_masks, write_organs
from fetalclip_nb.phantoms.picture import draw
from fetalclip_nb.tasks.masks import STRUCTURES, structure_task

PATIENTS = 14
CHAMBERS = ("LV", "LA", "RA", "RV")

SIZES = {
    1: {
        "abdomen": {"stomach": 686, "abdominal_circumference": 21050, "spine": 599},
        "four_chamber": {
            "thorax": 22788, "aorta": 118, "spine": 647, "heart": 4042,
            "LV": 497, "LA": 387, "RA": 430, "RV": 453, "IVS": 226,
        },
    }
}  # fmt: skip
"""Mean pixels of each structure in the cohorts below, by ORGANS_VERSION: masks may only change
with it. Brightness likewise."""

BRIGHTNESS = {1: {"abdomen": 50.01, "four_chamber": 49.17}}


def pictures(root):
    """Row, image and masks of every row of a manifest."""
    for _, row in pd.read_csv(root / "manifest.csv").iterrows():
        files = row[[name for name in row.index if name == "image" or name.startswith("mask_")]]
        masks = {
            name.removeprefix("mask_"): cv2.imread(str(root / file), cv2.IMREAD_UNCHANGED)
            for name, file in files.items()
        }
        yield row, masks.pop("image"), masks


def regions(root):
    """Boolean masks of every row."""
    return [{name: mask > 0 for name, mask in masks.items()} for _, _, masks in pictures(root)]


def centre(mask):
    return np.argwhere(mask).mean(axis=0)


def side(axis, offset):
    """On which side of a direction an offset points."""
    return np.sign(axis[0] * offset[1] - axis[1] * offset[0])


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    root = tmp_path_factory.mktemp("organs")
    for view in ORGANS:
        write_organs(root / view, view=view, patients=PATIENTS, seed=5, workers=1)
    return root


@pytest.fixture(scope="module")
def abdomens(cohorts):
    return regions(cohorts / "abdomen")


@pytest.fixture(scope="module")
def chests(cohorts):
    return regions(cohorts / "four_chamber")


@pytest.mark.parametrize("view", ORGANS)
def test_the_cohort_is_a_manifest_with_a_mask_a_structure(cohorts, view):
    root = cohorts / view
    table = pd.read_csv(root / "manifest.csv")
    masks = [f"mask_{organ}" for organ in ORGANS[view]]
    shared = [*("image", "label", "patient", "split", "pixel_mm", "operator", "machine")]
    assert list(table.columns) == shared + masks
    assert set(table["label"]) == {view}
    assert table["image"].str.fullmatch(r"images/Patient\d{3}_[12]\.png").all()
    written = {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
    assert written == set(table[["image", *masks]].to_numpy().ravel())
    assert len(written) == len(table) * (1 + len(masks))
    stems = table["image"].str.slice(len("images/"), -len(".png"))
    for organ in ORGANS[view]:
        assert (table[f"mask_{organ}"] == "masks/" + stems + f"_{organ}.png").all()


@pytest.mark.parametrize("view", ORGANS)
def test_the_cohort_is_read_as_a_task_of_the_protocol(cohorts, view):
    for _, image, masks in pictures(cohorts / view):
        assert image.ndim == 2 and image.std() > 4
        for mask in masks.values():
            assert mask.shape == image.shape and mask.dtype == np.uint8
            assert set(np.unique(mask)) == {0, 255}
    task = structure_task(view, cohorts / view)
    assert task.structures == ORGANS[view] == STRUCTURES[view]
    assert task.dataset.synthetic and not task.stand_in
    assert (task.summary()["absent"] == 0).all()


@pytest.mark.parametrize("view", ORGANS)
def test_pictures_and_masks_change_only_with_the_version(cohorts, view):
    seen = list(pictures(cohorts / view))
    areas = {name: np.mean([(masks[name] > 0).sum() for *_, masks in seen]) for name in seen[0][2]}
    assert areas == pytest.approx(SIZES[organs.ORGANS_VERSION][view], rel=0.01)
    mean = np.mean([image.mean() for _, image, _ in seen])
    assert mean == pytest.approx(BRIGHTNESS[organs.ORGANS_VERSION][view], abs=0.3)


def test_no_structure_is_cut_or_in_pieces(abdomens, chests):
    for masks in (*abdomens, *chests):
        for name, mask in masks.items():
            edge = [*mask[0], *mask[-1], *mask[:, 0], *mask[:, -1]]
            assert not any(edge), name
            assert ndimage.label(mask)[1] == 1, name
            assert (ndimage.binary_fill_holes(mask) == mask).all(), name


def test_spine_and_stomach_lie_in_the_abdomen(abdomens):
    for masks in abdomens:
        body, stomach, spine = masks["abdominal_circumference"], masks["stomach"], masks["spine"]
        assert not (stomach & ~body).any() and not (stomach & spine).any()
        assert (spine & body).sum() > 0.95 * spine.sum()
        for organ, nearest, farthest in ((spine, 0.6, 0.95), (stomach, 0.2, 0.6)):
            distance = np.linalg.norm(centre(organ) - centre(body))
            assert nearest < distance / np.sqrt(body.sum() / np.pi) < farthest


def test_the_chest_holds_the_heart_and_the_heart_its_separate_parts(chests):
    for masks in chests:
        for name in ("aorta", "heart", *CHAMBERS, "IVS"):
            assert not (masks[name] & ~masks["thorax"]).any(), name
        for name in (*CHAMBERS, "IVS"):
            assert not (masks[name] & ~masks["heart"]).any(), name
        assert 0.1 < masks["heart"].sum() / masks["thorax"].sum() < 0.3
        parts = [masks[name] for name in (*CHAMBERS, "IVS", "spine", "aorta")]
        assert np.sum(parts, axis=0).max() == 1
        assert not (masks["aorta"] & masks["heart"]).any()


def test_chambers_lie_as_in_a_fetus_that_is_seen_from_either_end(chests):
    """The left atrium is next to the spine; aorta, left atrium and ventricle lie on one side."""
    hands = []
    for masks in chests:
        place = {name: centre(mask) for name, mask in masks.items()}
        far = {name: np.linalg.norm(place[name] - place["spine"]) for name in place}
        assert min(CHAMBERS, key=far.get) == "LA"
        assert far["LA"] < far["LV"] < far["RV"] and far["RA"] < far["RV"]
        assert far["aorta"] < far["LA"]
        front = place["thorax"] - place["spine"]
        left = side(front, place["aorta"] - place["spine"])
        assert side(front, place["LV"] - place["RV"]) == left
        assert side(front, place["LA"] - place["RA"]) == left
        apex = (place["LV"] + place["RV"]) / 2 - (place["LA"] + place["RA"]) / 2
        assert side(front, apex) == left and apex @ front > 0
        off = np.linalg.norm(place["IVS"] - (place["LV"] + place["RV"]) / 2)
        assert off < 0.5 * np.linalg.norm(place["LV"] - place["RV"])
        hands.append(left)
    assert set(hands) == {-1, 1}


def contrasts(cohort, inside, around):
    """Mean grey of a structure over that of another one without it, per picture."""
    found = []
    for _, image, masks in pictures(cohort):
        other = (masks[around] > 0) & (masks[inside] == 0)
        found.append(image[masks[inside] > 0].mean() / image[other].mean())
    return np.array(found)


def test_masks_show_what_the_picture_shows(cohorts):
    dark = contrasts(cohorts / "abdomen", "stomach", "abdominal_circumference")
    assert np.median(dark) < 0.4 and dark.max() < 0.8
    assert np.median(contrasts(cohorts / "abdomen", "spine", "abdominal_circumference")) > 1.3
    for chamber in CHAMBERS:
        assert np.median(contrasts(cohorts / "four_chamber", chamber, "heart")) < 0.7
    assert np.median(contrasts(cohorts / "four_chamber", "aorta", "thorax")) < 0.7
    assert np.median(contrasts(cohorts / "four_chamber", "IVS", "heart")) > 1.5


def test_visible_parts_equal_painting_in_the_order_of_drawing():
    for seed in range(6):
        phantom = draw("thorax", np.random.default_rng(seed))
        before = {name: mask.copy() for name, mask in phantom.masks.items()}
        painted = np.zeros(phantom.image.shape, dtype=object)
        for name in ("aorta", "heart", "LV", "RV", "LA", "RA", "IVS"):
            painted[phantom.masks[name]] = name
        found = organ_masks(phantom, "four_chamber")
        for name in (*CHAMBERS, "IVS"):
            assert np.array_equal(found[name], painted == name)
        assert np.array_equal(found["aorta"], painted == "aorta")
        whole = np.isin(painted.astype(str), ["heart", *CHAMBERS, "IVS"])
        assert np.array_equal(found["heart"], whole)
        for name in ("thorax", "spine"):
            assert np.array_equal(found[name], phantom.masks[name])
        assert all(np.array_equal(before[name], mask) for name, mask in phantom.masks.items())


def test_spacing_gives_the_trunks_true_size(cohorts):
    for view, body, factor, aspect in (
        ("abdomen", "abdominal_circumference", 1.0, 0.93),
        ("four_chamber", "thorax", 0.86, 0.95),
    ):
        trunks, _ = organs._plan(view, PATIENTS, 5)
        for trunk, (row, _, masks) in zip(trunks, pictures(cohorts / view), strict=True):
            width = factor * trunk.patient.abdomen_mm
            area = (masks[body] > 0).sum() * row["pixel_mm"] ** 2
            assert area == pytest.approx(np.pi / 4 * aspect * width**2, rel=0.06)


def test_hearts_are_seen_at_any_moment_and_trunks_at_any_magnification(tmp_path, drawn_by):
    seen = drawn_by(organs)
    write_organs(tmp_path / "chests", view="four_chamber", patients=30, seed=1, workers=1)
    phases = [phantom.detail["phase"] for phantom in seen]
    assert min(phases) < 0.15 and max(phases) > 0.85
    ratios = [phantom.detail["field_ratio"] for phantom in seen]
    assert max(ratios) <= organs.FIELD[1] + 1e-6 and np.ptp(ratios) > 0.3


@pytest.mark.parametrize("view", ORGANS)
def test_a_fifth_of_the_patients_is_tested_and_a_fifth_comes_twice(view):
    trunks, table = organs._plan(view, 500, 3)
    assert len(trunks) == len(table)
    patients = table.groupby("patient")
    assert (patients[["split", "machine", "operator"]].nunique() == 1).all(axis=None)
    assert (patients["split"].first() == "test").sum() == 100
    assert set(table["split"]) == {"train", "test"}
    assert (patients.size() == 2).mean() == pytest.approx(organs.REPEATED, abs=0.05)
    assert patients.size().max() == 2
    ages = np.array([trunk.patient.age_days for trunk in trunks])
    assert organs.AGES[0] <= ages.min() < 135 and 263 < ages.max() < organs.AGES[1]
