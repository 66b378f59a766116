"""Targets and loss by hand."""

import numpy as np
import pytest
import torch

from fetalclip_nb.experiments.pretraining.loss import age_targets, contrastive_loss, plane_targets


def test_plane_targets_by_hand():
    image_plane, image_brain = torch.tensor([1, 1, 0]), torch.tensor([2, 0, -1])
    caption_plane, caption_brain = torch.tensor([1, 1, 1, 0]), torch.tensor([-1, 2, 0, -1])
    found = plane_targets(image_plane, image_brain, caption_plane, caption_brain)
    assert found.tolist() == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


def test_age_targets_by_hand():
    found = age_targets(torch.tensor([1.0, 1.1]), torch.tensor([1.0, 1.05]), sigma=0.05)
    weights = np.exp([[0, -0.5], [-2, -0.5]])
    assert found.numpy() == pytest.approx(weights, rel=1e-4)


def test_contrastive_loss_by_hand():
    unit = torch.eye(2)
    # Cosines 1 and 0, scale 2: cross-entropy log(1 + exp(-2)) in both directions.
    perfect = contrastive_loss(3 * unit, unit, unit, torch.tensor(2.0))
    assert float(perfect) == pytest.approx(np.log1p(np.exp(-2)))
    same, everything = torch.ones(2, 3), torch.ones(2, 4)
    uninformed = contrastive_loss(same, torch.ones(4, 3), everything, torch.tensor(5.0))
    assert float(uninformed) == pytest.approx((np.log(4) + np.log(2)) / 2)


def test_a_caption_of_no_image_weighs_nothing():
    images, texts = torch.eye(2), torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    scale = torch.tensor(2.0)
    columns = -np.log(np.exp(2) / (np.exp(2) + 1))
    rows = -(np.log(np.exp(2) / (np.exp(2) + 1 + np.exp(-2))) + np.log(np.exp(2) / (np.exp(2) + 2)))
    found = float(contrastive_loss(images, texts, targets, scale))
    assert found == pytest.approx((columns + rows / 2) / 2)
