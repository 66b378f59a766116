import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score

from fetalclip_nb.errors import DataError
from fetalclip_nb.stats import ranking
from fetalclip_nb.stats.scores import weights


def pairs_in_order(odds, positive, repeats):
    """AUROC by looking at every pair of drawn items."""
    odds, positive = np.repeat(odds, repeats), np.repeat(positive, repeats)
    found = [1.0 * (a > b) + 0.5 * (a == b) for a in odds[positive] for b in odds[~positive]]
    return np.mean(found) if found else np.nan


def tied_task(heads=3, items=17, patients=6, seed=0):
    """Whole-number logits, so that many pairs are tied."""
    rng = np.random.default_rng(seed)
    labels = np.arange(items) % 2
    logits = rng.integers(-2, 3, (heads, items, 2)) + np.eye(2)[labels]
    return logits, labels, rng.integers(0, patients, items)


def test_ties_count_half_in_values_and_resamples():
    logits, labels, owner = tied_task()
    owner = np.unique(owner, return_inverse=True)[1]
    (drawn,) = weights(owner.max() + 1, resamples=25)
    values, resampled = ranking.auroc(logits, labels, owner)
    odds = logits[..., 1] - logits[..., 0]
    whole = [pairs_in_order(head, labels == 1, np.ones(17, int)) for head in odds]
    assert values == pytest.approx(whole)
    for row, found in zip(drawn.astype(int), resampled(drawn), strict=True):
        slow = [pairs_in_order(head, labels == 1, row[owner]) for head in odds]
        assert found == pytest.approx(np.mean(slow))


def test_resamples_without_a_class_have_no_auroc_and_do_not_spoil_the_interval():
    # Patient 0 has the only positive items: a resample without patient 0 says nothing.
    logits, labels = tied_task(items=8)[0], np.array([1, 1, 0, 0, 0, 0, 0, 0])
    owner = np.array([0, 0, 1, 1, 2, 2, 2, 3])
    drawn = np.array([[1, 1, 1, 1], [0, 2, 1, 1], [4, 0, 0, 0], [2, 1, 1, 0]])
    _, resampled = ranking.auroc(logits, labels, owner)
    assert np.isnan(resampled(drawn)).tolist() == [False, True, True, False]


def test_every_patient_once_gives_the_mean_over_heads_however_the_rows_are_cut(monkeypatch):
    monkeypatch.setattr(ranking, "_ROWS", 4)
    logits, labels, owner = tied_task(heads=5, items=41, patients=9)
    owner = np.unique(owner, return_inverse=True)[1]
    values, resampled = ranking.auroc(logits, labels, owner)
    assert resampled(np.ones((1, owner.max() + 1))) == pytest.approx([values.mean()])


def test_log_odds_rank_as_probabilities_and_do_not_saturate():
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    share = np.exp(3) / np.exp([1, 2, 3]).sum()
    expected = [np.log(share / (1 - share)), np.log(0.5)]
    assert ranking.log_odds(logits, 2) == pytest.approx(expected)
    steep = ranking.log_odds(np.array([[0, 90.0], [0, 91.0]], dtype=np.float32), 1)
    assert steep[1] > steep[0]


def test_roc_points_of_one_head_by_hand():
    # Falling order of scores: right, wrong, right, wrong.
    logits = np.array([[[0, 4.0], [0, 3.0], [0, 2.0], [0, 1.0]]])
    points = ranking.roc_points(logits, np.array([1, 0, 1, 0])).set_index("false_positive_rate")
    assert points.loc[0.0, "true_positive_rate"] == 0.5
    assert points.loc[0.5, "true_positive_rate"] == 1.0
    assert points["low"].tolist() == points["high"].tolist()


def test_area_under_the_mean_curve_is_the_mean_area():
    rng = np.random.default_rng(3)
    labels = np.repeat([0, 1], 200)
    logits = rng.normal(size=(6, 400, 2)) + np.eye(2)[labels]
    points = ranking.roc_points(logits, labels)
    areas = [roc_auc_score(labels, head[:, 1] - head[:, 0]) for head in logits]
    found = auc(points["false_positive_rate"], points["true_positive_rate"])
    assert found == pytest.approx(np.mean(areas), abs=0.003)
    assert points["true_positive_rate"].between(points["low"], points["high"]).all()
    assert (points["high"] > points["low"]).any()
    assert points["true_positive_rate"].is_monotonic_increasing


def test_roc_of_one_class_or_of_three_is_refused():
    with pytest.raises(DataError, match=r"labels \[1\]"):
        ranking.roc_points(np.zeros((1, 2, 2)), np.array([1, 1]))
    with pytest.raises(DataError, match="3 columns"):
        ranking.roc_points(np.zeros((1, 2, 3)), np.array([0, 1]))
