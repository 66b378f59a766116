"""One phantom: every plane drawable, truth consistent, age hidden from the picture's scale."""

import cv2
import numpy as np
import pytest

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.growth import head_circumference, perimeter
from fetalclip_nb.phantoms.framing import BRAIN_PLANES, FIELD_RATIOS, OTHER_VIEWS, PLANES
from fetalclip_nb.phantoms.patient import MACHINES, OPERATORS, draw_patient
from fetalclip_nb.phantoms.picture import VERSION, draw

BRIGHTNESS = {
    1: {
        "abdomen": 45.15, "brain": 51.52, "femur": 52.25, "thorax": 48.91, "cervix": 54.32,
        "spine": 54.18, "profile": 42.54, "lips_nose": 57.56, "kidney": 56.23, "other": 49.89,
    }
}  # fmt: skip
"""Mean grey of eight pictures a plane, by VERSION: pictures may only change with it."""

THORAX = {"thorax", "heart", "LV", "LA", "RA", "RV", "IVS", "aorta", "spine"}


def ellipse_perimeter(mask):
    """Perimeter in pixels of the ellipse fitted to a mask's outer contour."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    _, (a, b), _ = cv2.fitEllipse(max(found, key=len))
    return perimeter(a / 2, b / 2)


@pytest.mark.parametrize("plane", PLANES)
def test_every_plane_gives_a_picture_with_a_lit_fan(plane):
    rng = np.random.default_rng(3)
    for _ in range(8):
        phantom = draw(plane, rng)
        image = phantom.image
        lit = image[image > 8]
        assert image.dtype == np.uint8 and 1.2 < image.shape[1] / image.shape[0] < 1.7
        assert lit.size > 0.08 * image.size and lit.std() > 4
        assert (image == 0).any()  # outside the fan
        assert 0.02 < phantom.pixel_mm < 3
        assert phantom.plane == plane and phantom.detail["view"] in {*OTHER_VIEWS, *PLANES}
        assert all(mask.shape == image.shape and mask.any() for mask in phantom.masks.values())


def test_pictures_change_only_with_the_version():
    means = {
        plane: np.mean([draw(plane, np.random.default_rng([9, i])).image.mean() for i in range(8)])
        for plane in PLANES
    }
    assert means == pytest.approx(BRIGHTNESS[VERSION], abs=0.3)


def test_the_same_state_gives_the_same_picture():
    first, second, other = (draw("thorax", np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.image, second.image)
    assert first.image.shape != other.image.shape or (first.image != other.image).any()


@pytest.mark.parametrize("brain_plane", [*BRAIN_PLANES, "Other"])
def test_head_mask_spacing_and_circumference_agree(brain_plane):
    rng = np.random.default_rng(5)
    for size in (None, (360, 243), (800, 540)):
        phantom = draw("brain", rng, brain_plane=brain_plane, size=size)
        measured = ellipse_perimeter(phantom.masks["head"]) * phantom.pixel_mm
        assert measured == pytest.approx(phantom.hc_mm, rel=0.01)
        assert phantom.brain_plane == brain_plane
        if size:
            assert phantom.image.shape == size[::-1]


def landmark(brain_plane, u, v, radius=0.1):
    """Mean grey of a disc in the far hemisphere over the head's median, averaged over pictures."""
    values = []
    for i in range(16):
        rng = np.random.default_rng([8, i])
        patient = draw_patient(rng, age_days=150)
        phantom = draw("brain", rng, brain_plane=brain_plane, patient=patient, field_ratio=1.6)
        outline = phantom.outlines["head"][0]
        centre = outline.mean(axis=0)
        front, side = outline[0] - centre, outline[len(outline) // 4] - centre
        side = side if side[1] > 0 else -side  # away from the probe
        x, y = centre + u * front + v * side
        disc = np.zeros_like(phantom.image)
        cv2.circle(disc, (round(x), round(y)), round(radius * np.linalg.norm(side)), 1, -1)
        median = max(1.0, float(np.median(phantom.image[phantom.masks["head"]])))
        values.append(phantom.image[disc > 0].mean() / median)
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("place", "brightest"),
    [((-0.56, 0.0), "trans-cerebellum"), ((-0.35, 0.42), "trans-ventricular")],
)
def test_each_brain_plane_shows_its_landmark(place, brightest):
    found = {plane: landmark(plane, *place) for plane in BRAIN_PLANES}
    rest = [value for plane, value in found.items() if plane != brightest]
    assert found[brightest] > 1.15 * max(rest), found


def test_thalami_are_dark_discs_of_the_thalamic_plane():
    inside, rim = (landmark("trans-thalamic", u, 0.2) for u in (0.03, 0.33))
    assert inside < 0.9 * rim


def test_circumference_lies_between_the_outer_centiles():
    rng = np.random.default_rng(0)
    people = [draw_patient(rng) for _ in range(300)]
    ages = np.array([person.age_days for person in people])
    heads = np.array([person.hc_mm for person in people])
    assert (heads >= head_circumference(ages, 2.5)).all()
    assert (heads <= head_circumference(ages, 97.5)).all()
    assert ages.min() >= 98 and ages.max() <= 272 and abs(ages.mean() - 185) < 10
    assert np.std(np.log(heads / head_circumference(ages))) > 0.02
    assert {person.machine for person in people} == set(MACHINES)
    assert {person.operator for person in people} == set(OPERATORS)


def test_size_in_the_picture_says_nothing_about_age():
    rng = np.random.default_rng(11)
    heads = [draw("brain", rng, size=(128, 88)) for _ in range(150)]
    ages = [phantom.patient.age_days for phantom in heads]
    ratios = [phantom.detail["field_ratio"] for phantom in heads]
    light = [phantom.image.mean() for phantom in heads]
    assert abs(np.corrcoef(ages, ratios)[0, 1]) < 0.2
    assert abs(np.corrcoef(ages, light)[0, 1]) < 0.2
    assert min(ratios) >= FIELD_RATIOS[0] - 1e-6 and max(ratios) <= FIELD_RATIOS[1] + 1e-6


def test_arguments_are_obeyed():
    rng = np.random.default_rng(2)
    patient = draw_patient(rng, age_days=200)
    phantom = draw("brain", rng, patient=patient, field_ratio=2.2)
    assert phantom.patient.age_days == 200 and phantom.hc_mm == patient.hc_mm
    assert phantom.detail["field_ratio"] == pytest.approx(2.2)
    assert draw("femur", rng).hc_mm is None and "head" not in draw("femur", rng).masks


def test_a_head_never_leaves_the_picture():
    rng = np.random.default_rng(6)
    for _ in range(10):
        mask = draw("brain", rng, field_ratio=1.0).masks["head"]
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_trunk_planes_know_their_organs():
    rng = np.random.default_rng(7)
    thorax, abdomen = draw("thorax", rng).masks, draw("abdomen", rng).masks
    assert set(thorax) == THORAX
    assert set(abdomen) == {"abdominal_circumference", "stomach", "spine"}
    for name in ("LV", "LA", "RA", "RV", "IVS"):
        assert (thorax[name] & thorax["heart"]).sum() > 0.6 * thorax[name].sum()
    assert (abdomen["stomach"] & ~abdomen["abdominal_circumference"]).sum() == 0


@pytest.mark.parametrize(
    ("plane", "brain_plane", "word"),
    [("heart", None, "heart"), ("brain", "coronal", "coronal"), ("femur", "Other", "femur")],
)
def test_unknown_planes_are_named(plane, brain_plane, word):
    with pytest.raises(ParameterError, match=word):
        draw(plane, np.random.default_rng(0), brain_plane=brain_plane)
