"""From images to answers: tasks, features, and the logits of probes and of their rivals."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetalclip_nb.data.augmentation import Augmentation
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.experiments.linear_probing.fit import LinearProbes, cached_probes
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows, Problem
from fetalclip_nb.experiments.linear_probing.rivals import logistic_regression, nearest_neighbours
from fetalclip_nb.models.embed import ImageEncoder, augmented_embeddings, image_embeddings
from fetalclip_nb.models.pixels import PixelEncoder
from fetalclip_nb.tasks.choice import choose_folds, never_trained
from fetalclip_nb.tasks.items import (
    CHD_CLASSES,
    Items,
    Task,
    class_items,
    clip_features,
    clip_items,
)
from fetalclip_nb.tasks.splits import fit_seed, rows_of

PIXELS = PixelEncoder()

MAJORITY = "majority class"

PROBE = "linear probe"

RIVALS = {"logistic regression": logistic_regression, "nearest neighbours": nearest_neighbours}
"""Other readers of a model's features."""

Logits = dict[tuple[str, str, str], np.ndarray]
"""Model, reader and task to what H probes or fits say of the N tested items, (H, N, C)."""


def class_tasks(
    images: Dataset, choice: str, released_root: Path, *, folds: int, seed: int
) -> dict[str, Task]:
    """All that probes are taught on a data set, with folds: name to task, the coarse one first.

    Args:
        images: FETAL_PLANES_DB, or a manifest of any classes.
        choice: "auto", "official" or "own" splits (`tasks.choice.choose_folds`).
        released_root: Folder of the authors' split files; it need not be there.
        folds: Number of own folds.
        seed: Seed of own folds.
    """
    tasks = {}
    for name, items in class_items(images).items():
        split = choose_folds(choice, items, images, released_root, seed=seed, folds=folds)
        tasks[name] = Task(images, items, {name: split})
    return tasks


def clip_task(clips: Dataset, *, frames: int, folds: int, seed: int) -> Task:
    """Heart disease in clips, or what else has two labels, with own folds; frames are joined."""
    labels = sorted(set(clips.table["label"]), key=lambda label: (label != CHD_CLASSES[0], label))
    classes = tuple(labels) if len(labels) == 2 else CHD_CLASSES
    items = clip_items("chd", clips, classes, frames=frames)
    split = choose_folds("own", items, clips, None, seed=seed, folds=folds)
    return Task(clips, items, {"clips": split})


@dataclass(frozen=True)
class Encoded:
    """Features of images or items, as they are and of augmented copies.

    Attributes:
        plain: float32 of shape (N, D).
        copies: float32 of shape (K, N, D); NaN where an image was not augmented.
    """

    plain: np.ndarray
    copies: np.ndarray

    def of(self, items: Items) -> "Encoded":
        """Features of a task's items: rows picked, frames of a clip joined."""
        if items.clips is None:
            return Encoded(self.plain[items.rows], self.copies[:, items.rows])
        return Encoded(
            clip_features(self.plain, items.clips), clip_features(self.copies, items.clips)
        )


def embed(
    models: Iterable[ImageEncoder],
    tasks: Mapping[str, Task],
    *,
    copies: int,
    cache_dir: Path,
    seed: int = 0,
    batch_size: int = 64,
    preparation: str = "published",
) -> dict[tuple[str, str], Encoded]:
    """Embed the images of all tasks with one model after the other.

    Args:
        models: Encoders.
        tasks: Name to task; those of one data set share its features.
        copies: Augmented copies of each image; 0 for none. Patients whom no task trains on get
            none, nor do images that no task uses (frames of long clips).
        cache_dir: Folder that all notebooks share.
        seed: Seed of the augmentation.
        batch_size: Images in a forward pass.
        preparation: Of all images, a key of `embed.PREPARATIONS`.

    Returns:
        Model and task to the features of its items, with NaN in place of the copies of an item
        that was not augmented: `fit_probes` refuses to train on it.

    Raises:
        ImageError: If an image cannot be decoded.
    """
    groups: dict[Path, dict[str, Task]] = {}
    for name, task in tasks.items():
        groups.setdefault(task.dataset.root, {})[name] = task
    cache = {"cache_dir": cache_dir, "batch_size": batch_size, "preparation": preparation}
    features = {}
    for model in models:
        for group in groups.values():
            encoded = _encoded(model, list(group.values()), copies, seed, cache)
            features |= {(model.name, name): encoded.of(t.items) for name, t in group.items()}
    return features


def _encoded(
    model: ImageEncoder, tasks: Sequence[Task], copies: int, seed: int, cache: dict
) -> Encoded:
    """Features of a whole data set, from all tasks on it."""
    dataset = tasks[0].dataset
    plain = image_embeddings(model, dataset, **cache).of(dataset)
    changed = np.full((copies, *plain.shape), np.nan, dtype=np.float32)
    if copies:
        used = np.concatenate([task.items.images for task in tasks])
        trained = ~rows_of(dataset.table, never_trained(tasks))
        trained &= np.isin(np.arange(len(dataset)), used)
        changed[:, trained] = augmented_embeddings(
            model, dataset.where(trained), Augmentation(seed=seed), copies=copies, **cache
        )
    return Encoded(plain, changed)


def other_preparation(preparation: str) -> tuple[str, str]:
    """The preparation that a chapter has not, and what its tables call images that have it."""
    if preparation == "published":
        return "ours", "smoothed images"
    return "published", "unsmoothed images"


def twin_logits(
    model: ImageEncoder,
    tasks: Mapping[str, Task],
    recipe: ProbeRecipe,
    *,
    seed: int,
    cache_dir: Path,
    batch_size: int = 64,
    device: str = "cpu",
) -> Logits:
    """Logits of a model's probes on planes whose images all had the other preparation.

    Args:
        model: Encoder.
        tasks: Name to task; clips are left out.
        recipe: How the chapter's probes are trained, with its preparation.
        seed: Seed of augmentation and probes.
        cache_dir: Folder that all notebooks share.
        batch_size: Images in a forward pass.
        device: "cpu" or "cuda".
    """
    other, images = other_preparation(recipe.preparation)
    planes = {name: task for name, task in tasks.items() if task.items.clips is None}
    shared = {"cache_dir": cache_dir, "seed": seed}
    asked = {"copies": recipe.copies, "preparation": other, "batch_size": batch_size}
    features = embed([model], planes, **asked, **shared)
    recipes = dict.fromkeys(planes, recipe)
    return probe_logits(features, planes, recipes, device=device, reader=images, **shared)


def probe_logits(
    features: Mapping[tuple[str, str], Encoded],
    tasks: Mapping[str, Task],
    recipes: Mapping[str, ProbeRecipe],
    *,
    seed: int,
    cache_dir: Path,
    device: str = "cpu",
    reader: str = PROBE,
) -> Logits:
    """Train all probes of each model and task, and let them answer the tested items.

    Args:
        features: As given by `embed`.
        tasks: Name to task.
        recipes: Task to how its probes are trained, and how many.
        seed: Seed of the probes.
        cache_dir: Folder that all notebooks share; trained probes are kept there.
        device: "cpu" or "cuda".
        reader: What tables call these probes.

    Returns:
        One row of logits a fold and run, in the order of splits, folds and runs.
    """
    logits = {}
    for (model, name), encoded in features.items():
        probes = fit_probes(encoded, tasks[name], recipes[name], seed, cache_dir, device)
        logits[model, reader, name] = probes.logits(encoded.plain[tasks[name].tested])
    return logits


def fit_probes(
    encoded: Encoded, task: Task, recipe: ProbeRecipe, seed: int, cache_dir: Path, device: str
) -> LinearProbes:
    """Train the probes of a task's splits, folds and runs, in this order, as one batched problem.

    Probes are trained on the augmented copies of their training patients' items (on the items
    themselves where there are no copies); the best epoch is chosen on un-augmented items.

    Args:
        encoded: Features of the task's items.
        task: Items with one split for probing, one a support size for few-data training.
        recipe: How probes are trained, and how many a fold.
        seed: What the probes' seeds are made of, with their training patients and runs
            (`fit_seed`).
        cache_dir: Folder that all notebooks share; trained probes are kept there.
        device: "cpu" or "cuda".

    Source: FetalCLIP (arXiv 2502.14807), linear probing and few-data training.
    """
    items = task.items
    folds = [fold for split in task.splits.values() for fold in split.folds]
    trained = rows_of(items.table, {patient for fold in folds for patient in fold.train})
    features, targets, place = _stacked(encoded, items.targets, trained)
    groups = [
        ProbeRows(
            train=place[:, rows_of(items.table, fold.train)].ravel(),
            validation=np.flatnonzero(rows_of(items.table, fold.validation)),
            seeds=tuple(fit_seed(seed, fold.train, run) for run in range(recipe.runs)),
        )
        for fold in folds
    ]
    problem = Problem(features, targets, groups, len(items.classes), recipe)
    return cached_probes(problem, cache_dir=cache_dir, device=device)


def _stacked(
    encoded: Encoded, targets: np.ndarray, trained: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All features in one array, their targets, and where each item's training rows are."""
    n, copies = len(targets), len(encoded.copies)
    if not copies:
        return encoded.plain, targets, np.arange(n)[None]
    changed = copies * int(trained.sum())
    place = np.full((copies, n), -1)
    place[:, trained] = n + np.arange(changed).reshape(copies, -1)
    features = np.empty((n + changed, encoded.plain.shape[1]), dtype=np.float32)
    features[:n] = encoded.plain
    # Row by row of copies: all at once would hold them in memory once more.
    for rows, copy in zip(place, encoded.copies, strict=True):
        features[rows[trained]] = copy[trained]
    return features, np.concatenate([targets, np.tile(targets[trained], copies)]), place


def rival_logits(
    features: Mapping[tuple[str, str], Encoded],
    tasks: Mapping[str, Task],
    rivals: Mapping[str, Callable] = RIVALS,
) -> Logits:
    """Logits of other readers of the same features, one fit a fold."""
    return {
        (model, reader, name): fold_logits(fit, encoded, tasks[name])
        for (model, name), encoded in features.items()
        for reader, fit in rivals.items()
    }


def baseline_logits(tasks: Mapping[str, Task], *, cache_dir: Path, batch_size: int = 64) -> Logits:
    """Logits without any encoder: of raw pixels, and of the classes' shares alone."""
    cache = {"cache_dir": cache_dir, "batch_size": batch_size}
    pixels = embed([PIXELS], tasks, copies=0, preparation="ours", **cache)
    logits = rival_logits(pixels, tasks, {"logistic regression": logistic_regression})
    return logits | {(MAJORITY, "", name): majority_logits(task) for name, task in tasks.items()}


def fold_logits(fit: Callable, encoded: Encoded, task: Task) -> np.ndarray:
    """Fit a rival on un-augmented features of each fold: logits of shape (folds, tested, C)."""
    items, logits = task.items, []
    for fold in task.split.folds:
        sides = (rows_of(items.table, side) for side in (fold.train, fold.validation))
        rows = ProbeRows(*map(np.flatnonzero, sides), seeds=())
        fitted = fit(encoded.plain, items.targets, rows, len(items.classes))
        logits.append(fitted.logits(encoded.plain[task.tested]))
    return np.stack(logits)


def majority_logits(task: Task) -> np.ndarray:
    """Logarithm of the class shares among each fold's training items, whatever the image.

    Returns:
        Logits of shape (folds, number tested, C): what can be had without looking. Its
        calibration error is small, for shares are calibrated.
    """
    items = task.items
    counts = [
        np.bincount(items.targets[rows_of(items.table, fold.train)], minlength=len(items.classes))
        for fold in task.split.folds
    ]
    shares = np.log((np.stack(counts) + 1e-6) / np.sum(counts, axis=1, keepdims=True))
    return np.repeat(shares[:, None], task.tested.sum(), axis=1)
