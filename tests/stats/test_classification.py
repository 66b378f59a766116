import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from fetalclip_nb.errors import DataError, ShapeError
from fetalclip_nb.stats import classification


def example(seed=0, n=200, classes=("a", "b", "c", "d")):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes[:3], n)
    logits = rng.normal(size=(n, len(classes)))
    patients = rng.integers(0, 40, n).astype(str)
    return classification.predict(logits, labels, classes, patients), logits


def test_top_k_is_the_mean_over_classes_and_equals_scikit_learn_per_class():
    predictions, logits = example()
    found = classification.scores(predictions, by_patient=False)
    for k in (2, 3):
        slow = []
        for i in predictions.present:
            rows = predictions.labels == i
            truth = predictions.labels[rows]
            slow.append(top_k_accuracy_score(truth, logits[rows], k=k, labels=range(4)))
        assert found[f"top{k}_macro"].value == pytest.approx(np.mean(slow))


def test_scores_name_every_class_with_images_and_no_other():
    predictions, _ = example()
    found = classification.scores(predictions, by_patient=True)
    assert {name for name in found if name.startswith("f1/")} == {"f1/a", "f1/b", "f1/c"}
    mean = np.mean([found[f"f1/{name}"].value for name in "abc"])
    assert found["f1_macro"].value == pytest.approx(mean)
    assert found["f1_macro"].groups == len(set(predictions.patients))


def test_perfect_predictions_score_one_with_no_width():
    logits = np.eye(3)[[0, 1, 2, 0] * 20] * 10
    found = classification.scores(
        classification.predict(logits, ["a", "b", "c", "a"] * 20, ("a", "b", "c")), by_patient=False
    )
    assert found["accuracy/a"].value == found["accuracy/a"].low == 1.0
    assert found["f1_macro"].value == 1.0


def test_labels_without_prompts_and_wrong_shapes_are_refused():
    with pytest.raises(DataError, match=r"Labels without prompts.*Found: z"):
        classification.predict(np.zeros((1, 2)), ["z"], ("a", "b"))
    with pytest.raises(ShapeError, match=r"\(1, 2\).*\(3, 2\)"):
        classification.predict(np.zeros((3, 2)), ["a"], ("a", "b"))


def test_joined_keeps_classes_apart_and_scores_them_together():
    left = classification.predict(np.eye(2) * 9, ["a", "b"], ("a", "b"))
    right = classification.predict(np.eye(2)[[1, 1]], ["c", "d"], ("c", "d"))
    both = classification.joined(left, right)
    assert both.classes == ("a", "b", "c", "d")
    found = classification.scores(both, by_patient=False)
    assert found["f1_macro"].value == pytest.approx((1 + 1 + 0 + 2 / 3) / 4)
    assert "top2_macro" not in found


def test_majority_names_one_class_and_mistakes_come_most_confident_first():
    predictions, logits = example()
    constant = classification.majority(predictions)
    assert len(set(constant.ranked[:, 0])) == 1
    table = classification.mistakes(predictions, [str(i) for i in range(200)], 5)
    assert (table["true"] != table["predicted"]).all()
    assert table["confidence"].is_monotonic_decreasing
    row = int(table["image"].iloc[0])
    assert logits[row].argmax() != predictions.labels[row]


def test_subgroups_partition_the_right_answers():
    predictions, _ = example()
    groups = np.where(np.arange(200) < 50, "A", "B")
    found = classification.subgroup_accuracy(predictions, groups)
    right = (predictions.ranked[:, 0] == predictions.labels).sum()
    assert found["A"].n + found["B"].n == 200
    assert found["A"].value * 50 + found["B"].value * 150 == pytest.approx(right)
