"""Scores at home and abroad: by hand, and against drawing patients one by one."""

import numpy as np
import pytest

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.stats.answers import answer_table
from fetalclip_nb.stats.transfer import transfer


def answers(patients, true, *predicted):
    names = [f"i{i}" for i in range(len(true))]
    chosen = np.array([list(run) for run in predicted])
    return answer_table(names, list(patients), true=list(true), predicted=chosen)


def test_by_hand():
    # o is no plane abroad: its item is left out at home, and to answer o is wrong everywhere.
    home = answers("pqrst", "aabbo", "aabba", "aobbo")
    found = transfer(home, answers("uvwx", "aabb", "aoba"), resamples=50)
    # Home: all right; then a: 1 of 2 found, no false one, F1 2/3; b: 1. Abroad: a: 1 hit of 2 and
    # one false, F1 1/2; b: 1 hit of 2, F1 2/3.
    f1, recall = found["f1_macro"], found["accuracy_macro"]
    assert f1.home.value == pytest.approx((1 + (2 / 3 + 1) / 2) / 2)
    assert f1.abroad.value == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert f1.change.value == pytest.approx(f1.abroad.value - f1.home.value)
    assert (recall.home.value, recall.abroad.value) == pytest.approx((0.875, 0.5))
    assert (f1.home.n, f1.home.groups, f1.abroad.n, f1.change.groups) == (4, 4, 4, 8)


def test_planes_that_only_one_cohort_has_are_left_out():
    here, there = answers("pqrs", "aabc", "aabb"), answers("uvw", "abd", "abd")
    found = transfer(here, there, resamples=20)["f1_macro"]
    assert (found.home.n, found.abroad.n, found.home.value) == (3, 2, 1)
    with pytest.raises(ShapeError, match="share no class.*Expected: a, b, c. Found: x"):
        transfer(here, answers("u", "x", "a"))


def test_the_interval_is_that_of_two_cohorts_drawn_apart():
    rng = np.random.default_rng(3)
    true = rng.choice(list("abc"), 90)
    patients = [f"p{i:02d}" for i in rng.integers(30, size=90)]
    chosen = np.where(rng.random(90) < 0.7, true, rng.choice(list("abc"), 90))
    table = answers(patients, true, chosen)
    found = transfer(table, table)["f1_macro"]
    assert found.home == found.abroad and found.change.value == 0

    def f1(rows):
        parts = [
            2 * ((true[rows] == c) & (chosen[rows] == c)).sum()
            / ((true[rows] == c).sum() + (chosen[rows] == c).sum())
            for c in "abc"
        ]  # fmt: skip
        return np.mean(parts)

    of = [np.flatnonzero(np.array(patients) == name) for name in sorted(set(patients))]
    drawn = [
        f1(np.concatenate([of[i] for i in rng.integers(len(of), size=len(of))]))
        for _ in range(2000)
    ]
    apart = np.array(drawn[:1000]) - drawn[1000:]
    low, high = np.percentile(apart, [2.5, 97.5])
    # The same draws in both cohorts would give 0 to 0.
    assert (found.change.low, found.change.high) == pytest.approx((low, high), abs=0.03)
