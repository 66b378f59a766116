"""Predicted classes of images, and every score that is made of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import softmax

from fetalclip_nb.errors import DataError, ShapeError, listing
from fetalclip_nb.stats.scores import (
    Score,
    both_units,
    confusion_codes,
    f1_per_class,
    interval,
    macro_f1,
    macro_recall,
    resampled_counts,
    share,
)

_RANKS = 4  # the true class came first, second, third or later


@dataclass(frozen=True)
class Predictions:
    """Ranked classes of each image.

    Attributes:
        classes: Names; a prediction may fall on a class that has no image.
        labels: True class index, shape (N,).
        ranked: Class indices by falling probability, shape (N, C).
        patients: Patient of each image, shape (N,), or None where unknown.
        confidence: Probability of the first choice, shape (N,), or None where unknown.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    ranked: np.ndarray
    patients: np.ndarray | None
    confidence: np.ndarray | None = None

    @property
    def present(self) -> list[int]:
        """Classes that have at least one image."""
        return sorted(set(self.labels.tolist()))

    @property
    def codes(self) -> np.ndarray:
        """Cell of the confusion matrix of each image's first choice, shape (N,)."""
        return confusion_codes(self.labels, self.ranked[:, 0], len(self.classes))

    @property
    def confusion(self) -> np.ndarray:
        """Counts of shape (C, C), rows are true classes."""
        c = len(self.classes)
        return np.bincount(self.codes, minlength=c * c).reshape(c, c)


def predict(
    logits: np.ndarray,
    labels: list[str] | np.ndarray,
    classes: tuple[str, ...],
    patients: np.ndarray | None = None,
) -> Predictions:
    """Rank the classes of each image.

    Args:
        logits: Shape (N, C).
        labels: True class names, N of them.
        classes: C names, in the order of the logits' columns.
        patients: Patient ids, N of them, where known.

    Raises:
        DataError: If a label has no prompts.
        ShapeError: If sizes do not match.
    """
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise DataError(
            "Labels without prompts", expected=", ".join(classes), found=listing(unknown)
        )
    if logits.shape != (len(labels), len(classes)):
        raise ShapeError(
            "Logits do not fit labels and classes",
            expected=(len(labels), len(classes)),
            found=logits.shape,
        )
    index = {name: i for i, name in enumerate(classes)}
    truth = np.array([index[label] for label in labels])
    ranked = np.argsort(-logits, axis=1, kind="stable")
    return Predictions(tuple(classes), truth, ranked, patients, softmax(logits, axis=-1).max(-1))


def scores(predictions: Predictions, *, by_patient: bool) -> dict[str, Score]:
    """Macro and per-class F1 and accuracy, top-2 and top-3 accuracy, with intervals.

    Args:
        predictions: Ranked classes.
        by_patient: Resample patients (the honest unit) instead of images (as published).

    Returns:
        Scores by name: f1_macro, accuracy_macro, top2_macro, top3_macro, f1/CLASS,
        accuracy/CLASS. The means run over the classes that have images.
    """
    c, present = len(predictions.classes), predictions.present
    groups = predictions.patients if by_patient else None
    # One draw serves all scores: an outcome is the confusion cell and the true class's rank.
    ranks = np.minimum(_true_rank(predictions), _RANKS - 1)
    codes = predictions.codes * _RANKS + ranks
    n_codes = c * c * _RANKS
    counts = resampled_counts(codes, n_codes, groups=groups).reshape(-1, c * c, _RANKS)
    whole = np.bincount(codes, minlength=n_codes).reshape(c * c, _RANKS)
    units = codes.size if groups is None else len(set(groups))

    def entry(statistic: Callable[[np.ndarray], np.ndarray]) -> Score:
        value = float(statistic(whole))
        return interval(value, statistic(counts), n=codes.size, groups=units)

    found = {
        "f1_macro": entry(lambda k: macro_f1(k.sum(-1), c, present)),
        "accuracy_macro": entry(lambda k: macro_recall(k.sum(-1), c, present)),
    }
    for k in (2, 3):
        if k < min(c, predictions.ranked.shape[1] + 1):
            found[f"top{k}_macro"] = entry(
                lambda n, k=k: _top_recall(n, c, k)[..., present].mean(-1)
            )
    for i in present:
        name = predictions.classes[i]
        found[f"f1/{name}"] = entry(lambda k, i=i: f1_per_class(k.sum(-1), c)[..., i])
        found[f"accuracy/{name}"] = entry(lambda k, i=i: _top_recall(k, c, 1)[..., i])
    return found


def _true_rank(predictions: Predictions) -> np.ndarray:
    """Position of the true class in the ranking, 0 for the first, shape (N,)."""
    hit = predictions.ranked == predictions.labels[:, None]
    return np.where(hit.any(1), hit.argmax(1), predictions.ranked.shape[1])


def _top_recall(counts: np.ndarray, c: int, k: int) -> np.ndarray:
    """Share of each class's images with the true class among the first k, shape (..., C).

    Args:
        counts: Shape (..., C * C, ranks).
        c: Number of classes.
        k: Number of guesses.
    """
    by_class = counts.reshape(*counts.shape[:-2], c, c, counts.shape[-1]).sum(-2)
    hits, total = by_class[..., :k].sum(-1), by_class.sum(-1)
    return np.divide(hits, total, out=np.zeros(total.shape), where=total > 0)


def task_scores(
    predictions: Predictions, task: str, names: Sequence[str] = ()
) -> dict[str, dict[str, Score]]:
    """Scores of a task with both intervals, named TASK/SCORE.

    Args:
        predictions: Ranked classes.
        task: Prefix of the names ("five_planes").
        names: Which scores to keep; empty for all.
    """

    def compute(patients: np.ndarray | None) -> dict[str, Score]:
        found = scores(predictions, by_patient=patients is not None)
        return {f"{task}/{name}": s for name, s in found.items() if not names or name in names}

    return both_units(compute, predictions.patients)


def majority(predictions: Predictions) -> Predictions:
    """What always answering the most frequent class gives: a floor for every score."""
    order = np.argsort(-predictions.confusion.sum(1), kind="stable")
    ranked = np.tile(order, (len(predictions.labels), 1))
    return replace(predictions, ranked=ranked, confidence=None)


def as_table(predictions: Predictions, images: Sequence[str]) -> pd.DataFrame:
    """One row an image: image, patient, true, predicted, confidence.

    Args:
        predictions: Ranked classes.
        images: Name or path of each image, N of them.
    """
    names = np.array(predictions.classes)
    return pd.DataFrame(
        {
            "image": np.asarray(images),
            "patient": predictions.patients,
            "true": names[predictions.labels],
            "predicted": names[predictions.ranked[:, 0]],
            "confidence": predictions.confidence,
        }
    )


def mistakes(predictions: Predictions, images: Sequence[str], most: int) -> pd.DataFrame:
    """The wrong answers that were given with the highest confidence, as `as_table` rows."""
    table = as_table(predictions, images)
    wrong = table[table["true"] != table["predicted"]]
    return wrong.sort_values("confidence", ascending=False).head(most)


def subgroup_accuracy(predictions: Predictions, groups: np.ndarray) -> dict[str, Score]:
    """Share of right answers in each subgroup, with patient intervals.

    Args:
        predictions: Ranked classes.
        groups: Name of each image's subgroup (machine, operator), shape (N,).
    """
    right = predictions.ranked[:, 0] == predictions.labels
    found = {}
    for name in sorted(set(groups)):
        rows = np.asarray(groups) == name
        patients = None if predictions.patients is None else predictions.patients[rows]
        found[name] = share(right[rows], groups=patients)
    return found


def joined(*parts: Predictions) -> Predictions:
    """Put several tasks' predictions side by side (the paper's eight-class mean).

    Classes are kept apart by their names; only the first choice is kept.
    """
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    index = {name: i for i, name in enumerate(classes)}
    maps = [np.array([index[name] for name in part.classes]) for part in parts]
    labels = np.concatenate([m[p.labels] for m, p in zip(maps, parts, strict=True)])
    first = np.concatenate([m[p.ranked[:, :1]] for m, p in zip(maps, parts, strict=True)])
    known = all(part.patients is not None for part in parts)
    patients = np.concatenate([part.patients for part in parts]) if known else None
    return Predictions(classes, labels, first, patients)
