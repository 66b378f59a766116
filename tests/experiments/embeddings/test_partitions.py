import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.metrics.cluster import contingency_matrix

from fetalclip_nb.experiments.embeddings import partitions
from fetalclip_nb.experiments.embeddings.partitions import adjusted_rand, agreement
from fetalclip_nb.stats.scores import weights


def clouds(seed, n=80, kinds=4):
    """Overlapping clouds in a row, in which starts end in different partitions."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % kinds
    vectors = rng.normal(size=(n, 2)) + np.stack([1.5 * labels, 0 * labels], axis=1)
    return vectors.astype(np.float32), labels, np.arange(n) // 8


def test_the_tightest_clusters_are_scored_and_the_luck_of_starts_is_told(monkeypatch):
    vectors, labels, owner = clouds(0)
    monkeypatch.setattr(partitions, "RESAMPLES", 20)
    found = agreement(vectors, labels, owner, seed=0)
    best = KMeans(4, n_init=300, random_state=1).fit(vectors)
    assert found["ari"].value == pytest.approx(adjusted_rand_score(labels, best.labels_))
    # One start at a time: the range is that of single starts.
    monkeypatch.setattr(partitions, "BEST_OF", 1)
    single = agreement(vectors, labels, owner, seed=0)["ari/starts"]
    fits = [KMeans(4, n_init=1, random_state=start).fit(vectors).labels_ for start in range(300)]
    indices = [adjusted_rand_score(labels, fit) for fit in fits]
    assert single.low == pytest.approx(np.percentile(indices, 2.5), abs=0.02)
    assert single.high == pytest.approx(np.percentile(indices, 97.5), abs=0.02)
    many = found["ari/starts"]
    assert many.high - many.low < single.high - single.low


def test_clusters_are_fitted_anew_to_each_resample(monkeypatch):
    vectors, labels, owner = clouds(1)
    monkeypatch.setattr(partitions, "RESAMPLES", 12)
    found = agreement(vectors, labels, owner, seed=0)["ari"]
    start = KMeans(4, n_init=300, random_state=2).fit(vectors).cluster_centers_
    drawn = []
    for times in next(weights(10, resamples=12)):
        rows = np.repeat(np.arange(80), times[owner].astype(int))
        fit = KMeans(4, init=start, n_init=1).fit(vectors[rows])
        drawn.append(adjusted_rand_score(labels[rows], fit.labels_))
    assert found.mean == pytest.approx(np.mean(drawn), abs=0.01)
    assert (found.low, found.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.02)
    assert (found.n, found.groups, found.unit) == (80, 10, "")


def test_adjusted_rand_equals_the_librarys_also_for_many_tables():
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 3, 50), rng.integers(0, 3, 50)) for _ in range(5)]
    pairs.append((pairs[0][0], (pairs[0][0] + 1) % 3))
    tables = np.stack([contingency_matrix(*pair) for pair in pairs])
    expected = [adjusted_rand_score(*pair) for pair in pairs]
    assert adjusted_rand(tables) == pytest.approx(expected) and expected[-1] == 1
    assert adjusted_rand(np.array([[4.0]])) == 1
