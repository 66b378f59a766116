"""Pretraining: pictures, targets, optimisation, resuming, export, scores and card."""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch

from fetalclip_nb import phantoms
from fetalclip_nb.errors import CacheError
from fetalclip_nb.experiments.pretraining import captions, run
from fetalclip_nb.experiments.pretraining.card import model_card
from fetalclip_nb.experiments.pretraining.command import add_arguments, main
from fetalclip_nb.experiments.pretraining.loss import age_targets, contrastive_loss, plane_targets
from fetalclip_nb.experiments.pretraining.pool import (
    BRAIN_PLANES,
    HEARTS,
    PARTS,
    PLANES,
    Drawers,
    augment,
    cached_pool,
    draw_pool,
    log_stated_pixels,
    stored_picture,
)
from fetalclip_nb.experiments.pretraining.recipe import Recipe, Stage
from fetalclip_nb.experiments.pretraining.scores import HELD_OUT
from fetalclip_nb.experiments.pretraining.training import (
    Trainer,
    age_batch,
    make_optimizers,
    plane_batch,
    train,
)
from fetalclip_nb.growth import head_circumference
from fetalclip_nb.paths import SHIPPED

TINY_CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 117,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 1,
    },
}
PREPROCESS = {"mean": [0.16] * 3, "std": [0.16] * 3}
RECIPE = Recipe(
    stages=(Stage(4), Stage(2, shared=True, hearts=3)),
    heads=12,
    others=18,
    hearts=8,
    plane_batch=8,
    age_batch=4,
    extra_ages=4,
    age_from_step=2,
)


def stub(plane, rng, *, brain_plane=None, age_days=None):
    """A picture whose plane can be read off the place of a bright bar."""
    image = rng.integers(0, 60, (40, 60)).astype(np.uint8)
    place = PLANES.index(plane)
    image[:, 6 * place : 6 * place + 5] = 220
    age = age_days or 140
    return SimpleNamespace(
        image=image,
        brain_plane=brain_plane,
        hc_mm=float(head_circumference(age)) if plane == "brain" else None,
        age_days=age,
        pixel_mm=0.5,
        detail={"view": "kidney" if plane == "other" and rng.random() < 0.5 else plane},
    )


def clip_stub(rng, *, frames, defect=None):
    """Frames whose defect can be read off their brightness."""
    grey = 40 * (1 + [None, *phantoms.DEFECTS].index(defect))
    return [np.full((40, 50), grey, np.uint8)] * frames


STUBS = Drawers(stub, clip_stub)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool():
    return draw_pool(STUBS, heads=12, others=18, hearts=8, seed=0)


@pytest.fixture(scope="module")
def tokenizer():
    return open_clip.get_tokenizer(f"local-dir:{SHIPPED}")


def new_trainer(pool, tokenizer, recipe=RECIPE) -> Trainer:
    model = run.new_model({"model_cfg": TINY_CONFIG}, recipe.seed)
    return Trainer(model, tokenizer, PREPROCESS, pool, recipe)


# Pictures


def test_pool_does_not_depend_on_the_number_of_processes():
    options = {"heads": 3, "others": 3, "hearts": 2, "seed": 4}
    drawers = Drawers(phantoms.draw, phantoms.draw_clip)
    alone = draw_pool(drawers, workers=1, **options)
    together = draw_pool(drawers, workers=2, **options)
    for name, values in vars(alone).items():
        assert np.array_equal(values, getattr(together, name), equal_nan=values.dtype.kind == "f")


def test_pool_is_drawn_once(tmp_path):
    options = {"version": 1, "heads": 2, "others": 2, "hearts": 1, "seed": 0, "workers": 1}
    first = cached_pool(tmp_path, STUBS, **options)

    def unexpected(*args, **kwargs):
        raise AssertionError("drawn again")

    never = Drawers(unexpected, unexpected)
    assert np.array_equal(cached_pool(tmp_path, never, **options).images, first.images)
    with pytest.raises(AssertionError, match="drawn again"):
        cached_pool(tmp_path, never, **{**options, "version": 2})


def test_pool_tells_what_each_picture_is(pool):
    heads = np.isfinite(pool.hc_mm)
    assert heads.sum() == 12
    assert set(pool.plane[heads]) == {PLANES.index("brain")}
    assert set(pool.part[heads]) == {-1, 0, 1, 2}
    assert set(pool.part[~heads & ~pool.clip]) == {-1}
    # 60 pixels of 0.5 mm on 224 pixels.
    assert pool.spacing_mm[~pool.clip] == pytest.approx(60 * 0.5 / 224)


def test_pool_names_the_chambers_of_every_clip(pool):
    assert pool.clip.sum() == 8
    assert set(pool.plane[pool.clip]) == {PLANES.index("thorax")}
    names = [PARTS[part] for part in pool.part[pool.clip]]
    assert names[::2] == [HEARTS[None]] * 4
    assert set(names[1::2]) == {HEARTS[defect] for defect in phantoms.DEFECTS}
    # The stub paints the n-th heart of HEARTS with 40 n.
    grey = pool.images[pool.clip][:, 64, 64] / 40 - 1
    assert [list(HEARTS.values())[int(g)] for g in grey] == names


def test_other_views_with_a_name_get_that_name():
    pool = draw_pool(STUBS, heads=0, others=90, hearts=0, seed=0)
    counts = {plane: int((pool.plane == PLANES.index(plane)).sum()) for plane in PLANES}
    assert counts["other"] < 10 < counts["kidney"]
    assert counts["kidney"] + counts["other"] == 20


def test_stored_picture_is_padded_to_a_centred_square():
    picture = stored_picture(np.full((64, 128), 200, dtype=np.uint8))
    assert picture.shape == (128, 128)
    rows = picture.mean(axis=1)
    assert rows[:30].max() == rows[-30:].max() == 0
    assert rows[36:92] == pytest.approx(200)


def test_zoom_enlarges_what_is_seen():
    y, x = np.mgrid[:128, :128] - 63.5
    disc = torch.from_numpy(((np.hypot(x, y) < 20) * 200).astype(np.uint8)).expand(16, -1, -1)

    def area(zoom: float) -> float:
        generator = torch.Generator().manual_seed(0)
        grey = augment(disc, torch.full((16,), zoom), 64, generator)
        assert grey.shape == (16, 1, 64, 64)
        bright = grey > grey.amax(dim=(1, 2, 3), keepdim=True) / 2
        return float(bright.sum(dim=(1, 2, 3)).float().median())

    assert area(1.0) == pytest.approx(np.pi * 10**2, rel=0.15)
    assert area(1.5) / area(1.0) == pytest.approx(2.25, rel=0.1)


def test_augmentation_is_that_of_its_generator(pool):
    pictures, zoom = torch.from_numpy(pool.images[:4]), torch.ones(4)
    first, again, other = (
        augment(pictures, zoom, 32, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


# Targets and loss


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
    expected = np.log1p(np.exp(-2))
    assert float(contrastive_loss(3 * unit, unit, unit, torch.tensor(2.0))) == pytest.approx(
        expected
    )
    same = torch.ones(2, 3)
    everything = torch.ones(2, 4)
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


def test_stated_size_follows_age_and_spacing():
    ages, spacing = np.array([140, 140]), np.array([0.5, 0.25])
    pixels = np.exp(log_stated_pixels(ages, spacing))
    assert pixels[0] == pytest.approx(float(head_circumference(140)) / 0.5)
    assert pixels[1] == pytest.approx(2 * pixels[0])


# Batches


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


def test_age_batch_states_the_zoomed_spacing(pool):
    rows, zoom = np.arange(4), np.array([1.0, 2.0, 1.0, 0.5])
    rng = np.random.default_rng(0)
    sentences, targets = age_batch(pool, rows, zoom, rng, replace(RECIPE, extra_ages=6))
    assert targets.shape == (4, 10)
    spacing = pool.spacing_mm[0]
    assert f"{spacing:.2f}" in sentences[0]
    assert f"{spacing / 2:.2f}" in sentences[1]
    assert f"{spacing / 0.5:.2f}" in sentences[3]
    # The stub's heads lie on the median curve: a caption fits but for the rounded spacing.
    rounded = np.log(pool.spacing_mm[rows] / zoom) - np.log((pool.spacing_mm[rows] / zoom).round(2))
    expected = np.exp(-0.5 * (rounded / RECIPE.sigma) ** 2)
    assert targets.diagonal().numpy() == pytest.approx(expected, rel=1e-3)


# Optimisation


def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = run.new_model({"model_cfg": TINY_CONFIG}, 0)
    muon, adamw = make_optimizers(model, RECIPE)
    matrices = {id(p) for group in muon.param_groups for p in group["params"]}
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    named = dict(model.named_parameters())
    assert {name for name, p in named.items() if id(p) in matrices} == {
        name for name, p in named.items() if "resblocks" in name and p.ndim == 2
    }
    assert matrices | rest == {id(p) for p in named.values()}
    assert not matrices & rest


def test_training_lowers_the_loss(pool, tokenizer):
    recipe = replace(RECIPE, stages=(Stage(30),), warmup=1, age_from_step=0)
    trainer = new_trainer(pool, tokenizer, recipe)

    def loss() -> float:
        with torch.no_grad():
            found = trainer.losses(np.random.default_rng(5), torch.Generator().manual_seed(5))
        return float(sum(found.values()))

    before = loss()
    for _ in range(15):
        trainer.step()
    assert loss() < before - 0.1


def test_shared_stages_use_every_picture_for_both_losses(pool, tokenizer):
    trainer = new_trainer(pool, tokenizer)
    rng = np.random.default_rng(0)
    rows, first_head = trainer.anatomy_rows(rng, shared=True)
    heads = np.isfinite(pool.hc_mm[rows])
    # 12 pictures, 62.5 percent of them heads: 8 heads after 4 others.
    assert heads.tolist() == [False] * 4 + [True] * 8
    assert first_head == 4
    rows, first_head = trainer.anatomy_rows(rng, shared=True, hearts=3)
    assert pool.clip[rows].tolist() == [True] * 3 + [False] * 12
    assert first_head == 7
    rows, first_head = trainer.anatomy_rows(rng, shared=False)
    assert np.isfinite(pool.hc_mm[rows]).sum() == 4
    assert first_head == len(rows) == 8


def test_age_loss_starts_at_its_step(pool, tokenizer):
    trainer = new_trainer(pool, tokenizer)
    assert [sorted(trainer.step()) for _ in range(3)] == [["plane"], ["plane"], ["age", "plane"]]


def test_a_resumed_run_equals_an_uninterrupted_one(pool, tokenizer, tmp_path):
    whole = new_trainer(pool, tokenizer)
    train(whole, tmp_path / "whole.pt", every=100)

    class Killed(Exception):
        pass

    broken = new_trainer(pool, tokenizer)
    step = broken.step

    def killed_at_step_five() -> dict[str, float]:
        if broken.done == 5:
            raise Killed
        return step()

    broken.step = killed_at_step_five
    with pytest.raises(Killed):
        train(broken, tmp_path / "broken.pt", every=3)
    resumed = new_trainer(pool, tokenizer)
    train(resumed, tmp_path / "broken.pt", every=3)
    assert resumed.done == whole.done == RECIPE.steps
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_is_refused(pool, tokenizer, tmp_path):
    new_trainer(pool, tokenizer).save(tmp_path / "run.pt")
    other = new_trainer(pool, tokenizer, replace(RECIPE, sigma=0.1))
    with pytest.raises(CacheError, match="another recipe"):
        other.load(tmp_path / "run.pt")


# The command


def test_command_line_offers_the_recipe():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--steps", "7", "5", "2", "--out", "there"])
    assert (args.steps, args.seed, args.out) == ([7, 5, 2], Recipe().seed, Path("there"))


def test_command_trains_exports_scores_and_describes(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(HELD_OUT, "fetal_planes", {"patients": 8, "seed": 1})
    monkeypatch.setitem(HELD_OUT, "hc18", {"patients": 6, "seed": 2})
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    out, cache = tmp_path / "out", tmp_path / "cache"
    phantoms.write_hc18(tmp_path / "heads", patients=6, seed=3, workers=1)
    words = f"--out {out} --cache {cache} --steps 1 1 1 --heads 6 --others 9 --hearts 8 --threads 1"
    assert main(parser.parse_args([*words.split(), "--real", str(tmp_path / "heads")])) == 0
    scores = json.loads((out / "scores.json").read_text("utf-8"))
    assert [stage["steps"] for stage in scores["recipe"]["stages"]] == [1, 1, 1]
    assert {"planes", "brain", "age", "real_hc18"} < set(scores)
    assert 0 <= scores["planes"]["f1_macro"]["value"] <= 1
    assert set(scores["real_hc18"]) == set(scores["age"])
    assert (out / "README.md").read_text("utf-8") == model_card(scores)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{out}")
    assert sum(p.numel() for p in model.parameters()) == scores["model"]["parameters"]


def test_names_of_planes_are_those_of_the_captions():
    assert set(PLANES) == set(captions.NOUNS)
    assert set(BRAIN_PLANES) == set(captions.PART_NOUNS["brain"])
    assert set(HEARTS.values()) == set(captions.PART_NOUNS["thorax"])
