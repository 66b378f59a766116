"""Ellipses and circumferences by hand and on real annotations, and agreement with the truth."""

import numpy as np
import pytest
from PIL import Image
from scipy.special import ellipe

from fetalclip_nb.data import images
from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.experiments.segmentation import measurement
from fetalclip_nb.growth import head_circumference
from fetalclip_nb.stats import scores as bootstrap
from fetalclip_nb.tasks.masks import head_task


def drawn(left, top, a, b, angle, width, height):
    """The pixels whose centres lie in an ellipse around (left, top), boolean (height, width)."""
    y, x = np.indices((height, width))
    turn = np.deg2rad(angle)
    along = (x - left) * np.cos(turn) + (y - top) * np.sin(turn)
    across = (y - top) * np.cos(turn) - (x - left) * np.sin(turn)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def exact(a, b):
    """Circumference by the elliptic integral of the second kind."""
    return 4 * a * ellipe(1 - (b / a) ** 2)


@pytest.mark.parametrize("b, error", [(1, 1e-15), (0.6, 1e-9), (0.2, 1e-4), (1e-9, 5e-4)])
def test_ramanujan_equals_the_elliptic_integral(b, error):
    assert measurement.perimeter(30, 30 * b) == pytest.approx(exact(30, 30 * b), rel=error)


@pytest.mark.parametrize("angle", [0, 30, 90, 150])
def test_a_drawn_ellipse_is_found_again(angle):
    found = measurement.semi_axes(drawn(151.3, 120.8, 90, 70, angle, 300, 240))
    # Through the centres of the outermost pixels: up to a pixel inside, half of one on average.
    assert found == pytest.approx((89.5, 69.5), abs=0.15)


def test_holes_and_smaller_regions_do_not_matter():
    head = drawn(150, 100, 80, 60, 20, 300, 200)
    broken = head.copy()
    broken[90:110, 100:190] = False
    broken[5:20, 5:40] = broken[5:20, 250:290] = broken[180:195, 250:290] = True
    assert measurement.semi_axes(broken) == measurement.semi_axes(head)


def test_a_head_that_the_image_cuts_is_completed():
    head = drawn(150, 100, 120, 80, 0, 300, 200)
    whole, cut = measurement.mask_circumferences([head, head[40:, :250]], np.ones(2))
    assert cut == pytest.approx(whole, rel=0.002)


@pytest.mark.parametrize(
    "region",
    [np.s_[:0], np.s_[:], np.s_[10, 5:60], np.s_[10:12, 5:60], np.s_[10:12, 5:7], np.s_[20:40],
     np.s_[30:]],
    ids=["nothing", "everything", "line", "thin band", "speck", "band", "half"],
)  # fmt: skip
def test_what_is_no_head_has_no_ellipse(region):
    mask = np.zeros((60, 80), bool)
    mask[region] = True
    assert np.isnan(measurement.mask_circumferences([mask], np.ones(1))).all()


@pytest.fixture(scope="module")
def annotated(shared_data):
    """Every fourth real head: rows, filled annotations."""
    task = head_task(read_hc18(shared_data / "hc18"))
    rows = range(0, len(task.areas), 4)
    return task.dataset.table.iloc[rows], [task.read(row)[0] for row in rows]


def moments_circumference(mask):
    """Circumference of the ellipse that has a region's second moments."""
    points = np.argwhere(mask)
    # A pixel is a square, whose own variance is a twelfth.
    small, large = np.linalg.eigvalsh(np.cov(points.T, bias=True) + np.eye(2) / 12)
    return exact(2 * np.sqrt(large), 2 * np.sqrt(small))


def test_real_annotations_give_the_circumference_of_the_table(annotated):
    table, masks = annotated
    measured = measurement.mask_circumferences(masks, table["pixel_mm"])
    error = np.abs(measured - table["hc_mm"])
    assert error.mean() < 1 and error.max() < 2.5
    moments = [moments_circumference(mask) for mask in masks] * table["pixel_mm"]
    # The fit through pixel centres is closer to it than one that reaches the outer edge.
    assert error.mean() < 0.8 * np.abs(moments - table["hc_mm"]).mean()


def as_logits(mask, side):
    """What a perfect decoder would give for a mask: signed, and 0 in the black borders."""
    square = np.asarray(images.pad_to_square(Image.fromarray(mask)))
    small = Image.fromarray(square.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    return 8 * np.asarray(small) - 4


@pytest.mark.parametrize("side", [112, 224])
def test_coarse_logits_of_real_heads_give_the_circumference_of_the_mask(annotated, side):
    table, masks = annotated
    pixel_mm = table["pixel_mm"].to_numpy()
    logits = np.stack([as_logits(mask, side) for mask in masks])
    sizes = table[["width", "height"]].to_numpy()
    found = measurement.head_circumferences(logits, sizes, pixel_mm)
    error = np.abs(found - measurement.mask_circumferences(masks, pixel_mm))
    # A pixel of this grid is 800/side of the image's; the error is a small part of one.
    assert (error / pixel_mm).mean() < 0.2 * 800 / side


def test_logits_are_cut_to_the_image_itself():
    head = drawn(60, 25, 40, 15, 0, 120, 50)
    wide, tall = as_logits(head, 120), as_logits(head.T, 120)
    # A false region in the black borders is larger than the head, and outside the image.
    wide[:34] = wide[86:] = tall[:, :34] = tall[:, 86:] = 5
    found = measurement.head_circumferences(
        np.stack([wide, tall]), np.array([[120, 50], [50, 120]]), np.array([0.5, 0.5])
    )
    expected = 0.5 * measurement.perimeter(*measurement.semi_axes(head))
    assert found == pytest.approx([expected] * 2, rel=1e-6)


def test_no_head_and_an_unknown_pixel_size_are_not_a_number():
    head = as_logits(drawn(32, 32, 20, 15, 0, 64, 64), 64)
    logits = np.stack([head, np.full((64, 64), -1.0), head])
    found = measurement.head_circumferences(logits, np.full((3, 2), 64), np.array([1, 1, np.nan]))
    assert np.isnan(found).tolist() == [False, True, True]


def slow_agreement(measured, true):
    """Scores of one decoder from NumPy's own mean and standard deviation."""
    known = ~np.isnan(measured)
    d = (measured - true)[known]
    spread = 1.96 * d.std(ddof=1) if d.size > 1 else np.nan
    return {
        "hc_mae_mm": np.abs(d).mean() if d.size else np.nan,
        "hc_bias_mm": d.mean() if d.size else np.nan,
        "hc_low_mm": d.mean() - spread if d.size else np.nan,
        "hc_high_mm": d.mean() + spread if d.size else np.nan,
        "hc_missed": 1 - known.mean(),
    }


def test_agreement_by_hand():
    true = np.array([100.0, 200.0, 300.0, 250.0])
    measured = true + np.array([1, -2, 4, np.nan])
    found = measurement.agreement(measured, true, np.arange(4), resamples=40)
    values = {name: scores.values for name, scores in found.items()}
    # Differences 1, -2, 4: mean 1, variance (0 + 9 + 9) / 2.
    assert values["hc_mae_mm"] == pytest.approx([7 / 3])
    assert values["hc_bias_mm"] == pytest.approx([1])
    assert values["hc_low_mm"] == pytest.approx([1 - 1.96 * 3])
    assert values["hc_high_mm"] == pytest.approx([1 + 1.96 * 3])
    assert values["hc_missed"] == pytest.approx([0.25])
    assert {(s.score.n, s.score.groups) for s in found.values()} == {(4, 4)}


def test_agreement_equals_a_slow_bootstrap_of_whole_patients(monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK", 30)
    rng = np.random.default_rng(0)
    true, patients = rng.uniform(80, 340, 24), rng.integers(0, 9, 24)
    measured = true + rng.normal(1, 3, (3, 24))
    measured[rng.random(measured.shape) < 0.2] = np.nan
    found = measurement.agreement(measured, true, patients, resamples=100)
    draws, names, resampled = np.random.default_rng(42), np.unique(patients), []
    for _ in range(100):
        picked = names[draws.integers(0, len(names), len(names))]
        rows = np.concatenate([np.flatnonzero(patients == name) for name in picked])
        each = [slow_agreement(head[rows], true[rows]) for head in measured]
        resampled.append({name: np.nanmean([one[name] for one in each]) for name in each[0]})
    slow = [slow_agreement(head, true) for head in measured]
    assert set(found) == set(slow[0])
    for name, scores in found.items():
        assert scores.values == pytest.approx([one[name] for one in slow])
        ends = np.nanpercentile([one[name] for one in resampled], [2.5, 97.5])
        assert (scores.score.low, scores.score.high) == pytest.approx(ends)


def test_a_decoder_that_finds_no_head_has_no_error_but_misses():
    found = measurement.agreement(np.full(3, np.nan), np.full(3, 200.0), np.arange(3), resamples=5)
    assert set(found) == {"hc_missed"} and found["hc_missed"].score.value == 1


def test_ages_of_circumferences_differ_by_the_days_between_them():
    days = np.array([120, 150, 200, 260])
    true = np.append(head_circumference(days), [99, 343])
    measured = np.append(head_circumference(days + np.array([4, -2, 7, 9])), [200, 200])
    found = measurement.age_agreement(measured, true, np.arange(6), resamples=20)
    # The last two heads are too small and too large to count.
    assert found["age_mae_days"].values == pytest.approx([22 / 4], abs=0.01)
    assert found["age_bias_days"].values == pytest.approx([18 / 4], abs=0.01)
    assert found["age_missed"].score.n == 4
    assert measurement.age_agreement(measured[4:], true[4:], np.arange(2)) == {}
