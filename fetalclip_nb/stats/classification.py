"""Predicted classes of images, and every score that is made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import softmax

from fetalclip_nb.errors import DataError, listing
from fetalclip_nb.stats.proportions import clustered, clustered_f1
from fetalclip_nb.stats.scores import (
    FEWEST_PATIENTS,
    Score,
    bootstrap,
    both_units,
    on_sums,
    owners,
    share,
)


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
    def right(self) -> np.ndarray:
        """Whether each image's first choice is its true class, boolean (N,)."""
        return self.ranked[:, 0] == self.labels

    @property
    def confusion(self) -> np.ndarray:
        """Counts of shape (C, C), rows are true classes."""
        c = len(self.classes)
        return np.bincount(self.labels * c + self.ranked[:, 0], minlength=c * c).reshape(c, c)


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
    """
    unknown = listing(sorted(set(labels) - set(classes)))
    if unknown:
        raise DataError("Labels without prompts", expected=", ".join(classes), found=unknown)
    truth = pd.Index(classes).get_indexer(labels)
    ranked = np.argsort(-logits, axis=1, kind="stable")
    return Predictions(tuple(classes), truth, ranked, patients, softmax(logits, axis=-1).max(-1))


def scores(predictions: Predictions, *, by_patient: bool) -> dict[str, Score]:
    """Macro and per-class F1 and accuracy, top-2 and top-3 accuracy, with intervals.

    Args:
        predictions: Ranked classes.
        by_patient: Resample patients (the honest unit) instead of images (as published).

    Returns:
        f1_macro, accuracy_macro, top2_macro, top3_macro (means over the classes that have
        images), f1/CLASS and accuracy/CLASS.
    """
    n, c = len(predictions.labels), len(predictions.classes)
    owner, units = owners(predictions.patients if by_patient else np.arange(n))
    guesses = max(1, min(3, c - 1, predictions.ranked.shape[1]))
    tables = choice_sums(predictions.ranked[None], predictions.labels, owner, c, guesses)
    statistic = partial(choice_scores, classes=predictions.classes, present=predictions.present)
    boot = bootstrap(on_sums(statistic, *tables), units, n)
    found = {name: each.score for name, each in boot.items()}
    return found | _over_patients(predictions, owner, found) if by_patient else found


def _over_patients(
    predictions: Predictions, owner: np.ndarray, found: Mapping[str, Score]
) -> dict[str, Score]:
    """Scores of classes with intervals that hold at 0 and 1, too; means that have no error."""
    scores, lows, perfect = {}, [], []
    for i in predictions.present:
        name, true = predictions.classes[i], predictions.labels == i
        called = predictions.ranked[:, 0] == i
        recall = clustered(called[true], np.unique(owner[true], return_inverse=True)[1])
        f1 = clustered_f1(true & called, true | called, owner)
        for kind, (low, high) in (("f1", f1), ("accuracy", recall)):
            scores[f"{kind}/{name}"] = replace(found[f"{kind}/{name}"], low=low, high=high)
        lows.append((f1[0], recall[0]))
        patients = len(set(owner[true]))
        perfect.append(clustered(np.full(patients, True), np.arange(patients))[0])
    if predictions.right.all():  # no resample differs: the mean of the classes' lower ends
        for name, low in zip(("f1_macro", "accuracy_macro"), np.mean(lows, axis=0), strict=True):
            scores[name] = replace(found[name], low=float(low))
    for name in ("top2_macro", "top3_macro"):
        if name in found and found[name].value == 1:
            scores[name] = replace(found[name], low=float(np.mean(perfect)))
    return scores


def choice_sums(
    ranked: np.ndarray, labels: np.ndarray, owner: np.ndarray, n_classes: int, guesses: int
) -> tuple[np.ndarray, np.ndarray]:
    """What each unit (patient or image) adds to the sums that `choice_scores` are made of.

    Args:
        ranked: Class indices by falling probability, at least the first, shape (H, N, ranks).
        labels: True class index of each item, shape (N,).
        owner: Unit number of each item, shape (N,).
        n_classes: C.
        guesses: How many of the first choices are looked at, from 1.

    Returns:
        Items of each class, shape (P, 1, C). Items that are predicted as each class, and of
        each class that are among the first 1, 2, ... choices, shape (P, H, C, 1 + guesses).
    """
    predicted, truth = ranked[..., 0], np.broadcast_to(labels, ranked.shape[:2])
    hit = ranked == labels[:, None]
    rank = np.where(hit.any(-1), hit.argmax(-1), ranked.shape[-1])
    choices = [sum_by(owner, predicted, n_classes)]
    choices += [sum_by(owner, truth, n_classes, rank < k) for k in range(1, guesses + 1)]
    true = sum_by(owner, labels[None], n_classes)
    return true.astype(np.float32), np.stack(choices, axis=-1).astype(np.float32)


def sum_by(
    owner: np.ndarray, codes: np.ndarray, n_codes: int, values: np.ndarray | None = None
) -> np.ndarray:
    """Sum of values (or count) by unit, run and code: (P, H, n_codes) of codes (H, N)."""
    runs, size = len(codes), owner.max() + 1
    cells = (owner * runs + np.arange(runs)[:, None]) * n_codes + codes
    values = None if values is None else values.ravel()
    flat = np.bincount(cells.ravel(), values, size * runs * n_codes)
    return flat.reshape(size, runs, n_codes)


def choice_scores(
    true: np.ndarray, choices: np.ndarray, classes: Sequence[str], present: Sequence[int]
) -> dict[str, np.ndarray]:
    """Scores of shape (R, H) from sums of `choice_sums`; F1 is 0 where a class never occurs."""
    predicted, *within = np.moveaxis(choices.astype(np.float64), -1, 0)
    # A part is 0 where its whole is: 0 / 1 is the wanted 0.
    f1 = 2 * within[0] / np.maximum(true + predicted, 1)
    recall, *later = (hits / np.maximum(true, 1) for hits in within)
    found = {"f1_macro": f1[..., present].mean(-1), "accuracy_macro": recall[..., present].mean(-1)}
    found |= {f"top{k}_macro": hits[..., present].mean(-1) for k, hits in enumerate(later, 2)}
    for i in present:
        found |= {f"f1/{classes[i]}": f1[..., i], f"accuracy/{classes[i]}": recall[..., i]}
    return found


def task_scores(
    predictions: Predictions, task: str, names: Sequence[str] = ()
) -> dict[str, dict[str, Score]]:
    """Scores of a task with both intervals, named TASK/SCORE; empty ``names`` keep all."""

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
    """One row an image: its name or path as given, patient, true, predicted, confidence."""
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
    """Share of right answers by the name of an image's subgroup (machine), patient intervals.

    Subgroups of fewer than five patients are left out.
    """
    images = np.arange(len(groups))
    units = images if predictions.patients is None else predictions.patients
    rows = {name: np.asarray(groups) == name for name in sorted(set(groups))}
    return {
        name: share(predictions.right[r], groups=units[r])
        for name, r in rows.items()
        if len(set(units[r])) >= FEWEST_PATIENTS
    }


def joined(*parts: Predictions) -> Predictions:
    """Several tasks' first choices side by side, classes kept apart (the paper's eight classes)."""
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    maps = [pd.Index(classes).get_indexer(part.classes) for part in parts]
    labels = np.concatenate([m[p.labels] for m, p in zip(maps, parts, strict=True)])
    first = np.concatenate([m[p.ranked[:, :1]] for m, p in zip(maps, parts, strict=True)])
    known = all(part.patients is not None for part in parts)
    patients = np.concatenate([part.patients for part in parts]) if known else None
    return Predictions(classes, labels, first, patients)
