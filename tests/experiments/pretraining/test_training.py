"""Batches, optimisation and checkpoints."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fetalclip_nb.experiments.pretraining import captions
from fetalclip_nb.experiments.pretraining.pool import PARTS
from fetalclip_nb.experiments.pretraining.recipe import Stage
from fetalclip_nb.experiments.pretraining.run import new_model
from fetalclip_nb.experiments.pretraining.training import (
    Trainer,
    age_batch,
    make_optimizers,
    plane_batch,
    train,
)
from helpers import TINY_CONFIG

CONFIG = TINY_CONFIG | {"text_cfg": TINY_CONFIG["text_cfg"] | {"context_length": 117}}


@pytest.fixture
def new_trainer(recipe, pool, tokenizer):
    """Makes a trainer of the recipe with other settings."""

    def make(**settings) -> Trainer:
        other = replace(recipe, **settings)
        model = new_model({"model_cfg": CONFIG}, other.seed)
        return Trainer(model, tokenizer, {"mean": [0.16] * 3, "std": [0.16] * 3}, pool, other)

    return make


def test_plane_batch_marks_its_own_captions(pool):
    rows = np.arange(len(pool.plane))
    sentences, targets = plane_batch(pool, rows, np.random.default_rng(0))
    assert len(sentences) == len(rows)
    assert torch.all(targets.diagonal() == 1)
    different = pool.plane[:, None] != pool.plane[None, :]
    assert targets.numpy()[different].max() == 0
    # Two clips of other chambers: a caption describes the other one only if it names no part.
    clips = np.flatnonzero(pool.clip)
    named = [any(n in sentences[i] for p in PARTS for n in nouns_of(p)) for i in clips]
    assert 0 < sum(named) < len(named)
    across = targets.numpy()[clips[0], clips[1::2]]
    assert across.tolist() == [float(not n) for n in named[1::2]]


def nouns_of(part: str) -> list[str]:
    """Noun phrases that name a part."""
    return next(parts[part] for parts in captions.PART_NOUNS.values() if part in parts)


def test_age_batch_states_the_zoomed_spacing(pool, recipe):
    rows, zoom = np.arange(4), np.array([1.0, 2.0, 1.0, 0.5])
    rng = np.random.default_rng(0)
    sentences, targets = age_batch(pool, rows, zoom, rng, replace(recipe, extra_ages=6))
    assert targets.shape == (4, 10)
    spacing = pool.spacing_mm[0]
    assert f"{spacing:.2f}" in sentences[0]
    assert f"{spacing / 2:.2f}" in sentences[1]
    assert f"{spacing / 0.5:.2f}" in sentences[3]
    # The drawn heads lie on the median curve: a caption fits but for the rounded spacing.
    rounded = np.log(pool.spacing_mm[rows] / zoom) - np.log((pool.spacing_mm[rows] / zoom).round(2))
    expected = np.exp(-0.5 * (rounded / recipe.sigma) ** 2)
    assert targets.diagonal().numpy() == pytest.approx(expected, rel=1e-3)


def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest(recipe):
    model = new_model({"model_cfg": CONFIG}, 0)
    muon, adamw = make_optimizers(model, recipe)
    matrices = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert {name for name, p in named.items() if id(p) in matrices} == {
        name for name, p in named.items() if "resblocks" in name and p.ndim == 2
    }
    assert matrices | rest == {id(p) for p in named.values()}
    assert not matrices & rest


def test_training_lowers_the_loss(new_trainer):
    trainer = new_trainer(stages=(Stage(30),), warmup=1, age_from_step=0)

    def loss() -> float:
        with torch.no_grad():
            found = trainer.losses(np.random.default_rng(5), torch.Generator().manual_seed(5))
        return float(sum(found.values()))

    before = loss()
    for _ in range(15):
        trainer.step()
    assert loss() < before - 0.1


def test_shared_stages_use_every_picture_for_both_losses(new_trainer, pool):
    trainer = new_trainer()
    rng = np.random.default_rng(0)
    rows, first_head = trainer.anatomy_rows(rng, Stage(1, shared=True))
    heads = np.isfinite(pool.hc_mm[rows])
    # 12 pictures, 62.5 percent of them heads: 8 heads after 4 others.
    assert heads.tolist() == [False] * 4 + [True] * 8
    assert first_head == 4
    rows, first_head = trainer.anatomy_rows(rng, Stage(1, shared=True, hearts=3))
    assert pool.clip[rows].tolist() == [True] * 3 + [False] * 12
    assert first_head == 7
    rows, first_head = trainer.anatomy_rows(rng, Stage(1))
    assert np.isfinite(pool.hc_mm[rows]).sum() == 4
    assert first_head == len(rows) == 8


def test_age_loss_starts_at_its_step(new_trainer):
    trainer = new_trainer()
    assert [sorted(trainer.step()) for _ in range(3)] == [["plane"], ["plane"], ["age", "plane"]]


def test_a_resumed_run_equals_an_uninterrupted_one(new_trainer, tmp_path):
    whole = new_trainer()
    train(whole, tmp_path / "whole.pt", every=100)

    broken = new_trainer()
    killed_after = iter([broken.step] * 5)
    broken.step = lambda: next(killed_after)()
    with pytest.raises(StopIteration):
        train(broken, tmp_path / "broken.pt", every=3)
    resumed = new_trainer()
    train(resumed, tmp_path / "broken.pt", every=3)
    assert resumed.done == whole.done == whole.recipe.steps
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
