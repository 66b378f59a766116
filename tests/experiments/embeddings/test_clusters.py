from functools import partial

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.experiments.embeddings import clusters
from fetalclip_nb.experiments.embeddings.clusters import (
    cluster_scores,
    gap_scores,
    strays,
)
from fetalclip_nb.experiments.embeddings.neighbours import (
    expected_purity,
    knn_purity,
    neighbours,
    permuted_excess,
)
from fetalclip_nb.stats import patients as by_patient
from fetalclip_nb.stats.scores import weights


@pytest.fixture(autouse=True)
def forty_resamples(monkeypatch):
    """Ten thousand take their time."""
    for name in ("patient_scores", "patient_means"):
        monkeypatch.setattr(clusters, name, partial(getattr(by_patient, name), resamples=40))


def groups(distance, n=60, seed=0):
    """Three groups of images at the corners of a triangle; patients have images of each."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["x", "y", "z"], n // 3)
    corners = {"x": (0, 0), "y": (distance, 0), "z": (0, distance)}
    vectors = np.array([corners[label] for label in labels]) + rng.normal(size=(n, 2))
    return vectors, labels, rng.choice(list("abcdefghij"), n)


def test_values_are_those_of_the_definitions():
    vectors, labels, patients = groups(3)
    found = cluster_scores(vectors, labels, patients, k=5, seed=3)
    pure, chance = (
        knn_purity(neighbours(vectors, patients, 5), labels),
        expected_purity(labels, patients),
    )
    assert found["purity"].value == pytest.approx(pure.mean())
    assert found["purity_chance"].value == pytest.approx(chance.mean())
    lifted = (pure.mean() - chance.mean()) / (1 - chance.mean())
    assert found["excess"].value == pytest.approx(lifted)
    assert found["silhouette"].value == pytest.approx(silhouette_score(vectors, labels), abs=1e-6)
    hard = groups(1)[0]
    clustered = KMeans(3, n_init=100, random_state=3).fit_predict(hard.astype(np.float32))
    ari = cluster_scores(hard, labels, patients, seed=3)["ari"].value
    assert ari == pytest.approx(adjusted_rand_score(labels, clustered))
    starts = found.pop("ari/starts")
    assert starts.low == starts.value == starts.high == found["ari"].value  # clouds far apart
    for score in found.values():
        assert (score.n, score.groups) == (60, 10) and score.low < score.value < score.high
    shares = {name for name, score in found.items() if score.unit == "%"}
    assert shares == {"purity", "purity_chance"} and found["ari"].unit == ""


def test_intervals_are_those_of_repeated_images():
    vectors, labels, patients = groups(3)
    found = cluster_scores(vectors, labels, patients, k=5)
    pure, names = knn_purity(neighbours(vectors, patients, 5), labels), np.unique(patients)
    means = [
        np.repeat(pure, [dict(zip(names, row, strict=True))[p] for p in patients]).mean()
        for row in np.concatenate([*weights(names.size, resamples=40)])
    ]
    assert found["purity"].mean == pytest.approx(np.mean(means))
    assert found["purity"].low == pytest.approx(np.percentile(means, 2.5))
    assert found["purity"].high == pytest.approx(np.percentile(means, 97.5))


def test_within_groups_tells_the_machine_from_the_plane():
    """Each plane is scanned with one of two machines mostly, and looks the same in both."""
    vectors, planes, patients = groups(50, n=240)
    rng = np.random.default_rng(2)
    usual = np.where(planes == "x", "M", "N")
    machines = np.where(rng.random(240) < 0.9, usual, np.where(usual == "M", "N", "M"))
    found = cluster_scores(vectors, machines, patients, within=planes)
    assert found["excess"].low > 0.4
    assert found["excess_within"].low < 0 < found["excess_within"].high
    assert found["purity_within_chance"].value > found["purity_chance"].value + 0.2
    vectors[:, 0] += 5 * (machines == "M")
    permuted = found["excess_within/permuted"]
    assert permuted.low < found["excess_within"].value < permuted.high < 0.2
    told = cluster_scores(vectors, machines, patients, within=planes)
    assert told["excess_within"].low > 0.4 > told["excess_within/permuted"].high


def test_the_permuted_range_is_that_of_permuted_excesses():
    vectors, labels, patients = groups(3)
    planes = np.tile(["p", "q"], 30)
    options = {"within": planes, "metric": "cosine"}
    found = cluster_scores(vectors, labels, patients, k=4, seed=6, **options)
    near = neighbours(vectors, patients, 4, **options)
    drawn = permuted_excess(near, labels, patients, within=planes, seed=6)
    range_ = found["excess_within/permuted"]
    assert (range_.low, range_.high) == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
    assert range_.value == pytest.approx(np.median(drawn))
    assert (range_.n, range_.groups) == (60, 10)


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_told_is_absent():
    vectors, labels, patients = groups(3)
    one_each = cluster_scores(vectors, labels, patients, within=labels)
    assert one_each["purity_within"].value == one_each["purity_within_chance"].value == 1
    alone = cluster_scores(vectors, labels, patients, within=patients)
    for found in (one_each, alone):
        assert not any(name.startswith("excess_within") for name in found)
        assert {"purity", "excess", "silhouette"} <= set(found) and "ari" not in found
    assert "purity_within" not in alone


def test_images_without_a_neighbour_in_their_group_are_counted_out():
    vectors, labels, patients = groups(3)
    lone = np.where(np.arange(60) == 7, "alone", "together")
    found = cluster_scores(vectors, labels, patients, k=5, within=lone)
    for name in ("purity_within", "purity_within_chance", "excess_within"):
        assert found[name].n == 59
    kept = np.arange(60) != 7
    pure = knn_purity(neighbours(vectors, patients, 5, within=lone), labels)[kept]
    chance = expected_purity(labels, patients, within=lone)[kept]
    assert found["purity_within"].value == pytest.approx(pure.mean())
    assert found["purity_within_chance"].value == pytest.approx(chance.mean())
    assert found["purity"].n == 60


def test_cosine_looks_at_directions_only():
    _, labels, patients = groups(0)
    angle = {"x": 0.0, "y": 2.0, "z": 4.0}
    turned = np.array([[np.cos(angle[label]), np.sin(angle[label])] for label in labels])
    lengths = np.random.default_rng(0).uniform(0.01, 100, (60, 1))
    found = cluster_scores(turned * lengths, labels, patients, metric="cosine")
    assert found["purity"].value == found["ari"].value == 1
    assert found["silhouette"].value == pytest.approx(1, abs=1e-3)
    plain = cluster_scores(turned * lengths, labels, patients)
    assert max(plain[name].value for name in ("purity", "ari", "silhouette")) < 0.9


def test_gap_by_hand_and_against_chance():
    vectors = np.array([[0.0], [1.0], [10.0], [11.0]])
    ages, patients = np.array([100, 104, 150, 160]), np.array(["a", "b", "c", "d"])
    found = gap_scores(vectors, ages, patients, k=1, unit="days")
    assert {score.unit for score in found.values()} == {"days"}
    assert found["gap"].value == pytest.approx((4 + 4 + 10 + 10) / 4)
    every = [4, 50, 60, 4, 46, 56, 50, 46, 10, 60, 56, 10]
    assert found["gap_chance"].value == pytest.approx(np.mean(every))
    assert found["gap"].low >= 4 and found["gap"].high <= 10
    # Of the same patient only the other two count.
    paired = gap_scores(vectors, ages, np.array(["a", "a", "c", "c"]), k=3)
    assert paired["gap"].value == paired["gap_chance"].value == pytest.approx(53)


def test_strays_are_the_images_among_another_label():
    vectors, labels, patients = groups(50)
    labels[[3, 41]] = "y"  # they lie among x and z
    patients[[3, 41]] = "k"
    found = strays(vectors, labels, patients, metric="euclidean").head(2)
    assert set(found["row"]) == {3, 41} and (found["label"] == "y").all()
    assert (found["silhouette"] < -0.8).all() and found["silhouette"].is_monotonic_increasing
    assert dict(zip(found["row"], found["nearest_label"], strict=True)) == {3: "x", 41: "z"}
    assert (patients[found["nearest"]] != "k").all()


def test_wrong_input_is_refused():
    vectors, labels, patients = groups(3)
    with pytest.raises(DataError, match="at least two labels.*1 labels of 60"):
        cluster_scores(vectors, np.full(60, "x"), patients)
    with pytest.raises(DataError, match="60 labels of 60"):
        cluster_scores(vectors, np.arange(60), patients)
    with pytest.raises(DataError, match="at least two patients.*60 of one"):
        cluster_scores(vectors, labels, np.full(60, "a"))
    for k in (0, 60):
        with pytest.raises(ParameterError, match="neighbours.*1 to 59"):
            cluster_scores(vectors, labels, patients, k=k)
    with pytest.raises(ParameterError, match="Unknown distance.*euclidean, cosine.*manhattan"):
        cluster_scores(vectors, labels, patients, metric="manhattan")
