import numpy as np
import pytest

from fetalclip_nb import neighbours as near
from fetalclip_nb.errors import ParameterError, ShapeError


def images(n=40, seed=0):
    """Vectors, labels, patients and machines without any order."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 5)).astype(np.float32)
    labels, patients, machines = (rng.choice(list(kinds), n) for kinds in ("xyz", "abcdefg", "MN"))
    return vectors, labels, patients, machines


def slow_neighbours(vectors, patients, k, within, metric):
    rows = []
    for i, vector in enumerate(vectors.astype(np.float64)):
        distances = []
        for j, other in enumerate(vectors.astype(np.float64)):
            if patients[j] == patients[i] or (within is not None and within[j] != within[i]):
                continue
            if metric == "cosine":
                cosine = vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)
                distances.append((1 - cosine, j))
            else:
                distances.append((np.linalg.norm(vector - other), j))
        nearest = [j for _, j in sorted(distances)[:k]]
        rows.append(nearest + [-1] * (k - len(nearest)))
    return np.array(rows)


@pytest.mark.parametrize("metric", near.METRICS)
@pytest.mark.parametrize("grouped", [False, True])
def test_neighbours_equal_a_search_one_by_one(metric, grouped, monkeypatch):
    monkeypatch.setattr(near, "_MEMORY_MIB", 0.002)  # several chunks
    vectors, _, patients, machines = images()
    vectors *= np.linspace(1, 5, len(vectors))[:, None].astype(np.float32)  # lengths matter
    within = machines if grouped else None
    found = near.neighbours(vectors, patients, 17, within=within, metric=metric)
    assert (found == slow_neighbours(vectors, patients, 17, within, metric)).all()
    assert (found == -1).any() == grouped


def test_own_images_are_no_neighbours():
    """A copy of an image that the same patient has would be the nearest, and say nothing."""
    vectors, labels, patients, _ = images()
    doubled = [np.concatenate([part, part]) for part in (vectors, labels, patients)]
    once = near.knn_purity(vectors, labels, patients, 1)
    assert (near.knn_purity(*doubled, 1)[:40] == once).all()


def test_purity_by_hand():
    vectors = np.array([[0.0], [1.0], [2.0], [10.0]])
    labels, patients = np.array(["x", "x", "y", "y"]), np.array(["a", "b", "c", "c"])
    # Of 0: 1 and 2; of 1: 0 and 2; of 2 and 10, whose patient is the same: 1 and 0.
    assert near.knn_purity(vectors, labels, patients, 2).tolist() == [0.5, 0.5, 0, 0]
    assert near.knn_purity(vectors, labels, patients, 1).tolist() == [1, 1, 0, 0]
    groups = np.array(["p", "p", "p", "q"])
    alone = near.knn_purity(vectors, labels, patients, 1, within=groups)
    assert alone[:3].tolist() == [1, 1, 0] and np.isnan(alone[3])


@pytest.mark.parametrize("grouped", [False, True])
def test_expected_purity_is_that_of_all_possible_neighbours(grouped):
    vectors, labels, patients, machines = images()
    within = machines if grouped else None
    # With as many neighbours as there are, nearness no longer matters.
    every = near.knn_purity(vectors, labels, patients, 39, within=within)
    assert near.expected_purity(labels, patients, within=within) == pytest.approx(every)


def test_wrong_input_is_refused():
    vectors, labels, patients, _ = images()
    for k in (0, 40):
        with pytest.raises(ParameterError, match="neighbours.*1 to 39 for 40 images"):
            near.neighbours(vectors, patients, k)
    with pytest.raises(ParameterError, match="Unknown distance.*euclidean, cosine.*manhattan"):
        near.knn_purity(vectors, labels, patients, metric="manhattan")
    with pytest.raises(ShapeError, match="do not fit.*length .39"):
        near.neighbours(vectors, patients[1:])
    vectors[3, 2] = np.nan
    with pytest.raises(ShapeError, match="finite"):
        near.neighbours(vectors, patients)
