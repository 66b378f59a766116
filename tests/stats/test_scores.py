import numpy as np
import pytest

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.stats import scores


def test_weights_are_the_units_drawn_one_resample_after_the_other(monkeypatch):
    monkeypatch.setattr(scores, "BLOCK", 20)
    parts = list(scores.weights(57, resamples=45))
    assert [len(part) for part in parts] == [20, 20, 5]
    rng = np.random.default_rng(42)
    for row in np.concatenate(parts):
        assert row.tolist() == np.bincount(rng.integers(0, 57, 57), minlength=57).tolist()


def test_weights_belong_to_units_in_the_order_of_their_names_not_to_items():
    owner, units = scores.owners(np.array(["b", "a", "c", "a", "d", "b"]))
    assert (owner.tolist(), units) == ([1, 0, 2, 0, 3, 1], 4)


def test_interval_covers_the_binomial_one():
    valid = np.arange(814) < 679
    found = scores.share(valid)
    sigma = np.sqrt(found.value * (1 - found.value) / 814)
    assert found.high - found.low == pytest.approx(2 * 1.96 * sigma, rel=0.05)
    assert found.low < found.value < found.high
    assert (found.n, found.groups) == (814, 814)


def test_patients_with_equal_images_widen_the_interval():
    valid = np.repeat(np.arange(100) < 60, 5)
    patients = np.repeat(np.arange(100), 5)
    images, grouped = scores.share(valid), scores.share(valid, groups=patients)
    assert grouped.groups == 100
    assert grouped.high - grouped.low > 1.8 * (images.high - images.low)


@pytest.mark.parametrize("groups", [None, np.array([2, 0, 1, 1, 2, 0, 3])])
def test_share_and_median_by_slow_bootstrap(groups):
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0])
    found = scores.median(values, groups=groups, resamples=2000)
    above = scores.share(values > 2, groups=groups, resamples=2000)
    owner = np.arange(7) if groups is None else groups
    units, rng, medians, shares = owner.max() + 1, np.random.default_rng(42), [], []
    for _ in range(2000):
        rows = [np.flatnonzero(owner == i) for i in rng.integers(0, units, units)]
        drawn = np.sort(values[np.concatenate(rows)])
        medians.append(drawn[(len(drawn) - 1) // 2])
        shares.append((drawn > 2).mean())
    assert (found.value, above.value) == (3.0, 4 / 7)
    for score, slow in ((found, medians), (above, shares)):
        assert score.mean == pytest.approx(np.mean(slow))
        if score is above and groups is not None:
            continue  # `proportions.clustered`
        assert (score.low, score.high) == pytest.approx(tuple(np.percentile(slow, [2.5, 97.5])))


def test_no_images_are_refused():
    with pytest.raises(ShapeError, match="No images"):
        scores.share(np.array([], dtype=bool))


@pytest.mark.parametrize("shared", [0.0, 0.2])
def test_sets_of_training_patients_are_drawn_as_well(shared):
    """Six sets of two runs on ten patients; the slow way draws sets and patients by hand."""
    rng = np.random.default_rng(0)
    right = rng.random((10, 12)) < np.repeat(rng.uniform(0.2, 0.9, 6), 2)

    def statistic(weights):
        return {"share": weights @ right / weights.sum(1, keepdims=True)}

    found = scores.bootstrap(statistic, 10, 10, sets=scores.Sets(6, shared))["share"]
    of_sets = right.mean(0).reshape(6, 2).mean(1)
    assert found.of_sets == pytest.approx(of_sets)
    assert found.score.value == pytest.approx(right.mean())
    # As many new sets would differ by sqrt(6 / 5) more, of which six know with t of 5 degrees.
    # Sharing a fifth, six sets have the variance of the mean 1 + 6 * 0.2 / 0.8 times as large.
    alike = {0.0: 1.0, 0.2: 2.5}[shared]
    wider, drawn = np.sqrt(alike * 6 / 5) * 2.5706 / 1.96, []
    for _ in range(10_000):
        patients, sets = rng.integers(0, 10, 10), rng.integers(0, 6, 6)
        each = right[patients].mean(0).reshape(6, 2).mean(1)
        mean = each.mean() + wider * (each[sets].mean() - each.mean())
        drawn.append(np.clip(mean, 0, 1))
    expected = np.percentile(drawn, [2.5, 97.5])
    assert (found.score.low, found.score.high) == pytest.approx(expected, abs=0.02)
    alone = scores.bootstrap(statistic, 10, 10)["share"].score
    assert alone.high - alone.low < 0.8 * (found.score.high - found.score.low)
