import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from fetalclip_nb.experiments.linear_probing import rivals
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRows
from fetalclip_nb.experiments.linear_probing.rivals import logistic_regression, nearest_neighbours

FITS = (logistic_regression, nearest_neighbours)


def rows(train, validation):
    return ProbeRows(np.asarray(train), np.asarray(validation), (0,))


def clouds(n=240, width=8, classes=3, spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % classes
    centres = 3 * np.eye(classes, width)
    features = centres[targets] + spread * rng.normal(size=(n, width))
    return features.astype(np.float32), targets


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_regression_equals_scikit_learn_at_each_penalty(classes):
    features, targets = clouds(spread=4.0, classes=classes)
    features = 5 * features + 3  # scaling and bias must be undone rightly
    data = rows(range(150), range(150, 240))
    probe = logistic_regression(features, targets, data, classes)
    scaler = StandardScaler().fit(features[data.train])
    expected, logits = {}, {}
    for penalty in rivals.PENALTIES:
        alone = LogisticRegression(C=1 / (150 * penalty), tol=1e-6, max_iter=5000)
        alone.fit(scaler.transform(features[data.train]), targets[data.train])
        found = alone.predict_log_proba(scaler.transform(features[data.validation]))
        logits[penalty] = found
        expected[penalty] = -found[np.arange(90), targets[data.validation]].mean()
    assert probe.losses == pytest.approx(expected, abs=1e-3)
    assert probe.penalty == min(expected, key=expected.get)
    assert probe.logits(features[data.validation]) == pytest.approx(logits[probe.penalty], abs=1e-2)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_that_lie_far_apart_have_finite_logits(classes):
    features, targets = clouds(classes=classes, spread=1e-3)
    data = rows(range(150), range(150, 240))
    found = logistic_regression(features, targets, data, classes).logits(1e4 * features)
    assert np.isfinite(found).all() and found.min() < -800


def test_penalty_is_the_weight_decay_of_the_mean_loss(monkeypatch):
    monkeypatch.setattr(rivals, "PENALTIES", [0.5])
    # One feature, +1 or -1, right in 3 of 4 rows; difference w of the two classes' weights:
    # d/dw of mean log(1 + exp(-+w)) + penalty / 2 w^2 must be 0.
    features = np.array([1, 1, 1, -1, -1, -1, -1, 1], np.float32)[:, None]
    targets = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    data = rows(range(8), range(8))
    probe = logistic_regression(features, targets, data, 2)
    w = (
        np.diff(probe.logits(np.ones((1, 1), np.float32)))[0, 0]
        - np.diff(probe.logits(np.zeros((1, 1), np.float32)))[0, 0]
    )
    slope = -0.75 / (1 + np.exp(w)) + 0.25 / (1 + np.exp(-w)) + 0.5 * w
    assert slope == pytest.approx(0, abs=1e-3)
    assert w > 0.1


@pytest.mark.parametrize(("true_labels", "weakest"), [(True, True), (False, False)])
def test_penalty_is_chosen_on_validation(true_labels, weakest):
    # On the training rows the weakest penalty has the lowest loss in either case.
    features, targets = clouds(spread=0.3)
    targets = targets.copy()
    if not true_labels:
        targets[100:] = np.random.default_rng(0).permutation(targets[100:])
    data = rows(range(100), range(100, 240))
    probe = logistic_regression(features, targets, data, 3)
    assert (probe.penalty == min(rivals.PENALTIES)) == weakest
    assert (probe.penalty == max(rivals.PENALTIES)) == (not weakest)


def test_neighbours_by_hand(monkeypatch):
    # Angles in degrees; lengths must not matter. Voters near 0 degrees: class 1 at 1, class 0
    # at -2 and 3, class 2 at 60.
    angles = np.radians([1, -2, 3, 60, 0])
    lengths = np.array([1, 50, 0.1, 2, 7])
    features = (lengths * np.stack([np.cos(angles), np.sin(angles)])).T.astype(np.float32)
    targets = np.array([1, 0, 0, 2, 0])
    data = rows(range(4), [4])
    monkeypatch.setattr(rivals, "NEIGHBOURS", [1])
    nearest = nearest_neighbours(features, targets, data, 4)
    assert nearest.logits(features[4:])[0] == pytest.approx(
        [np.log(1e-6), 0, np.log(1e-6), -1e4], abs=1e-4
    )
    monkeypatch.setattr(rivals, "NEIGHBOURS", [1, 3])
    both = nearest_neighbours(features, targets, data, 4)
    assert np.exp(both.logits(features[4:])[0, :3]) == pytest.approx([2 / 3, 1 / 3, 0], abs=1e-4)
    assert (both.neighbours, both.scores) == (3, {1: 0.0, 3: 1.0})


def test_equal_votes_go_to_the_more_similar_class(monkeypatch):
    monkeypatch.setattr(rivals, "NEIGHBOURS", [2])
    features = np.array([[1, 0.3], [1, 0.2], [1, 0]], np.float32)
    for targets in ([0, 1, 0], [1, 0, 0]):
        probe = nearest_neighbours(features, np.array(targets), rows([0, 1], [2]), 2)
        assert probe.logits(features[2:]).argmax(1) == [targets[1]]


def test_neighbours_are_chosen_on_validation_and_the_smallest_of_equals():
    # One training label in five is wrong: on the training rows one neighbour (the row
    # itself) is perfect, on others it is not.
    features, targets = clouds(n=400, spread=0.5)
    noisy = targets.copy()
    noisy[:200:5] = (noisy[:200:5] + 1) % 3
    data = rows(range(200), range(200, 300))
    probe = nearest_neighbours(features, noisy, data, 3)
    slow = {}
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for k in rivals.NEIGHBOURS:
        guesses = []
        for vector in unit[200:300]:
            similarity = unit[:200] @ vector
            votes = np.zeros(3)
            for row in np.argsort(-similarity)[:k]:
                votes[noisy[row]] += 1 + 1e-5 * similarity[row]
            guesses.append(votes.argmax())
        slow[k] = f1_score(noisy[200:300], guesses, average="macro")
    assert probe.scores == pytest.approx(slow)
    assert slow[1] < max(slow.values())
    assert sum(score == max(slow.values()) for score in slow.values()) > 1
    assert probe.neighbours == max(slow, key=slow.get)
    alone = rows(range(200), range(200))
    assert nearest_neighbours(features, noisy, alone, 3).neighbours == 1


def test_more_neighbours_than_rows_are_all_rows():
    features, targets = clouds()
    probe = nearest_neighbours(features, targets, rows(range(7), range(7, 60)), 3)
    assert list(probe.scores) == [1, 3, 5, 7]


@pytest.mark.parametrize("fit", FITS)
def test_class_without_training_row_is_very_unlikely_but_finite(fit):
    features, targets = clouds(classes=4)
    known = np.flatnonzero(targets[:120] != 1)
    probe = fit(features, targets, rows(known, range(120, 160)), 4)
    logits = probe.logits(features[160:])
    assert np.isfinite(logits).all()
    assert (logits[:, 1] < -9000).all()
    assert (logits[:, [0, 2, 3]] > -100).all()
    assert softmax(logits, 1)[:, 1].max() == 0
