import numpy as np
import pytest

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.experiments.cam import scores, tables
from fetalclip_nb.stats.scores import Score, weights

LABELS = np.array(["brain", "brain", "femur", "femur"])
PATIENTS = np.array(["a", "b", "a", "b"])
DELETION = np.array([0.1, 0.3, 0.2, 0.6])
INSERTION = np.array([0.9, 0.7, 0.5, 0.4])


def values(found):
    return {name: units["patient"].value for name, units in found.items()}


def test_area_by_hand():
    curves = np.array([[1.0, 0.5, 0.0], [0.2, 0.2, 0.2]])
    assert scores.area_under(curves) == pytest.approx([0.5, 0.2])
    # 20 steps or 40 of the same line: the same area.
    lines = [np.linspace(0, 1, k + 1) ** 2 for k in (20, 400)]
    assert scores.area_under(lines[0]) == pytest.approx(scores.area_under(lines[1]), abs=1e-3)
    found = scores.areas({"deletion": curves, "insertion": curves[::-1]})
    assert found["difference"] == pytest.approx([-0.3, 0.3])
    assert found["insertion"] == pytest.approx([0.2, 0.5])


def test_scores_are_means_over_all_images_and_over_those_of_each_class():
    found = scores.faithfulness_scores(DELETION, INSERTION, LABELS, PATIENTS)
    assert values(found) == pytest.approx(
        {
            "insertion/all": 0.625,
            "insertion/brain": 0.8,
            "insertion/femur": 0.45,
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
    assert (
        found["difference/brain"]["patient"].low,
        found["difference/brain"]["patient"].high,
    ) == (pytest.approx((0.4, 0.8)))


def test_intervals_are_those_of_slowly_repeated_patients():
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 12, 30).astype(str)
    labels = rng.choice(["brain", "femur"], 30)
    deletion, insertion = rng.random((2, 30))
    found = scores.faithfulness_scores(deletion, insertion, labels, patients)
    names = np.unique(patients)
    counts = np.concatenate([*weights(names.size)])
    difference, resampled = insertion - deletion, []
    for times in counts[:, np.searchsorted(names, patients)]:
        kept = times * (labels == "femur")
        resampled.append((kept * difference).sum() / kept.sum() if kept.any() else np.nan)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    got = found["difference/femur"]["patient"]
    assert (got.low, got.high) == pytest.approx((low, high), abs=1e-6)


def test_an_advantage_is_paired():
    rng = np.random.default_rng(1)
    patients = np.arange(40).astype(str)
    labels = np.repeat(["brain", "femur"], 20)
    other = rng.random(40)
    one = other + 0.05 + 0.01 * rng.random(40)
    found = scores.advantage(one, other, labels, patients, name="over_random")
    assert list(found) == ["over_random/all", "over_random/brain", "over_random/femur"]
    assert values(found)["over_random/all"] == pytest.approx((one - other).mean())
    # Apart, the two have wide intervals that overlap; the difference has a narrow one above 0.
    alone = scores.faithfulness_scores(other, one, labels, patients)
    assert alone["insertion/all"]["patient"].low < alone["deletion/all"]["patient"].high
    for units in found.values():
        assert 0.05 < units["patient"].low < units["patient"].high < 0.06
    turned = scores.advantage(other, one, labels, patients, name="x")
    assert values(turned)["x/all"] == pytest.approx(-values(found)["over_random/all"])


def test_advantage_leaves_images_without_a_value_out():
    one = np.array([0.5, np.nan, 0.7, 0.9])
    found = scores.advantage(one, np.zeros(4), LABELS, PATIENTS, name="gain")
    assert values(found) == pytest.approx({"gain/all": 0.7, "gain/brain": 0.5, "gain/femur": 0.8})
    assert found["gain/all"]["patient"].n == 3


def test_clearly_ahead_names_classes_whose_intervals_do_not_touch():
    def one(**ends):
        return {
            f"difference/{name}": {"patient": Score(0, low, high, 0, 9, 9)}
            for name, (low, high) in ends.items()
        }

    ours = one(all=(0.9, 1.0), brain=(0.5, 0.6), femur=(0.3, 0.5), heart=(0.1, 0.2), cervix=(0, 1))
    theirs = one(all=(0.0, 0.1), brain=(0.1, 0.4), femur=(0.1, 0.3), heart=(0.5, 0.6))
    assert tables.clearly_ahead(ours, theirs) == ["brain"]
    assert tables.clearly_ahead(ours, theirs, "insertion") == []
    assert tables.ahead_text(ours, {"noise": theirs, "other": ours}) == (
        "Class by class, its interval lies wholly above that of the noise in 1 of 4 (brain); "
        "of the other in 0 of 4."
    )


def test_mean_curve_has_its_interval_at_each_step():
    curves = np.array([[0.0, 0.5, 1.0], [0.2, 0.5, 0.4]])
    found = scores.mean_curve(curves, np.array(["a", "b"]))
    assert found == pytest.approx(np.array([[0, 0.5, 0.4], [0.1, 0.5, 0.7], [0.2, 0.5, 1.0]]))


def test_no_images_are_refused():
    with pytest.raises(ShapeError, match="No images to score"):
        scores.faithfulness_scores([], [], [], [])


def test_paired_text_counts_classes_whose_interval_lies_above_0():
    def one(value, low, high):
        return {"patient": Score(value, low, high, value, 9, 9)}

    gains = {
        "noise": {"g/all": one(0.5, 0.25, 0.75), "g/brain": one(1, 0.1, 1), "g/femur": one(0, 0, 1)}
    }
    assert tables.paired_text(gains) == (
        "Compared image by image, in percentage points: +50.0 (+25.0 to +75.0) against the noise, "
        "above 0 in 1 of 2 (brain)."
    )


def test_few_images_are_not_judged():
    """Two images of two patients: any interval that excludes 0 would be luck."""

    def one(low, high, n):
        return {"patient": Score(low, low, high, low, n, n)}

    ours = {"difference/all": one(0.5, 0.6, 4), "difference/brain": one(0.5, 0.6, 2)}
    theirs = {"difference/all": one(0.0, 0.1, 4), "difference/brain": one(0.0, 0.1, 2)}
    assert "No class has the 5 images" in tables.ahead_text(ours, {"noise": theirs})
    text = tables.paired_text({"noise": ours})
    assert "against the noise. No class has the 5 images" in text and "above 0" not in text


def test_class_texts_have_a_row_a_class_and_a_column_a_kind():
    kind = {
        f"gain/{name}": {"patient": Score(v, -0.5, 1, v, 9, 9)}
        for name, v in (("all", 0.25), ("brain", 0.5))
    }
    table = tables.class_texts({"noise": kind | {"other/all": kind["gain/all"]}}, "gain")
    assert table.to_dict() == {
        "noise": {"all": "25.0 (-50.0 to 100.0)", "brain": "50.0 (-50.0 to 100.0)"}
    }


def test_similarity_is_an_index_without_unit():
    maps = np.random.default_rng(0).random((4, 3, 3))
    maps[0] = 0.5  # the same everywhere: no rank correlation
    found = scores.similarity_scores(maps, -maps, PATIENTS)["similarity"]["patient"]
    assert (found.value, found.n, found.unit) == (pytest.approx(-1), 3, "")
