import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from fetalclip_nb import zero_shot
from fetalclip_nb.errors import DataError, ShapeError


def test_class_vector_is_the_normalised_mean_of_normalised_sentences():
    table = {"long": [10.0, 0.0], "short": [0.0, 0.1], "c": [3.0, 4.0]}
    encode = lambda sentences: np.array([table[s] for s in sentences])  # noqa: E731
    vectors = zero_shot.class_embeddings(encode, {"a": ["long", "short"], "b": ["c"]})
    assert vectors == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0.6, 0.8]]), abs=1e-6)


def test_logits_are_a_hundred_cosines():
    images = zero_shot.normalise(np.array([[1.0, 0.0], [1.0, 1.0]]))
    logits = zero_shot.zero_shot_logits(images, np.array([[0.0, 1.0]], dtype=np.float32))
    assert logits == pytest.approx(np.array([[0.0], [70.7107]]), abs=1e-3)


def test_logits_refuse_other_widths_and_lengths():
    unit = np.eye(3, dtype=np.float32)
    with pytest.raises(ShapeError, match=r"differ in width.*Expected: 2.*Found: 3"):
        zero_shot.zero_shot_logits(unit, unit[:, :2])
    with pytest.raises(ShapeError, match=r"class embeddings are not unit norm.*2\.0000"):
        zero_shot.zero_shot_logits(unit, 2 * unit)


def test_softmax_sums_to_one_for_large_logits():
    found = zero_shot.softmax(np.array([[1000.0, 1000.0, -1000.0]]))
    assert found.tolist() == [[0.5, 0.5, 0.0]]


def example(seed=0, n=200, classes=("a", "b", "c", "d")):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes[:3], n)
    logits = rng.normal(size=(n, len(classes)))
    patients = rng.integers(0, 40, n).astype(str)
    return zero_shot.predict(logits, labels, classes, patients), logits


def test_top_k_is_the_mean_over_classes_and_equals_scikit_learn_per_class():
    predictions, logits = example()
    found = zero_shot.scores(predictions, by_patient=False)
    for k in (2, 3):
        slow = []
        for i in predictions.present:
            rows = predictions.labels == i
            truth = predictions.labels[rows]
            slow.append(top_k_accuracy_score(truth, logits[rows], k=k, labels=range(4)))
        assert found[f"top{k}_macro"].value == pytest.approx(np.mean(slow))


def test_scores_name_every_class_with_images_and_no_other():
    predictions, _ = example()
    found = zero_shot.scores(predictions, by_patient=True)
    assert {name for name in found if name.startswith("f1/")} == {"f1/a", "f1/b", "f1/c"}
    mean = np.mean([found[f"f1/{name}"].value for name in "abc"])
    assert found["f1_macro"].value == pytest.approx(mean)
    assert found["f1_macro"].groups == len(set(predictions.patients))


def test_perfect_predictions_score_one_with_no_width():
    logits = np.eye(3)[[0, 1, 2, 0] * 20] * 10
    found = zero_shot.scores(
        zero_shot.predict(logits, ["a", "b", "c", "a"] * 20, ("a", "b", "c")), by_patient=False
    )
    assert found["accuracy/a"].value == found["accuracy/a"].low == 1.0
    assert found["f1_macro"].value == 1.0


def test_labels_without_prompts_and_wrong_shapes_are_refused():
    with pytest.raises(DataError, match=r"Labels without prompts.*Found: z"):
        zero_shot.predict(np.zeros((1, 2)), ["z"], ("a", "b"))
    with pytest.raises(ShapeError, match=r"\(1, 2\).*\(3, 2\)"):
        zero_shot.predict(np.zeros((3, 2)), ["a"], ("a", "b"))


def test_joined_keeps_classes_apart_and_scores_them_together():
    left = zero_shot.predict(np.eye(2) * 9, ["a", "b"], ("a", "b"))
    right = zero_shot.predict(np.eye(2)[[1, 1]], ["c", "d"], ("c", "d"))
    both = zero_shot.joined(left, right)
    assert both.classes == ("a", "b", "c", "d")
    found = zero_shot.scores(both, by_patient=False)
    assert found["f1_macro"].value == pytest.approx((1 + 1 + 0 + 2 / 3) / 4)
    assert "top2_macro" not in found
