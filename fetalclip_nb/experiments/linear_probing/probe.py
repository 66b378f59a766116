"""Features of a task's items, and the probes and rivals that are fitted to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetalclip_nb.data.augmentation import Augmentation
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.experiments.linear_probing.fit import LinearProbes, cached_probes
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows
from fetalclip_nb.experiments.linear_probing.rivals import logistic_regression, nearest_neighbours
from fetalclip_nb.models.embed import ImageEncoder, augmented_embeddings, image_embeddings
from fetalclip_nb.models.pixels import PixelEncoder
from fetalclip_nb.tasks.items import Items, clip_features
from fetalclip_nb.tasks.splits import Split, fit_seed, rows_of

PIXELS = PixelEncoder()

PIXEL_NAME = "pixels, logistic regression"

RIVALS = {
    ", logistic regression": logistic_regression,
    ", nearest neighbours": nearest_neighbours,
}
"""Suffix of a model's name in tables and other readers of its features."""


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


def encode(
    model: ImageEncoder,
    dataset: Dataset,
    test: Sequence[str],
    *,
    copies: int,
    cache_dir: Path,
    seed: int = 0,
    batch_size: int = 64,
    items: Items | None = None,
) -> Encoded:
    """Embed a whole data set, and augmented copies of the images that may be trained on.

    Args:
        model: Encoder.
        dataset: A whole data set.
        test: Patients whom no task trains on (`probe_splits.never_trained`): their images get no
            copies.
        copies: Augmented copies of each image; 0 for none.
        cache_dir: Folder that all notebooks share.
        seed: Seed of the augmentation.
        batch_size: Images in a forward pass.
        items: The only task, if there is one: images that it does not use (frames of long
            clips) get no copies.

    Returns:
        Features in table order. NaN in place of the copies of an image that was not augmented:
        `fit_probes` refuses to train on them.

    Raises:
        ParameterError: If copies are asked for and no patient is left to train on, or the data
            set is a subset.
        CacheError: If the cache holds something else than its key promises.
        ImageError: If an image cannot be decoded.
    """
    options = {"cache_dir": cache_dir, "batch_size": batch_size}
    plain = image_embeddings(model, dataset, **options).of(dataset)
    changed = np.full((copies, *plain.shape), np.nan, dtype=np.float32)
    if copies:
        trained = ~rows_of(dataset.table, test)
        if items is not None:
            trained &= np.isin(np.arange(len(dataset)), items.images)
        augmentation = Augmentation(seed=seed)
        changed[:, trained] = augmented_embeddings(
            model, dataset.where(trained), augmentation, copies=copies, **options
        )
    return Encoded(plain, changed)


def fit_probes(
    encoded: Encoded,
    items: Items,
    splits: Sequence[Split],
    *,
    runs: int,
    seed: int,
    recipe: ProbeRecipe,
    cache_dir: Path,
    device: str = "cpu",
) -> LinearProbes:
    """Train the probes of all folds of some splits and of all runs as one batched problem.

    Probes are trained on the augmented copies of their training patients' items (on the items
    themselves where there are no copies); the best epoch is chosen on un-augmented items.

    Args:
        encoded: Features of the items.
        items: The task.
        splits: One split for probing, one for each support size for few-data training.
        runs: Probes a fold, each with a seed of its own.
        seed: What the probes' seeds are made of, with their training patients and runs
            (`fit_seed`).
        recipe: Learning rate, batch size, epochs.
        cache_dir: Folder that all notebooks share; trained probes are kept there.
        device: "cpu" or "cuda".

    Returns:
        Probes in the order of splits, folds and runs.

    Raises:
        ParameterError: If a fold has fewer training rows than a batch.
        ShapeError: If a feature is not finite, as of a training item without copies.

    Source: FetalCLIP (arXiv 2502.14807), linear probing and few-data training.
    """
    folds = [fold for split in splits for fold in split.folds]
    trained = rows_of(items.table, {patient for fold in folds for patient in fold.train})
    features, targets, place = _stacked(encoded, items.targets, trained)
    groups = [
        ProbeRows(
            train=place[:, rows_of(items.table, fold.train)].ravel(),
            validation=np.flatnonzero(rows_of(items.table, fold.validation)),
            seeds=tuple(fit_seed(seed, fold.train, run) for run in range(runs)),
        )
        for fold in folds
    ]
    return cached_probes(
        features, targets, groups, len(items.classes), recipe, cache_dir=cache_dir, device=device
    )


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


def probe(
    encoded: Encoded, items: Items, split: Split, **settings: object
) -> dict[str, np.ndarray]:
    """Test logits of the linear probe and of its rivals on the same features.

    Args:
        encoded: Features of the items.
        items: The task.
        split: Folds and test patients.
        **settings: runs, seed, recipe, cache_dir and device of `fit_probes`.

    Returns:
        Suffix ("" for the probe) to logits of shape (H, number tested, C): folds times runs
        probes, one rival for each fold.
    """
    probes = fit_probes(encoded, items, [split], **settings)
    found = {"": probes.logits(encoded.plain[items.tested(split)])}
    return found | {name: rival_logits(fit, encoded, items, split) for name, fit in RIVALS.items()}


def pixel_logits(encoded: Encoded, items: Items, split: Split) -> np.ndarray:
    """Test logits of a logistic regression on raw pixels, one for each fold."""
    return rival_logits(logistic_regression, encoded, items, split)


def rival_logits(fit: Callable, encoded: Encoded, items: Items, split: Split) -> np.ndarray:
    """Fit a baseline on un-augmented features of each fold and score the tested items.

    Args:
        fit: `probe_baselines.logistic_regression` or `nearest_neighbours`.
        encoded: Features of the items.
        items: The task.
        split: Folds and test patients.

    Returns:
        Logits of shape (folds, number tested, C).
    """
    fitted = [
        fit(
            encoded.plain,
            items.targets,
            ProbeRows(
                train=np.flatnonzero(rows_of(items.table, fold.train)),
                validation=np.flatnonzero(rows_of(items.table, fold.validation)),
                seeds=(0,),
            ),
            len(items.classes),
        )
        for fold in split.folds
    ]
    tested = encoded.plain[items.tested(split)]
    return np.stack([one.logits(tested) for one in fitted])


def majority_logits(items: Items, split: Split) -> np.ndarray:
    """Logarithm of the class shares among each fold's training items, whatever the image.

    Returns:
        Logits of shape (folds, number tested, C): what can be had without looking. Its
        calibration error is small, for shares are calibrated.
    """
    counts = [
        np.bincount(items.targets[rows_of(items.table, fold.train)], minlength=len(items.classes))
        for fold in split.folds
    ]
    shares = np.log((np.stack(counts) + 1e-6) / np.sum(counts, axis=1, keepdims=True))
    return np.repeat(shares[:, None], items.tested(split).sum(), axis=1)
