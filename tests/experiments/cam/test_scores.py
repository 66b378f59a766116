import numpy as np
import pytest

from fetalclip_nb.experiments.cam import scores

LABELS = np.array(["brain", "brain", "femur", "femur"])
PATIENTS = np.array(["a", "b", "a", "b"])
DELETION = np.array([0.1, 0.3, 0.2, 0.6])
INSERTION = np.array([0.9, 0.7, 0.5, 0.4])
MEASURES = {"deletion": DELETION, "difference": INSERTION - DELETION}


def values(found):
    return {name: units["patient"].value for name, units in found.items()}


def test_area_by_hand():
    curves = np.array([[1.0, 0.5, 0.0], [0.2, 0.2, 0.2]])
    assert scores.area_under(curves) == pytest.approx([0.5, 0.2])
    # 20 steps or 40 of the same line: the same area.
    lines = [np.linspace(0, 1, k + 1) ** 2 for k in (20, 400)]
    assert scores.area_under(lines[0]) == pytest.approx(scores.area_under(lines[1]), abs=1e-3)
    found = scores.areas(curves[::-1], curves)
    assert found["difference"] == pytest.approx([-0.3, 0.3])
    assert found["insertion"] == pytest.approx([0.2, 0.5])


def test_scores_are_means_over_all_images_and_over_those_of_each_class():
    found = scores.class_means(MEASURES, LABELS, PATIENTS)
    assert values(found) == pytest.approx(
        {
            "deletion/all": 0.3,
            "deletion/brain": 0.2,
            "deletion/femur": 0.4,
            "difference/all": 0.325,
            "difference/brain": 0.6,
            "difference/femur": 0.05,
        }
    )
    sizes = {name: (s["patient"].n, s["patient"].groups) for name, s in found.items()}
    assert sizes["deletion/all"] == (4, 2) and sizes["difference/femur"] == (2, 2)
    # Two patients: both, twice the first or twice the second.
    brain = found["difference/brain"]["patient"]
    assert (brain.low, brain.high) == pytest.approx((0.4, 0.8))


def test_mean_curve_has_its_interval_at_each_step():
    curves = np.array([[0.0, 0.5, 1.0], [0.2, 0.5, 0.4]])
    found = scores.mean_curve(curves, np.array(["a", "b"]))
    assert found == pytest.approx(np.array([[0, 0.5, 0.4], [0.1, 0.5, 0.7], [0.2, 0.5, 1.0]]))


def test_similarity_is_an_index_without_unit():
    maps = np.random.default_rng(0).random((4, 3, 3))
    maps[0] = 0.5  # the same everywhere: no rank correlation
    found = scores.similarity_scores(maps, -maps, PATIENTS)["similarity"]["patient"]
    assert (found.value, found.n, found.unit) == (pytest.approx(-1), 3, "")
