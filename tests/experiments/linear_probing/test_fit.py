from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fetalclip_nb.errors import ParameterError, ShapeError
from fetalclip_nb.experiments.linear_probing import fit, training
from fetalclip_nb.experiments.linear_probing.fit import cached_probes, problem_key, train_probes
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows, Problem

RECIPE = ProbeRecipe(learning_rate=0.01, batch_size=8, epochs=6)


def task(n=180, width=12, classes=3, noise=2.0, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, width)).astype(np.float32)
    scores = features @ rng.normal(size=(width, classes)) + noise * rng.normal(size=(n, classes))
    return features, scores.argmax(1)


def uneven_groups():
    """Three groups of 4, 13 and 7 batches a pass; the last batch of each is incomplete."""
    rows = np.random.default_rng(1).permutation(180)
    return [
        ProbeRows(rows[:37], rows[140:], (5, 6)),
        ProbeRows(rows[10:120], rows[120:], (5,)),
        ProbeRows(rows[60:119], rows[150:], (7, 8, 9)),
    ]


def problem():
    return Problem(*task(), uneven_groups(), 3, RECIPE)


def plain_torch(features, targets, data, seed, n_classes, recipe):
    """The slow and obvious way: one layer, autograd and the library's optimizer."""
    torch.manual_seed(seed)
    layer = nn.Linear(features.shape[1], n_classes)
    optimizer = torch.optim.AdamW(
        layer.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    x, y = torch.from_numpy(features), torch.from_numpy(targets)
    losses, states = [], []
    for _ in range(recipe.epochs):
        order = data.train[torch.randperm(len(data.train)).numpy()]
        whole = len(order) // recipe.batch_size * recipe.batch_size
        for batch in order[:whole].reshape(-1, recipe.batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(x[batch]), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            logits = layer(x[data.validation])
        losses.append(nn.functional.cross_entropy(logits, y[data.validation]).item())
        states.append([p.detach().numpy().copy() for p in (layer.weight.T, layer.bias)])
    best = int(np.argmin(losses))
    return (*states[best], best + 1, losses)


@pytest.mark.parametrize(("weight_decay", "scale"), [(0.01, 1), (5.0, 1), (0.01, 1e-7)])
def test_probes_equal_a_plain_torch_loop(weight_decay, scale):
    features, targets = task()
    features *= np.float32(scale)  # with tiny gradients AdamW's epsilon shows
    recipe = ProbeRecipe(learning_rate=0.01, weight_decay=weight_decay, batch_size=8, epochs=6)
    groups = uneven_groups()
    probes = train_probes(Problem(features, targets, groups, 3, recipe))
    pairs = [(data, seed) for data in groups for seed in data.seeds]
    assert len(probes.weight) == len(pairs) == 6
    for probe, (data, seed) in enumerate(pairs):
        weight, bias, epoch, losses = plain_torch(features, targets, data, seed, 3, recipe)
        assert np.abs(probes.weight[probe] - weight).max() < 1e-5
        assert np.abs(probes.bias[probe] - bias).max() < 1e-5
        assert probes.epoch[probe] == epoch
        assert probes.losses[probe] == pytest.approx(losses, abs=1e-5)


def test_epoch_of_the_lowest_validation_loss_is_kept():
    # Validation labels are the opposite of the training labels: every step makes it worse.
    features = np.concatenate([np.ones((64, 1)), -np.ones((64, 1))]).astype(np.float32)
    targets = np.repeat([0, 1], 64)
    against = np.concatenate([targets, 1 - targets])
    data = ProbeRows(np.arange(128), np.arange(128, 256), (0,))
    recipe = ProbeRecipe(batch_size=8, epochs=5, learning_rate=0.1)
    twice = np.tile(features, (2, 1))
    probes = train_probes(Problem(twice, against, [data], 2, recipe))
    assert (np.diff(probes.losses[0]) > 0).all()
    assert probes.epoch.tolist() == [1]


def test_first_epoch_is_kept_on_ties():
    # Nothing can be learnt from zeros, and a rate this small does not move the bias.
    features = np.zeros((40, 4), np.float32)
    data = ProbeRows(np.arange(32), np.arange(32, 40), (0,))
    recipe = ProbeRecipe(learning_rate=1e-12, batch_size=8, epochs=4)
    probes = train_probes(Problem(features, np.arange(40) % 2, [data], 2, recipe))
    assert len(set(probes.losses[0])) == 1
    assert probes.epoch.tolist() == [1]


def test_logits_are_features_times_weights_plus_bias():
    probes = fit.LinearProbes(
        weight=np.array([[[1, 2], [3, 4]], [[0, 1], [1, 0]]], np.float32),
        bias=np.array([[0, 10], [20, 0]], np.float32),
        epoch=np.ones(2, int),
        losses=np.ones((2, 1)),
    )
    logits = probes.logits(np.array([[1, 0], [1, 2], [0, 0]], np.float32))
    assert logits.tolist() == [[[1, 12], [7, 20], [0, 10]], [[20, 1], [22, 1], [20, 0]]]


def test_features_are_not_changed_and_targets_of_other_rows_do_not_matter():
    features, targets = task()
    before = features.copy()
    data = ProbeRows(np.arange(100), np.arange(100, 150), (0,))
    first = train_probes(Problem(features, targets, [data], 3, RECIPE))
    assert np.array_equal(features, before)
    targets[150:] = -1
    again = train_probes(Problem(features, targets, [data], 3, RECIPE))
    assert np.array_equal(first.weight, again.weight)


@pytest.mark.parametrize("before", ["high", "highest"])
def test_probes_are_trained_in_full_precision_and_the_setting_is_given_back(before, monkeypatch):
    seen, step = [], training._Stack._backward

    def watched(*given):
        seen.append(torch.get_float32_matmul_precision())
        if len(seen) > 100:
            raise KeyboardInterrupt
        step(*given)

    monkeypatch.setattr(training._Stack, "_backward", watched)
    outside = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(before)
    try:
        train_probes(problem())
        finished = torch.get_float32_matmul_precision()
        with pytest.raises(KeyboardInterrupt):
            train_probes(problem())
        interrupted = torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(outside)
    assert set(seen) == {"highest"} and len(seen) == 101
    assert (finished, interrupted) == (before, before)


def test_probes_whose_validation_loss_is_never_finite_are_refused_by_name(tmp_path):
    features, targets = task()
    features[:40] = 3e38
    rows = np.arange(180)
    groups = [
        ProbeRows(rows[100:], rows[40:100], (4,)),
        ProbeRows(rows[100:], rows[:100], (5, 6)),
        ProbeRows(rows[40:], rows[:40], (7,)),
    ]
    text = "Probes diverged. Where: group 1 seed 5, group 1 seed 6, group 2 seed 7. .*3 of 4 probes"
    with pytest.raises(ParameterError, match=text + ".*smaller scale or lower the learning rate"):
        cached_probes(Problem(features, targets, groups, 3, RECIPE), cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.npz"))
    steep = ProbeRecipe(learning_rate=1e38, batch_size=8)
    with pytest.raises(ParameterError, match="Found: none for 1 of 1 probes"):
        train_probes(Problem(features, targets, groups[:1], 3, steep))


def test_a_loss_that_was_finite_once_is_enough(monkeypatch):
    losses = training._Stack.validation_losses
    calls = []

    def explodes(stack):
        calls.append(losses(stack))
        return calls[-1] if len(calls) == 2 else calls[-1] * torch.nan

    monkeypatch.setattr(training._Stack, "validation_losses", explodes)
    probes = train_probes(problem())
    assert probes.epoch.tolist() == [2] * 6


def test_features_that_are_not_finite_are_refused():
    whole = problem()
    whole.features[[4, 17], 3] = np.nan, np.inf
    with pytest.raises(ShapeError, match="not finite. Found: rows 4, 17.*not train on tested"):
        train_probes(whole)


@pytest.mark.parametrize(
    ("name", "shown", "value", "least"),
    [
        ("copies", "copies", -1, 0),
        ("runs", "runs", 0, 1),
        ("epochs", "epochs", 0, 1),
        ("batch_size", "probe_batch", 0, 1),
        ("weight_decay", "weight_decay", -0.1, 0),
    ],
)
def test_numbers_out_of_range_are_named_as_the_notebooks_do(name, shown, value, least):
    ProbeRecipe(**{name: least})
    with pytest.raises(ParameterError, match=f"Found: {shown} = {value}, less than {least}"):
        ProbeRecipe(**{name: value})
    both = f"{shown} = {value}, less than {least}; learning_rate = 0, not above 0"
    with pytest.raises(ParameterError, match=both):
        ProbeRecipe(**{name: value}, learning_rate=0)


def test_a_recipe_has_one_of_two_preparations():
    assert ProbeRecipe().settings["preparation"] == "published"
    with pytest.raises(ParameterError, match="Expected: published or ours. Found: cubic"):
        ProbeRecipe(preparation="cubic")


def test_what_was_trained_is_read_again_unless_it_is_damaged(tmp_path, monkeypatch):
    whole = problem()
    first = cached_probes(whole, cache_dir=tmp_path)
    [path] = tmp_path.glob("probes/*.npz")
    np.savez(path, other=np.zeros(3))
    np.testing.assert_equal(vars(cached_probes(whole, cache_dir=tmp_path)), vars(first))
    monkeypatch.setattr(fit, "train_probes", lambda *_, **__: pytest.fail("trained"))
    np.testing.assert_equal(vars(cached_probes(whole, cache_dir=tmp_path)), vars(first))


def test_whatever_changes_the_probes_changes_the_key():
    features, targets = task()
    groups = uneven_groups()
    moved = features.copy()
    moved[3, 4] += 1
    relabelled = targets.copy()
    relabelled[0] = (targets[0] + 1) % 3
    swapped = [ProbeRows(groups[0].validation, groups[0].train, (5, 6)), *groups[1:]]
    rows = np.append(groups[0].train, groups[0].validation)
    shifted = [ProbeRows(rows[:36], rows[36:], (5, 6)), *groups[1:]]
    reseeded = [ProbeRows(groups[0].train, groups[0].validation, (6, 5)), *groups[1:]]
    whole = problem()
    changes = [
        {"features": moved},
        {"targets": relabelled},
        {"groups": groups[:2]},
        {"groups": swapped},
        {"groups": shifted},
        {"groups": reseeded},
        {"n_classes": 4},
        *({"recipe": replace(RECIPE, **{n: 9})} for n in ("learning_rate", "weight_decay")),
        *({"recipe": replace(RECIPE, **{n: 9})} for n in ("batch_size", "epochs")),
    ]
    keys = {problem_key(whole), *(problem_key(replace(whole, **change)) for change in changes)}
    assert len(keys) == 1 + len(changes)
    assert problem_key(problem()) in keys
