import itertools

import numpy as np
import pytest

from fetalclip_nb.stats import scores
from fetalclip_nb.stats.classification import choice_scores, choice_sums
from fetalclip_nb.stats.differences import exchanges, holm, paired, sign_flip


def mean(sums):
    return {"mean": sums[..., 0] / sums[..., 1]}


def table(values):
    """One image a patient."""
    return np.stack([values, np.ones(len(values))], axis=-1)[:, None].astype(float)


def macro_f1(labels, predicted, classes):
    found = []
    for c in range(classes):
        hits = ((labels == c) & (predicted == c)).sum()
        found.append(2 * hits / max((labels == c).sum() + (predicted == c).sum(), 1))
    return np.mean(found)


def test_a_difference_its_interval_and_its_probability_by_hand():
    ours, others = np.array([1.0, 1, 1, 1, 0]), np.array([0.0, 0, 0, 1, 0])
    found = paired(mean, [table(ours)], [table(others)])["mean"]
    assert found.value == pytest.approx(0.6)
    # Three patients differ, all in one direction: 2 of 2**3 patterns are as far apart.
    assert found.p == 2 / 8 == sign_flip(ours - others)
    assert (found.groups, found.differing) == (5, 3)
    drawn = [d.mean() for d in (ours - others)[[*itertools.product(range(5), repeat=5)]]]
    assert found.error == pytest.approx(np.std(drawn), rel=0.03)
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
    assert np.isnan(found.smallest())


def test_macro_f1_of_exchanged_patients_equals_scoring_the_exchanged_answers():
    rng = np.random.default_rng(0)
    labels, owner = rng.integers(0, 3, 40), np.repeat(np.arange(8), 5)
    ours, others = rng.integers(0, 3, (2, 40)), rng.integers(0, 3, (1, 40))

    def sums(predicted):
        return choice_sums(predicted[..., None], labels, owner, 3, guesses=1)

    def statistic(true, choices):
        return choice_scores(true, choices, "abc", [0, 1, 2])

    found = paired(statistic, sums(ours), sums(others))["f1_macro"]
    each = []
    for kept in itertools.product([True, False], repeat=8):
        mask = np.array(kept)[owner]
        pair = [
            macro_f1(labels, np.where(mask, a, b), 3) - macro_f1(labels, np.where(mask, b, a), 3)
            for a, b in zip(ours, [others[0]] * 2, strict=True)
        ]
        each.append(np.mean(pair))
    assert found.value == pytest.approx(each[0])
    assert found.p == np.mean(np.abs(each) >= abs(each[0]) - 1e-9)
    other_way = paired(statistic, sums(others), sums(ours))["f1_macro"]
    assert (other_way.value, other_way.p) == (pytest.approx(-found.value), found.p)
    assert (other_way.low, other_way.high) == pytest.approx((-found.high, -found.low))


def test_many_patients_are_exchanged_at_random_and_equal_rows_are_undecided():
    rng = np.random.default_rng(1)
    values = rng.normal(size=60)
    same = paired(mean, [table(values)], [table(values)], resamples=500)["mean"]
    assert (same.value, same.p, same.differing, same.error) == (0, 1, 0, 0)
    assert np.isnan(same.smallest())
    apart = paired(mean, [table(values + 1)], [table(values)], resamples=500)["mean"]
    assert apart.p == 1 / 501 == sign_flip(np.ones(60), resamples=500)
    noisy = paired(mean, [table(values)], [table(rng.normal(size=60))], resamples=4000)["mean"]
    assert noisy.smallest() == pytest.approx(2.802 * noisy.error, rel=1e-3)
    assert noisy.smallest(10) > 1.2 * noisy.smallest()


def test_exchanges_are_all_patterns_once_or_as_many_as_asked_for(monkeypatch):
    (all_,) = exchanges(3)
    assert sorted(map(tuple, all_)) == sorted(itertools.product([0, 1], repeat=3))
    drawn = np.concatenate([*exchanges(20, resamples=120)])
    assert drawn.shape == (120, 20)
    assert set(drawn.ravel()) == {0, 1}
    monkeypatch.setattr(scores, "BLOCK", 7)
    assert (np.concatenate([*exchanges(20, resamples=120)]) == drawn).all()


def test_sign_flip_of_ten_patients_is_exact():
    values = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, -5, 3])
    signs = np.array([*itertools.product([1, -1], repeat=10)])
    assert sign_flip(values) == np.mean(np.abs(signs @ values) >= abs(values.sum()))
    assert sign_flip(np.ones(10)) == 2 / 1024


def test_holm_corrects_the_smallest_first_and_never_falls():
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    corrected = holm([0.01, np.nan, 0.03])
    assert corrected[[0, 2]] == pytest.approx([0.02, 0.03])
    assert np.isnan(corrected[1])
    assert holm([]).size == 0
