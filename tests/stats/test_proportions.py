import numpy as np
import pytest
from scipy.stats import binomtest

from fetalclip_nb.stats import classification, scores
from fetalclip_nb.stats.proportions import clustered, clustered_f1


@pytest.mark.parametrize(("hits", "n"), [(234, 235), (1, 40), (20, 40)])
def test_lone_images_have_nearly_the_binomial_interval(hits, n):
    found = clustered(np.arange(n) < hits, np.arange(n))
    exact = binomtest(hits, n).proportion_ci()
    # The variance of patients has n - 1 in its denominator: one image in n counts less.
    assert found == pytest.approx((exact.low, exact.high), abs=0.01)


def test_images_of_patients_who_are_right_or_wrong_throughout_count_as_one():
    right = np.repeat(np.arange(50) < 45, 8)
    low, high = clustered(right, np.repeat(np.arange(50), 8))
    exact = binomtest(45, 50).proportion_ci()
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.015)
    apart = clustered(right, np.arange(400))
    assert high - low > 2 * (apart[1] - apart[0])


def test_where_nothing_varies_each_patient_counts_once():
    owner = np.repeat(np.arange(12), 5)
    low, high = clustered(np.full(60, True), owner)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 12)), 1.0)
    assert clustered(np.full(60, False), owner) == pytest.approx((0, 1 - low))
    assert clustered(np.array([True]), np.array([0])) == pytest.approx((0.025, 1))


def test_f1_is_mapped_from_the_share_of_hits_among_images_that_it_counts():
    true, called = np.arange(40) < 20, np.abs(np.arange(40) - 12) < 10
    hit, concerned = true & called, true | called
    low, high = clustered_f1(hit, concerned, np.arange(40))
    value = 2 * hit.sum() / (true.sum() + called.sum())
    share = hit.sum() / concerned.sum()
    assert value == pytest.approx(2 * share / (1 + share))
    ends = clustered(hit[concerned], np.arange(concerned.sum()))
    assert (low, high) == pytest.approx(tuple(2 * end / (1 + end) for end in ends))


def test_no_score_of_patients_has_an_interval_of_no_width():
    labels = np.repeat(["a", "b", "c"], 20)
    logits = np.eye(3)[np.repeat([0, 1, 2], 20)]
    patients = np.arange(60) // 2
    answers = classification.predict(logits, labels, ("a", "b", "c"), patients)
    found = classification.scores(answers, by_patient=True)
    named = ("f1_macro", "accuracy_macro", "top2_macro", "f1/a", "f1/b", "accuracy/a", "accuracy/b")
    for name in named:
        assert found[name].low < found[name].value == found[name].high == 1
    assert found["accuracy/a"].low == pytest.approx(0.025 ** (1 / 10))
    assert found["f1_macro"].low == pytest.approx(found["f1/a"].low)
    images = classification.scores(answers, by_patient=False)
    assert images["accuracy/a"].low == 1  # as published
    assert scores.share(np.full(9, True)).low == 1
