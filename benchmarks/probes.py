"""Time the probes of linear probing and few-data training, stacked and in the plain ways."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import Measure, best_of, best_seconds, peak_memory
from torch import nn
from torch.utils.data import DataLoader, Dataset

from fetalclip_nb.data.images import read_square
from fetalclip_nb.experiments.linear_probing.fit import LinearProbes, train_probes
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows, Problem
from fetalclip_nb.experiments.linear_probing.rivals import logistic_regression, nearest_neighbours
from fetalclip_nb.models.model import load_model

WIDTH, CLASSES, SEEDS = 768, 6, 5
TRAINED = 12_000
STEPS = TRAINED // 64 * 50
FEW = ProbeRecipe(batch_size=16, epochs=100)
PER_PATIENT, COPIES = 7, 10


def probe_task() -> Problem:
    """Five folds of 15,000 rows: each trains on 12,000 and is validated on 3,000."""
    features, targets = _embeddings(15_000)
    parts = np.array_split(np.random.default_rng(1).permutation(len(targets)), 5)
    every = np.arange(len(targets))
    groups = [ProbeRows(np.setdiff1d(every, part), part, tuple(range(SEEDS))) for part in parts]
    return Problem(features, targets, groups, CLASSES, ProbeRecipe())


def few_task() -> Problem:
    """Six sizes x five supports of 2 to 64 patients: 7 images each, 10 copies of each image."""
    images = 2_100
    features, targets = _embeddings(images, copies=COPIES + 1)
    rng, groups = np.random.default_rng(1), []
    for patients in (2, 4, 8, 16, 32, 64):
        for _ in range(5):
            drawn = rng.permutation(images)[: 2 * patients * PER_PATIENT]
            train, validation = np.split(drawn, 2)
            copies = np.concatenate([train + images * (1 + copy) for copy in range(COPIES)])
            groups.append(ProbeRows(copies, validation, tuple(range(SEEDS))))
    return Problem(features, targets, groups, CLASSES, FEW)


def probes() -> dict[str, float | Measure]:
    """25 probes, 50 epochs of 187 steps of 64 rows, beside the loop over the probes.

    The probes with seed 0 are also trained alone, one a fold, to compare what they answer.
    """
    task = probe_task()
    stacked, (found, *_) = best_of(*[lambda: train_probes(task)] * 3)
    single, alone = best_of(*[lambda d=data: train_probes(_alone(task, d)) for data in task.groups])
    loop, plain = best_of(*[lambda d=data: _bare_loop(task, d) for data in task.groups[:2]])
    guesses = found.logits(task.features).argmax(2)[::SEEDS]
    unlike_alone = guesses != [probe.logits(task.features)[0].argmax(1) for probe in alone]
    unlike_plain = guesses[:2] != plain
    return {
        "25 probes, stacked": stacked,
        "1 probe": single,
        "bare loop, scaled from 1 to 25 probes": 25 * loop,
        "authors' way, EXTRAPOLATED from 8 steps": 25 * STEPS * _authors_step(task),
        "guesses unlike those of single runs": Measure(100 * unlike_alone.mean(), "%"),
        "guesses unlike the bare loop's": Measure(100 * unlike_plain.mean(), "%"),
        "working memory": peak_memory(probe_task, _one_epoch),
        **(_on_gpu(task) if torch.cuda.is_available() else {}),
    }


def few_probes() -> dict[str, float | Measure]:
    """150 probes of few-data training, 100 epochs of batches of 16 rows."""
    task = few_task()
    return {
        "150 probes, stacked": best_seconds(lambda: train_probes(task)),
        "working memory": peak_memory(few_task, _one_epoch),
    }


def rivals() -> dict[str, float | Measure]:
    """The baselines on one fold: every penalty, every number of neighbours."""
    task = probe_task()
    given = (task.features, task.targets, task.groups[0], CLASSES)
    return {
        "logistic regression, 7 penalties": best_seconds(lambda: logistic_regression(*given)),
        "nearest neighbours, 6 numbers": best_seconds(lambda: nearest_neighbours(*given)),
    }


def _embeddings(images: int, copies: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Random features whose classes a linear probe finds in part, copies one after the other."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((copies * images, WIDTH), dtype=np.float32)
    for copy in range(1, copies):
        features[copy * images : (copy + 1) * images] += features[:images]
    scores = features[:images] @ rng.standard_normal((WIDTH, CLASSES), dtype=np.float32)
    scores += 10 * rng.standard_normal(scores.shape, dtype=np.float32)
    return features, np.tile(scores.argmax(1), copies)


def _alone(task: Problem, data: ProbeRows) -> Problem:
    return replace(task, groups=[ProbeRows(data.train, data.validation, (0,))])


def _one_epoch(task: Problem) -> None:
    train_probes(replace(task, recipe=replace(task.recipe, epochs=1)))


def _bare_loop(task: Problem, data: ProbeRows, device: str = "cpu") -> np.ndarray:
    """One probe as anyone would write it, features in memory; its guesses for all rows."""
    torch.manual_seed(0)
    layer = nn.Linear(WIDTH, CLASSES).to(device)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=3e-4, weight_decay=0.01)
    features = torch.from_numpy(task.features).to(device)
    targets = torch.from_numpy(task.targets).to(device)
    train, validation = (
        torch.from_numpy(rows).to(device) for rows in (data.train, data.validation)
    )
    held_out, labels = features[validation], targets[validation]
    lowest, guesses = torch.inf, None
    for _ in range(task.recipe.epochs):
        order = train[torch.randperm(len(train)).to(device)]
        for rows in order.split(task.recipe.batch_size)[: len(order) // task.recipe.batch_size]:
            loss = nn.functional.cross_entropy(
                layer(features.index_select(0, rows)), targets.index_select(0, rows)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            loss = nn.functional.cross_entropy(layer(held_out), labels).item()
            if loss < lowest:
                lowest, guesses = loss, layer(features).argmax(1)
    return guesses.cpu().numpy()


class _Reread(Dataset):
    """Images read and prepared again in every epoch, although their embeddings are known."""

    def __init__(self, paths: list[Path], preprocess: Callable) -> None:
        self.paths, self.preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.preprocess(read_square(self.paths[row])), row


def _authors_step(task: Problem) -> float:
    """Seconds a training step when the loader prepares 64 images for each.

    Left out, all in favour of this way: augmentation, validation images, metrics, Lightning.
    One process reads; two at best halve it here.
    """
    preprocess = load_model("phantomclip", device="cpu").preprocess
    layer = nn.Linear(WIDTH, CLASSES)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=3e-4, weight_decay=0.01)
    features, targets = torch.from_numpy(task.features), torch.from_numpy(task.targets)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.png" for number in range(8 * 64)]
        for number, path in enumerate(paths):
            _write_scan(path, number)
        loader = DataLoader(_Reread(paths, preprocess), batch_size=64, shuffle=True)

        def epoch() -> None:
            for _, rows in loader:
                loss = nn.functional.cross_entropy(layer(features[rows]), targets[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

        return best_seconds(epoch, runs=2) / len(loader)


def _write_scan(path: Path, seed: int) -> None:
    """A grey picture of the planes data set's size that compresses about as well as a scan."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (60, 80), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((800, 600), Image.Resampling.BICUBIC)).astype(int)
    speckle = smooth + rng.integers(-6, 7, smooth.shape)
    Image.fromarray(speckle.clip(0, 255).astype(np.uint8)).save(path)


def _on_gpu(task: Problem) -> dict[str, float]:
    def stacked() -> LinearProbes:
        return train_probes(task, device="cuda")

    stacked()  # the first call on a device loads its libraries
    return {
        "GPU: 25 probes, stacked": best_seconds(stacked),
        "GPU: bare loop, scaled from 1 to 25 probes": 25
        * best_seconds(lambda: _bare_loop(task, task.groups[0], "cuda")),
    }
