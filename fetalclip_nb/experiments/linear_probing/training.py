"""The training loop of many linear probes at once, written out without autograd.

H probes on the same features differ only in their rows, their order and their start. One step
of all of them is then one gather of rows, one batched product for the logits, one for the
gradient and one AdamW update of a matrix with a row a probe.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows

BETAS = (0.9, 0.999)

EPSILON = 1e-8


@dataclass(frozen=True)
class Trained:
    """Parameters at each probe's best epoch.

    Attributes:
        parameters: float32 of shape (H, C * D + C): weights (C, D), then biases.
        epoch: Best epoch of each probe, from 1, shape (H,); 0 where no validation loss was
            finite: the parameters are then the start's.
        losses: Validation losses, shape (H, epochs).
    """

    parameters: torch.Tensor
    epoch: torch.Tensor
    losses: torch.Tensor


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products of float32 are exact to float32 here, whatever an encoder has asked for.

    The setting is the process's: with "high", as for TF32 encoders, a GPU would round the
    probes' products to 10 bits.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@_full_precision()
@torch.inference_mode()
def train_stack(
    features: torch.Tensor,
    targets: torch.Tensor,
    groups: Sequence[ProbeRows],
    n_classes: int,
    recipe: ProbeRecipe,
) -> Trained:
    """Train every probe of every group and keep the epoch of the lowest validation loss.

    Args:
        features: float32 of shape (N, D), on the device that shall do the work.
        targets: Classes, int64 of shape (N,), on the same device.
        groups: What probes learn from; each has at least one full batch.
        n_classes: C.
        recipe: Learning rate, batch and the like.

    Returns:
        Probes group by group, in the order of their seeds; the first epoch counts on ties.
    """
    # Those with most steps first: the probes that still have batches left are a leading slice.
    ranks = sorted(range(len(groups)), key=lambda g: -_steps(groups[g], recipe))
    stack = _Stack(features, targets, [groups[g] for g in ranks], n_classes, recipe)
    epoch_losses = []
    best = stack.parameters.clone()
    best_epoch = torch.zeros(stack.probes, dtype=torch.int64, device=features.device)
    lowest = torch.full((stack.probes,), torch.inf, device=features.device)
    for epoch in range(recipe.epochs):
        stack.train_epoch(epoch)
        loss = stack.validation_losses()
        better = loss < lowest
        best = torch.where(better[:, None], stack.parameters, best)
        best_epoch = torch.where(better, epoch + 1, best_epoch)
        lowest = torch.where(better, loss, lowest)
        epoch_losses.append(loss)
    back = _positions([len(groups[g].seeds) for g in ranks], ranks).to(features.device)
    return Trained(best[back], best_epoch[back], torch.stack(epoch_losses, 1)[back])


class _Stack:
    """Probes side by side with their optimizer's moments and their working memory."""

    def __init__(
        self,
        features: torch.Tensor,
        targets: torch.Tensor,
        groups: Sequence[ProbeRows],
        n_classes: int,
        recipe: ProbeRecipe,
    ) -> None:
        device = features.device
        self.features, self.targets, self.recipe = features, targets, recipe
        self.shape = (n_classes, features.shape[1])
        self.data = [data for data in groups for _ in data.seeds]
        self.probes = len(self.data)
        self.steps = torch.tensor([_steps(data, recipe) for data in self.data])
        self.generators = [
            torch.Generator().manual_seed(seed) for data in groups for seed in data.seeds
        ]
        starts = [_start(generator, *self.shape) for generator in self.generators]
        self.parameters = torch.stack(starts).to(device)
        self.gradient = torch.zeros_like(self.parameters)
        self.mean = torch.zeros_like(self.parameters)
        self.square = torch.zeros_like(self.parameters)
        self.scratch = torch.empty_like(self.parameters)
        batch = (self.probes * recipe.batch_size, features.shape[1])
        self.batch = torch.empty(batch, device=device)
        self.logits = torch.empty(self.probes, n_classes, recipe.batch_size, device=device)
        self.minus_one = torch.full((self.probes, 1, recipe.batch_size), -1.0, device=device)
        self.validation = list(self._gather_validation(groups))

    def train_epoch(self, epoch: int) -> None:
        """One pass of every probe over its rows in a new order."""
        device = self.features.device
        rows = self._shuffled().to(device)
        labels = self.targets[rows]
        scale, shift = (t.to(device) for t in self._corrections(epoch))
        first = 0
        for last in self.steps.unique().tolist():
            active = int((self.steps >= last).sum())
            for step in range(first, last):
                self._backward(active, rows[step, :active], labels[step, :active])
                self._update(active, scale[step, :active], shift[step, :active])
            first = last

    def validation_losses(self) -> torch.Tensor:
        """Mean cross-entropy of each probe on its group's validation rows, shape (H,)."""
        losses, first = [], 0
        for features, labels, n in self.validation:
            weight, bias = self._split(self.parameters[first : first + n])
            logits = torch.addmm(bias.reshape(-1, 1), weight.flatten(0, 1), features.T)
            logits = logits.view(n, -1, len(labels))
            found = functional.cross_entropy(logits, labels.expand(n, -1), reduction="none")
            losses.append(found.mean(1))
            first += n
        return torch.cat(losses)

    def _backward(self, active: int, rows: torch.Tensor, labels: torch.Tensor) -> None:
        """Gradient of the mean cross-entropy: (softmax - one-hot) / batch, times the rows."""
        size = self.recipe.batch_size
        # Into memory that stays: fresh memory each step costs more than the copy itself.
        flat = self.batch[: active * size]
        torch.index_select(self.features, 0, rows.reshape(-1), out=flat)
        batch = flat.view(active, size, -1)
        weight, bias = self._split(self.parameters[:active])
        logits = self.logits[:active]
        torch.baddbmm(bias, weight, batch.transpose(1, 2), out=logits)
        torch.softmax(logits, 1, out=logits)
        logits.scatter_add_(1, labels.unsqueeze(1), self.minus_one[:active]).div_(size)
        weight, bias = self._split(self.gradient[:active])
        torch.bmm(logits, batch, out=weight)
        torch.sum(logits, 2, keepdim=True, out=bias)

    def _update(self, active: int, scale: torch.Tensor, shift: torch.Tensor) -> None:
        """AdamW with decoupled decay (arXiv 1711.05101), in place."""
        parameters, gradient = self.parameters[:active], self.gradient[:active]
        mean, square, scratch = self.mean[:active], self.square[:active], self.scratch[:active]
        parameters.mul_(1 - self.recipe.learning_rate * self.recipe.weight_decay)
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        torch.sqrt(square, out=scratch)
        torch.addcmul(shift, scratch, scale, out=scratch)
        parameters.addcdiv_(mean, scratch, value=-1)

    def _corrections(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What turns sqrt(square) into AdamW's divisor at each step, two of (steps, H, 1).

        The update is rate / (1 - b1^t) * mean / (sqrt(square / (1 - b2^t)) + epsilon), so the
        divisor is sqrt(square) * scale + shift. Each probe counts its own steps t.
        """
        count = epoch * self.steps + torch.arange(1, int(self.steps.max()) + 1)[:, None]
        first, second = (1 - beta ** count.double() for beta in BETAS)
        shift = first / self.recipe.learning_rate
        scale = shift / second.sqrt()
        return scale.float()[..., None], (EPSILON * shift).float()[..., None]

    def _shuffled(self) -> torch.Tensor:
        """Row numbers of each step's batches, int64 of shape (steps, H, batch)."""
        size = self.recipe.batch_size
        rows = torch.zeros(int(self.steps.max()), self.probes, size, dtype=torch.int64)
        for probe, (data, generator) in enumerate(zip(self.data, self.generators, strict=True)):
            steps = int(self.steps[probe])
            order = torch.randperm(len(data.train), generator=generator)[: steps * size]
            rows[:steps, probe] = torch.from_numpy(data.train)[order].view(steps, size)
        return rows

    def _gather_validation(
        self, groups: Sequence[ProbeRows]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
        for data in groups:
            rows = torch.from_numpy(data.validation).to(self.features.device)
            yield self.features[rows], self.targets[rows], len(data.seeds)

    def _split(self, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of the weights (H, C, D) and the biases (H, C, 1)."""
        classes, width = self.shape
        weight, bias = parameters.split((classes * width, classes), 1)
        return weight.view(-1, classes, width), bias.unsqueeze(2)


def _steps(data: ProbeRows, recipe: ProbeRecipe) -> int:
    return len(data.train) // recipe.batch_size


def _start(generator: torch.Generator, classes: int, width: int) -> torch.Tensor:
    """The start of torch.nn.Linear, drawn in the same order: weights, then biases."""
    bound = width**-0.5
    weight = torch.empty(classes * width).uniform_(-bound, bound, generator=generator)
    return torch.cat([weight, torch.empty(classes).uniform_(-bound, bound, generator=generator)])


def _positions(sizes: Sequence[int], ranks: Sequence[int]) -> torch.Tensor:
    """Where each probe, group by group, stands among the probes sorted by their groups' ranks.

    >>> _positions([1, 2], [1, 0]).tolist()
    [1, 2, 0]
    """
    starts = np.cumsum([0, *sizes])
    spans = {group: range(starts[i], starts[i + 1]) for i, group in enumerate(ranks)}
    return torch.tensor([row for group in sorted(spans) for row in spans[group]])
