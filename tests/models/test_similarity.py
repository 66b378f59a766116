import numpy as np
import pytest

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.models import similarity


def test_class_vector_is_the_normalised_mean_of_normalised_sentences():
    table = {"long": [10.0, 0.0], "short": [0.0, 0.1], "c": [3.0, 4.0]}
    encode = lambda sentences: np.array([table[s] for s in sentences])  # noqa: E731
    vectors = similarity.class_embeddings(encode, {"a": ["long", "short"], "b": ["c"]})
    assert vectors == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0.6, 0.8]]), abs=1e-6)


def test_logits_are_a_hundred_cosines():
    images = similarity.normalise(np.array([[1.0, 0.0], [1.0, 1.0]]))
    logits = similarity.zero_shot_logits(images, np.array([[0.0, 1.0]], dtype=np.float32))
    assert logits == pytest.approx(np.array([[0.0], [70.7107]]), abs=1e-3)


def test_logits_refuse_rows_of_another_length():
    unit = np.eye(3, dtype=np.float32)
    with pytest.raises(ShapeError, match=r"not unit norm.*1\.0000 to 2\.0000"):
        similarity.zero_shot_logits(unit, 2 * unit)
