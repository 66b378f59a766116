"""The training loop of many linear probes at once, written out without autograd.

H probes on the same features differ only in their rows, their order and their start. One step
of all of them is then one gather of rows, one batched product for the logits, one for the
gradient and one AdamW update of a matrix with a row a probe.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows, Problem

BETAS = (0.9, 0.999)

EPSILON = 1e-8


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
def train_stack(problem: Problem, device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train every probe of every group and keep the epoch of the lowest validation loss.

    Args:
        problem: What is learnt, where each group has at least one full batch.
        device: "cpu" or "cuda".

    Returns:
        Of each probe, group by group and in the order of their seeds: parameters at its best
        epoch, float32 of shape (H, C * D + C), weights (C, D) before biases; that epoch, from 1
        and the first on ties, shape (H,), or 0 where no validation loss was finite (the
        parameters are then the start's); validation losses, shape (H, epochs).
    """
    # Those with most steps first: the probes that still have batches left are a leading slice.
    groups = sorted(problem.groups, key=lambda rows: -_steps(rows, problem.recipe))
    stack = _Stack(replace(problem, groups=groups), device)
    epoch_losses = []
    best = stack.parameters.clone()
    best_epoch = torch.zeros(stack.probes, dtype=torch.int64, device=device)
    lowest = torch.full((stack.probes,), torch.inf, device=device)
    for epoch in range(problem.recipe.epochs):
        stack.train_epoch(epoch)
        loss = stack.validation_losses()
        better = loss < lowest
        best = torch.where(better[:, None], stack.parameters, best)
        best_epoch = torch.where(better, epoch + 1, best_epoch)
        lowest = torch.where(better, loss, lowest)
        epoch_losses.append(loss)
    steps = [_steps(rows, problem.recipe) for rows in problem.groups for _ in rows.seeds]
    back = np.argsort(np.argsort(np.negative(steps), kind="stable"))
    trained = (best, best_epoch, torch.stack(epoch_losses, 1))
    return tuple(tensor.cpu().numpy()[back] for tensor in trained)


class _Stack:
    """Probes side by side with their optimizer's moments and their working memory."""

    def __init__(self, problem: Problem, device: str) -> None:
        groups, recipe = problem.groups, problem.recipe
        self.features = torch.from_numpy(problem.features).to(device)
        self.targets = torch.from_numpy(problem.targets).to(device)
        self.recipe = recipe
        self.shape = (problem.n_classes, problem.features.shape[1])
        self.rows = [rows for rows in groups for _ in rows.seeds]
        self.probes = len(self.rows)
        self.steps = torch.tensor([_steps(rows, recipe) for rows in self.rows])
        seeds = [seed for rows in groups for seed in rows.seeds]
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        starts = [_start(generator, *self.shape) for generator in self.generators]
        self.parameters = torch.stack(starts).to(device)
        self.gradient = torch.zeros_like(self.parameters)
        self.mean = torch.zeros_like(self.parameters)
        self.square = torch.zeros_like(self.parameters)
        self.scratch = torch.empty_like(self.parameters)
        self.batch = torch.empty(self.probes * recipe.batch_size, self.shape[1], device=device)
        self.logits = torch.empty(self.probes, self.shape[0], recipe.batch_size, device=device)
        self.minus_one = torch.full((self.probes, 1, recipe.batch_size), -1.0, device=device)
        self.validation = []
        for rows in groups:
            picked = torch.from_numpy(rows.validation).to(device)
            self.validation.append((self.features[picked], self.targets[picked], len(rows.seeds)))

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
        for probe, (data, generator) in enumerate(zip(self.rows, self.generators, strict=True)):
            steps = int(self.steps[probe])
            order = torch.randperm(len(data.train), generator=generator)[: steps * size]
            rows[:steps, probe] = torch.from_numpy(data.train)[order].view(steps, size)
        return rows

    def _split(self, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of the weights (H, C, D) and the biases (H, C, 1)."""
        classes, width = self.shape
        weight, bias = parameters.split((classes * width, classes), 1)
        return weight.view(-1, classes, width), bias.unsqueeze(2)


def _steps(rows: ProbeRows, recipe: ProbeRecipe) -> int:
    return len(rows.train) // recipe.batch_size


def _start(generator: torch.Generator, classes: int, width: int) -> torch.Tensor:
    """The start of torch.nn.Linear, drawn in the same order: weights, then biases."""
    bound = width**-0.5
    weight = torch.empty(classes * width).uniform_(-bound, bound, generator=generator)
    return torch.cat([weight, torch.empty(classes).uniform_(-bound, bound, generator=generator)])
