"""Probabilities of classes from pixels."""

import numpy as np
import pytest
import torch

from fetalclip_nb import class_probabilities, zero_shot
from fetalclip_nb.errors import ShapeError
from fetalclip_nb.models import load_model
from fetalclip_nb.prompts import load_prompts


@pytest.fixture(scope="module")
def model():
    return load_model("phantomclip", device="cpu")


@pytest.fixture(scope="module")
def classes(model):
    return zero_shot.class_embeddings(model.encode_text, load_prompts("brain"))


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_log_odds():
    logits = torch.tensor([1.0, 3.0, -2.0])
    p = logits.softmax(-1)[1]
    torch.testing.assert_close(class_probabilities.LogOdds(1)(logits), torch.log(p / (1 - p)))


def test_probabilities_of_the_fast_tower(model, classes, pixels):
    vectors = zero_shot.normalise(model.encode_images(pixels))
    known = zero_shot.softmax(zero_shot.zero_shot_logits(vectors, classes))
    np.testing.assert_allclose(class_probabilities.scorer(model, classes)(pixels), known, atol=1e-4)


def test_classes_of_another_width(model):
    with pytest.raises(ShapeError, match="width"):
        class_probabilities.scorer(model, np.eye(3, 5))
