import numpy as np
import pytest

from fetalclip_nb.experiments.embeddings import neighbours


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


@pytest.mark.parametrize("metric", neighbours.METRICS)
@pytest.mark.parametrize("grouped", [False, True])
def test_neighbours_equal_a_search_one_by_one(metric, grouped, monkeypatch):
    monkeypatch.setattr(neighbours, "_MEMORY_MIB", 0.002)  # several chunks
    vectors, _, patients, machines = images()
    vectors *= np.linspace(1, 5, len(vectors))[:, None].astype(np.float32)  # lengths matter
    within = machines if grouped else None
    found = neighbours.neighbours(vectors, patients, 17, within=within, metric=metric)
    assert (found == slow_neighbours(vectors, patients, 17, within, metric)).all()
    assert (found == -1).any() == grouped


def test_purity_by_hand():
    vectors = np.array([[0.0], [1.0], [2.0], [10.0]])
    labels, patients = np.array(["x", "x", "y", "y"]), np.array(["a", "b", "c", "c"])

    def purity(k, groups=None):
        near = neighbours.neighbours(vectors, patients, k, within=groups)
        return neighbours.knn_purity(near, labels).tolist()

    # Of 0: 1 and 2; of 1: 0 and 2; of 2 and 10, whose patient is the same: 1 and 0.
    assert purity(2) == [0.5, 0.5, 0, 0]
    assert purity(1) == [1, 1, 0, 0]
    alone = purity(1, np.array(["p", "p", "p", "q"]))
    assert alone[:3] == [1, 1, 0] and np.isnan(alone[3])


@pytest.mark.parametrize("grouped", [False, True])
def test_expected_purity_is_that_of_all_possible_neighbours(grouped):
    vectors, labels, patients, machines = images()
    within = machines if grouped else None
    # With as many neighbours as there are, nearness no longer matters.
    every = neighbours.knn_purity(
        neighbours.neighbours(vectors, patients, 39, within=within), labels
    )
    assert neighbours.expected_purity(labels, patients, within=within) == pytest.approx(every)


def test_patients_exchange_all_their_labels():
    owner = np.array([2, 0, 1, 0, 2, 2, 0])  # 3, 1 and 3 images
    assert neighbours.exchanged(owner, np.arange(3)).tolist() == list(range(7))
    # 0 and 2 have equally many; their labels change places in their order.
    assert neighbours.exchanged(owner, np.array([2, 1, 0])).tolist() == [1, 0, 2, 4, 3, 6, 5]
    # The one image of 1 labels all of 2, and the first of 2 that of 1.
    assert neighbours.exchanged(owner, np.array([0, 2, 1])).tolist() == [2, 1, 0, 3, 2, 2, 6]
    # Of four labels two are taken, and two become four, without a change of their order.
    pair = neighbours.exchanged(np.array([0, 0, 1, 1, 1, 1]), np.array([1, 0]))
    assert pair.tolist() == [2, 4, 0, 0, 1, 1]
    rng = np.random.default_rng(0)
    owner = neighbours.codes(rng.choice(30, 200))
    donors = rng.permutation(owner.max() + 1)
    assert (owner[neighbours.exchanged(owner, donors)] == donors[owner]).all()


def test_permuted_excess_is_that_of_each_exchange(monkeypatch):
    monkeypatch.setattr(neighbours, "PERMUTATIONS", 3)
    vectors, labels, patients, machines = images()
    owner, rng = neighbours.codes(patients), np.random.default_rng(4)
    found = neighbours.neighbours(vectors, patients, 5, within=machines)
    excess = neighbours.permuted_excess(found, labels, patients, within=machines, seed=4)
    for value in excess:
        drawn = labels[neighbours.exchanged(owner, rng.permutation(owner.max() + 1))]
        chance = neighbours.expected_purity(drawn, patients, within=machines).mean()
        assert value == pytest.approx(
            (neighbours.knn_purity(found, drawn).mean() - chance) / (1 - chance)
        )
    assert len(set(excess)) == 3


def test_a_label_that_patients_carry_by_chance_is_told_in_5_percent(monkeypatch):
    """Images of a patient lie together, and each patient has one of two machines, at random."""
    monkeypatch.setattr(neighbours, "PERMUTATIONS", 100)
    rng, beyond = np.random.default_rng(1), []
    patients, planes = np.repeat(np.arange(60), 5), np.tile(np.arange(5), 60)
    for seed in range(150):
        vectors = rng.normal(size=(60, 4))[patients] + 0.3 * rng.normal(size=(300, 4))
        machines = rng.permutation(np.arange(60) % 2)[patients]
        found = neighbours.neighbours(vectors, patients, within=planes // 3)
        options = {"within": planes // 3, "seed": seed}
        drawn = neighbours.permuted_excess(found, machines, patients, **options)
        pure = neighbours.knn_purity(found, machines).mean()
        chance = neighbours.expected_purity(machines, patients, within=planes // 3).mean()
        low, high = np.percentile(drawn, [2.5, 97.5])
        beyond.append(not low <= (pure - chance) / (1 - chance) <= high)
    assert 1 <= sum(beyond) <= 16  # 7.5 expected
