"""Probabilities of classes from pixels."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.experiments.cam import probabilities
from fetalclip_nb.models import similarity
from fetalclip_nb.models.model import load_model


@pytest.fixture(scope="module")
def model():
    return load_model("phantomclip", device="cpu")


@pytest.fixture(scope="module")
def classes(model):
    return similarity.class_embeddings(model.encode_text, load_prompts("brain"))


@pytest.fixture
def pixels():
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_log_odds():
    logits = torch.tensor([1.0, 3.0, -2.0])
    p = logits.softmax(-1)[1]
    torch.testing.assert_close(probabilities.LogOdds(1)(logits), torch.log(p / (1 - p)))


def test_probabilities_of_the_fast_tower(model, classes, pixels):
    vectors = similarity.normalise(model.encode_images(pixels))
    known = softmax(similarity.zero_shot_logits(vectors, classes), axis=-1)
    np.testing.assert_allclose(probabilities.scorer(model, classes)(pixels), known, atol=1e-4)
