"""Overlap and distances by hand, and their intervals against a slow bootstrap."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance

from fetalclip_nb.experiments.segmentation import overlap
from fetalclip_nb.stats import scores as bootstrap

NAMES = ("a", "b", "c")


def squares(*corners, side=24, size=8):
    """Masks (1, C, side, side) with one square each; None is an empty mask."""
    masks = np.zeros((1, len(corners), side, side), bool)
    for mask, corner in zip(masks[0], corners, strict=True):
        if corner is not None:
            mask[corner[0] : corner[0] + size, corner[1] : corner[1] + size] = True
    return masks


def task(heads=3, items=29, structures=3, patients=9, seed=0):
    """Counts of decoders; structures are absent in some images, and outlined there by some."""
    rng = np.random.default_rng(seed)
    true = rng.integers(50, 900, (items, structures)) * (rng.random((items, structures)) < 0.7)
    hits = (rng.random((heads, items, structures)) * (true + 1)).astype(int)
    hits *= rng.random(hits.shape) < 0.9
    false = rng.integers(0, 300, hits.shape) * (rng.random(hits.shape) < 0.8)
    owner = np.array([f"p{i}" for i in rng.integers(0, patients, items)])
    return np.stack([hits, false, true - hits], axis=-1), owner


def test_counts_by_hand():
    predicted = squares((0, 0), (4, 4), None)
    true = squares((0, 2), (4, 4), (4, 4))
    assert overlap.counts(predicted, true).tolist() == [[[48, 16, 16], [64, 0, 0], [0, 0, 64]]]
    assert overlap.counts(predicted, true).dtype == np.int64


def test_distance_of_a_moved_square_is_its_way_times_the_size_of_a_pixel():
    predicted, true = squares((5, 5), (5, 5)), squares((5, 5), (5, 9))
    found = overlap.hausdorff95(predicted, true, np.array([0.5]))
    assert found.tolist() == [[0, 2]]
    two = np.concatenate([predicted, predicted]), np.concatenate([true, true])
    assert overlap.hausdorff95(*two, np.array([1, 0.25])).tolist() == [[0, 4], [0, 1]]


def test_distance_is_the_larger_one_of_two_directions_and_no_maximum():
    true = squares((10, 2))
    # A far pixel: one of 29 boundary pixels, so that 5 % of the others are left out.
    predicted = true.copy()
    predicted[0, 0, 13, 20] = True
    assert overlap.hausdorff95(predicted, true, np.ones(1)).tolist() == [[0]]
    # A part that one direction does not see: every predicted pixel is a true one.
    half = true.copy()
    half[..., 2:6] = False
    assert overlap.hausdorff95(half, true, np.ones(1)).item() == pytest.approx(4)
    assert overlap.hausdorff95(true, half, np.ones(1)).item() == pytest.approx(4)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_distance_equals_that_of_monai(seed):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((40, 40))
    y, x, radius = rng.uniform(0, [[40], [40], [15]], (3, 10))[..., None, None]
    # Ellipses that the image may cut, and scattered pixels in some.
    masks = (rows - y) ** 2 + 2 * (columns - x) ** 2 < radius**2
    masks[::3] |= rng.random(masks[::3].shape) < 0.02
    predicted, true = masks.reshape(2, 5, 1, 40, 40)
    pixel_mm = rng.uniform(0.1, 1, 5)
    pair = map(torch.from_numpy, (predicted, true))
    slow = compute_hausdorff_distance(*pair, include_background=True, percentile=95)[:, 0].numpy()
    slow[~(predicted.any((1, 2, 3)) & true.any((1, 2, 3)))] = np.nan
    found = overlap.hausdorff95(predicted, true, pixel_mm)[:, 0]
    assert found == pytest.approx(slow * pixel_mm, rel=3e-7, nan_ok=True)


@pytest.mark.filterwarnings("error")
def test_what_has_no_distance_is_not_a_number_and_counted():
    predicted = np.concatenate([squares((0, 0), None, (4, 4))] * 2)
    true = np.concatenate([squares((0, 2), (4, 4), None)] * 2)
    found = overlap.hausdorff95(predicted, true, np.array([1, np.nan]))
    assert np.isnan(found).tolist() == [[False, True, True], [True, True, True]]
    table = overlap.found_table(overlap.counts(predicted, true)[None], NAMES)
    assert table.to_dict("list") == {
        "images": [2, 2, 0],
        "not found": [0, 2, 0],
        "absent": [0, 0, 2],
        "found where absent": [0, 0, 2],
    }


def test_found_table_is_the_mean_over_decoders():
    one = [[[5, 1, 0]], [[0, 0, 5]], [[0, 0, 0]], [[0, 9, 0]]]
    other = [[[0, 0, 5]], [[0, 0, 5]], [[0, 0, 0]], [[0, 0, 0]]]
    row = overlap.found_table(np.array([one, other]), ["a"]).loc["a"]
    assert row.to_list() == [2, 1.5, 2, 0.5]


@pytest.mark.filterwarnings("error")
def test_pooled_and_image_scores_by_hand():
    # Structure a: one large good image, one small bad one, one without it that is outlined.
    # Structure b: only in the last image. Structure c: in none.
    a = [[90, 10, 10], [0, 0, 10], [0, 20, 0]]
    b = [[0, 0, 0], [0, 0, 0], [30, 0, 10]]
    counts = np.array([[a, b, [[0, 3, 0]] * 3]]).swapaxes(1, 2)
    found = overlap.overlap_scores(counts, np.arange(3), NAMES, resamples=50)
    values = {name: scores.values.tolist() for name, scores in found.items()}
    assert values == {
        "dsc/a": [180 / 230],
        "dsc/b": [60 / 70],
        "dsc": [pytest.approx((180 / 230 + 60 / 70) / 2)],
        "image_dsc/a": [0.45],
        "image_dsc/b": [60 / 70],
        "image_dsc": [pytest.approx((0.45 + 60 / 70) / 2)],
    }
    assert (found["dsc/b"].score.n, found["image_dsc/b"].score.n) == (3, 1)


def slow_scores(counts, names=NAMES):
    """Scores of one decoder, image by image; NaN for what these images do not define."""
    found = {}
    for c, name in enumerate(names):
        hits, false, missed = counts[:, c].T
        has = hits + missed > 0
        each = [2 * h / (2 * h + f + m) for h, f, m in counts[has, c]]
        whole = 2 * hits.sum() + false.sum() + missed.sum()
        found[f"dsc/{name}"] = 2 * hits.sum() / whole if has.any() else np.nan
        found[f"image_dsc/{name}"] = np.mean(each) if has.any() else np.nan
    for kind in ("dsc", "image_dsc"):
        found[kind] = np.nanmean([found[f"{kind}/{name}"] for name in names])
    return found


def slow_bootstrap(score, values, patients, resamples, seed):
    """Mean scores over decoders, one resample after the other."""
    rng, names, drawn = np.random.default_rng(seed), np.unique(patients), []
    for _ in range(resamples):
        picked = names[rng.integers(0, len(names), len(names))]
        rows = np.concatenate([np.flatnonzero(patients == name) for name in picked])
        heads = [score(head[rows]) for head in values]
        drawn.append({name: np.mean([head[name] for head in heads]) for name in heads[0]})
    return drawn


def require_equal(found, slow, drawn):
    assert set(found) == set(slow[0])
    for name, scores in found.items():
        assert scores.values == pytest.approx([head[name] for head in slow])
        resampled = [resample[name] for resample in drawn]
        expected = (
            np.mean([head[name] for head in slow]),
            *np.nanpercentile(resampled, [2.5, 97.5]),
        )
        score = scores.score
        assert (score.value, score.low, score.high) == pytest.approx(expected)
        assert score.mean == pytest.approx(np.nanmean(resampled))


def test_overlap_scores_equal_a_slow_bootstrap_of_whole_patients(monkeypatch):
    monkeypatch.setattr(bootstrap, "BLOCK", 40)
    counts, patients = task(items=13, patients=5)
    # Structure c in one image: many resamples do not have it.
    counts[:, 1:, 2, 0] = counts[:, 1:, 2, 2] = 0
    counts[:, 0, 2] = [30, 5, 10]
    found = overlap.overlap_scores(counts, patients, NAMES, resamples=130)
    drawn = slow_bootstrap(slow_scores, counts, patients, 130, 42)
    assert np.isnan([resample["dsc/c"] for resample in drawn]).any()
    require_equal(found, [slow_scores(head) for head in counts], drawn)
    assert found["dsc"].score.n == 13
    assert found["dsc"].score.groups == len(set(patients))


def slow_distances(distances):
    return {f"hd95/{name}": np.nanmean(distances[:, c]) for c, name in enumerate(NAMES)}


def test_distance_scores_equal_a_slow_bootstrap_of_whole_patients():
    rng = np.random.default_rng(3)
    distances = rng.gamma(2, 2, (2, 40, 3))
    distances[rng.random(distances.shape) < 0.2] = np.nan
    distances[:, 7, 1] = np.nan
    patients = rng.integers(0, 12, 40)
    found = overlap.distance_scores(distances, patients, NAMES, resamples=90)
    drawn = slow_bootstrap(slow_distances, distances, patients, 90, 42)
    require_equal(found, [slow_distances(head) for head in distances], drawn)
    either = (~np.isnan(distances[:, :, 1])).any(0)
    assert found["hd95/b"].score.n == either.sum() < 40


def test_a_decoder_without_a_distance_leaves_the_mean_to_the_others():
    distances = np.array([[[1.0], [3.0]], [[np.nan], [np.nan]]])
    found = overlap.distance_scores(distances, np.arange(2), ["a"], resamples=20)["hd95/a"]
    assert found.values == pytest.approx([2, np.nan], nan_ok=True)
    assert found.score.value == 2
    assert overlap.distance_scores(distances[1:], np.arange(2), ["a"], resamples=5) == {}


def test_order_of_images_and_names_of_patients_do_not_matter():
    counts, patients = task()
    mixed = np.random.default_rng(1).permutation(len(patients))
    first = overlap.overlap_scores(counts, patients, NAMES, resamples=50)
    numbers = np.unique(patients, return_inverse=True)[1]
    second = overlap.overlap_scores(counts[:, mixed], numbers[mixed], NAMES, resamples=50)
    for name, scores in first.items():
        assert vars(second[name].score) == pytest.approx(vars(scores.score))


def test_sums_of_many_pixels_stay_exact():
    # 2**25 + 1 cannot be told from 2**25 in single precision.
    counts = np.array([[[[2**25 + 1, 0, 1]]]])
    found = overlap.overlap_scores(counts, np.zeros(1), ["a"], resamples=3)["dsc/a"]
    assert found.score.low == found.values[0] == 2 * (2**25 + 1) / (2 * (2**25 + 1) + 1)
