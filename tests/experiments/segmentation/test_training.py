"""Training a decoder: the loss by hand, the best epoch, resuming, and what is refused."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.segmentation import training
from fetalclip_nb.experiments.segmentation.decoder import Decoder
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe, as_they_are

SHAPE = (4, 2)
RECIPE = DecoderRecipe(filters=2, learning_rate=1e-2, batch_size=4, epochs=4)


@pytest.fixture(scope="module")
def toy():
    """Twenty images whose second half is the one structure, whose rest is the other."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(20, 2, 16, 16)
    for i in range(20):
        masks[i, 0, :, i % 8 : i % 8 + 6] = 1
    masks[:, 1] = 1 - masks[:, 0]
    images = masks[:, :1].repeat(1, 3, 1, 1) + 0.1 * torch.randn(20, 3, 16, 16, generator=generator)
    blocks = torch.randn(20, 4, 4, 1, 1, generator=generator)
    return blocks, images, masks


def reader(toy, log=None):
    def batch(pairs):
        if log is not None:
            log.append(pairs.copy())
        return tuple(tensor[pairs[:, 1]] for tensor in toy)

    return batch


def job(seed=3, train=12):
    return DecoderJob(as_they_are(np.arange(train)), np.arange(12, 16), seed)


def setup(toy, recipe=RECIPE, precision="fp32", log=None):
    return training.Setup(reader(toy, log), recipe, SHAPE, precision=precision)


def train(toy, recipe=RECIPE, work=None, checkpoint=None, **options):
    made = setup(toy, recipe, **options)
    return training.train_decoder(made, work or job(), checkpoint=checkpoint)


def same(first, second):
    return all(torch.equal(first.weights[k], second.weights[k]) for k in first.weights) and (
        np.array_equal(first.losses, second.losses, equal_nan=True)
    )


def test_dice_loss_by_hand():
    """Two images, two structures; sums run over both images."""
    probability = torch.tensor([[[[0.8, 0.2]], [[0.5, 0.5]]], [[[0.6, 0.4]], [[0.1, 0.9]]]])
    truth = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]], [[[1.0, 1.0]], [[0.0, 1.0]]]])
    first = 1 - 2 * (0.8 + 0.6 + 0.4) / (2.0 + 3.0)
    second = 1 - 2 * 0.9 / (2.0 + 1.0)
    found = training.dice_loss(torch.logit(probability), truth)
    assert float(found) == pytest.approx((first + second) / 2, abs=1e-6)


def test_dice_loss_and_its_gradient_equal_those_of_monai():
    logits = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    masks = (torch.rand(logits.shape, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    found, slow = logits.requires_grad_(), logits.detach().clone().requires_grad_()
    loss = training.dice_loss(found, masks)
    expected = DiceLoss(sigmoid=True, batch=True, smooth_nr=0.0, smooth_dr=1e-7)(slow, masks)
    loss.backward(), expected.backward()
    assert torch.equal(loss, expected) and torch.equal(found.grad, slow.grad)


def test_absent_structure_adds_nothing():
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    truth = torch.zeros(2, 2, 4, 4)
    truth[:, 0, :2] = 1
    loss = training.dice_loss(logits, truth)
    loss.backward()
    with torch.no_grad():
        alone = float(training.dice_loss(logits[:, :1], truth[:, :1]))
    assert float(loss.detach()) == pytest.approx(alone / 2)
    assert logits.grad[:, 0].abs().max() > 0 == logits.grad[:, 1].abs().max()


def test_learns(toy):
    recipe = DecoderRecipe(filters=4, learning_rate=2e-2, batch_size=4, epochs=15)
    trained = train(toy, recipe)
    assert trained.losses[-1] < 0.25 < 0.4 < trained.losses[0]
    rows = np.arange(16, 20)
    made = training.predict(setup(toy, recipe), trained.weights, rows)
    logits = torch.cat([logits for _, logits in made])
    assert ((logits > 0) == (toy[2][16:] > 0)).float().mean() > 0.9


def test_weights_are_those_of_the_best_epoch(toy):
    trained = train(toy, DecoderRecipe(2, 0.5, batch_size=4, epochs=6))
    decoder = Decoder(*SHAPE, 2).eval()
    decoder.load_state_dict(trained.weights)
    blocks, images, masks = (tensor[12:16] for tensor in toy)
    with torch.no_grad():
        loss = training.dice_loss(decoder(blocks, images), masks)
    assert float(loss) == pytest.approx(trained.losses.min(), abs=1e-5)


def test_validation_loss_is_one_over_all_pixels_of_validation(toy):
    toy = (*toy[:2], toy[2].clone())
    toy[2][12:16, 1] = 0  # absent from the first batch, and not from validation
    work = DecoderJob(as_they_are(np.arange(8)), np.arange(12, 18), 0)
    trained = train(toy, DecoderRecipe(2, batch_size=4, epochs=1), work)
    decoder = Decoder(*SHAPE, 2).eval()
    decoder.load_state_dict(trained.weights)
    blocks, images, masks = (tensor[12:18] for tensor in toy)
    with torch.no_grad():
        logits = decoder(blocks, images)
    assert trained.losses[0] == pytest.approx(float(training.dice_loss(logits, masks)), abs=1e-5)
    parts = [float(training.dice_loss(logits[i], masks[i])) for i in (slice(4), slice(4, 6))]
    assert abs(trained.losses[0] - (4 * parts[0] + 2 * parts[1]) / 6) > 0.01  # no mean of batches


def test_incomplete_batches_are_dropped_and_orders_differ_by_epoch(toy):
    log = []
    work = job(train=11)
    train(toy, work=work, log=log)
    trained_on = [pairs for pairs in log if pairs[:, 1].max() < 12]
    assert [len(pairs) for pairs in trained_on] == [4] * 8
    epochs = [np.concatenate(trained_on[i : i + 2])[:, 1] for i in range(0, 8, 2)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_same_seed_same_decoder_whatever_runs_beside(toy):
    alone = train(toy)
    with ThreadPoolExecutor(2) as pool:
        beside = list(pool.map(lambda seed: train(toy, work=job(seed)), (3, 4)))
    assert same(alone, beside[0])
    assert not same(alone, beside[1])


def test_random_numbers_of_others_are_left_alone(toy):
    """A decoder that is read for testing must not disturb the start of one in another thread."""
    weights = train(toy).weights
    before = torch.get_rng_state()
    assert same(train(toy), train(toy))
    for _ in training.predict(setup(toy), weights, np.arange(4)):
        assert torch.equal(torch.get_rng_state(), before)


def test_killed_run_goes_on_and_ends_the_same(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", 0.0)
    checkpoint = tmp_path / "decoder.part"
    whole = train(toy)
    steps = []

    def broken(self):
        if len(steps) == 2:
            raise KeyboardInterrupt
        steps.append(1)
        epoch(self)

    epoch = training._Run.epoch
    monkeypatch.setattr(training._Run, "epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        train(toy, checkpoint=checkpoint)
    assert checkpoint.is_file()
    monkeypatch.setattr(training._Run, "epoch", lambda self: (steps.append(1), epoch(self)))
    resumed = train(toy, checkpoint=checkpoint)
    assert len(steps) == RECIPE.epochs
    assert same(whole, resumed)


def test_damaged_checkpoint_is_not_read(toy, tmp_path):
    checkpoint = tmp_path / "decoder.part"
    checkpoint.write_bytes(b"half of it")
    assert same(train(toy), train(toy, checkpoint=checkpoint))


def test_early_stop(toy):
    # At so high a learning rate the loss does not fall in every epoch.
    stopped = train(toy, DecoderRecipe(2, 0.2, batch_size=4, epochs=6, patience=1))
    run = train(toy, DecoderRecipe(2, 0.2, batch_size=4, epochs=6))
    first_rise = int(np.flatnonzero(np.diff(run.losses) >= 0)[0]) + 2
    assert np.isfinite(stopped.losses).sum() == first_rise
    np.testing.assert_array_equal(stopped.losses[:first_rise], run.losses[:first_rise])


def test_divergence_is_told(toy):
    with pytest.raises(ParameterError, match=r"diverged.*seed 3.*learning rate"):
        train((toy[0] * np.inf, *toy[1:]))


def test_bf16_is_close(toy):
    exact, rough = train(toy), train(toy, precision="bf16")
    assert not same(exact, rough)
    assert rough.losses[0] == pytest.approx(exact.losses[0], abs=0.05)
