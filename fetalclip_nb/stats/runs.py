"""Scores of many heads on the same test items: spread over runs, interval over patients.

Folds and runs say how much training varies, resampled patients how much the test set says.
All scores but AUROC are made of sums over items. A patient's sums are taken once; a
resample's sums are then the drawn patients' weights times that table, for all heads at once.

Sums over each patient's items, and over the items of resampled patients.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_softmax, logsumexp

from fetalclip_nb.errors import DataError, ShapeError, listing
from fetalclip_nb.stats import calibration, scores
from fetalclip_nb.stats.patients import blocks, patient_weights
from fetalclip_nb.stats.ranking import auroc
from fetalclip_nb.stats.scores import RunScores


def run_scores(
    logits: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    classes: tuple[str, ...],
    *,
    resamples: int = scores.RESAMPLES,
    seed: int = scores.SEED,
) -> dict[str, RunScores]:
    """All scores of H heads, and intervals of their means when whole patients are resampled.

    Every head is scored on the same drawn patients. The means over classes run over the
    classes that have items; F1 is 0 where a class is neither present nor predicted.

    Intervals are percentile intervals but for ece. On n items it is never 0, however well
    calibrated the heads are: chance moves each bin, and no sign survives. A resample adds its
    own chance to that, so that its ece is too large and the percentiles may lie above the
    value. The basic interval mirrors them at the value and takes this off.

    Args:
        logits: Shape (H, N, C).
        labels: True class index of each item (image or clip), shape (N,).
        patients: Patient of each item, shape (N,).
        classes: C names.
        resamples: Number of bootstrap resamples R.
        seed: Seed of the patient draws.

    Returns:
        Scores from 0 to 1 by name: f1_macro, accuracy_macro, top2_macro (more than two
        classes), f1/CLASS, accuracy/CLASS, ece (15 bins) and auroc (of class 1, or the mean
        of each class against the rest; absent where all items are of one class).

    Raises:
        ShapeError: If sizes do not match, there are no items or a logit is not finite.
        DataError: If a label is not one of the classes.
    """
    logits, labels, patients = _checked(logits, labels, patients)
    if len(classes) != logits.shape[-1]:
        raise ShapeError("One column a class", expected=len(classes), found=logits.shape[-1])
    present = sorted(set(labels.tolist()))
    names, owner = np.unique(patients, return_inverse=True)
    weights = patient_weights(patients, resamples=resamples, seed=seed)
    sums = patient_sums(logits, labels, owner)
    values = {
        name: found[0]
        for name, found in _scores(sums.weighted(np.ones((1, names.size))), classes, present)
    }
    drawn = {name: [] for name in values}
    for block in blocks(weights):
        for name, found in _scores(sums.weighted(block), classes, present):
            drawn[name].append(found.mean(-1))
    resampled = {name: np.concatenate(found) for name, found in drawn.items()}
    if len(present) > 1:
        values["auroc"], resampled["auroc"] = auroc(logits, labels, owner, weights)

    def entry(name: str) -> RunScores:
        mean = float(values[name].mean())
        score = scores.interval(mean, resampled[name], n=labels.size, groups=names.size)
        return RunScores(values[name], _basic(score) if name == "ece" else score)

    return {name: entry(name) for name in values}


def resampled_f1(
    logits: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int = scores.RESAMPLES,
    seed: int = scores.SEED,
) -> np.ndarray:
    """Mean macro F1 of H heads in each bootstrap resample of the patients.

    Two models (or a head and zero-shot, H = 1) on the same patients with the same seed are
    given the same resamples, so that their replicates can be compared one by one.

    Args:
        logits: Shape (H, N, C); a class may have no items.
        labels: True class index of each item, shape (N,).
        patients: Patient of each item, shape (N,).
        resamples: Number of resamples R.
        seed: Seed of the patient draws.

    Returns:
        Shape (R,).

    Raises:
        ShapeError: If sizes do not match, there are no items or a logit is not finite.
        DataError: If a label is not one of the classes.
    """
    logits, labels, patients = _checked(logits, labels, patients)
    present = sorted(set(labels.tolist()))
    owner = np.unique(patients, return_inverse=True)[1]
    tables = choice_sums(logits, labels, owner)
    weights = patient_weights(patients, resamples=resamples, seed=seed)
    found = []
    for block in blocks(weights):
        totals = [np.tensordot(block, table, 1) for table in tables]
        found.append(_f1(*totals)[..., present].mean((-2, -1)))
    return np.concatenate(found)


def ensemble(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the heads' mean probability.

    Args:
        logits: Shape (H, N, C).

    Returns:
        Logits of shape (N, C), to be used by `classification.predict`.
    """
    each = log_softmax(logits.astype(np.float64), axis=-1)
    return logsumexp(each, axis=0) - np.log(len(logits))


def _basic(score: scores.Score) -> scores.Score:
    """The percentile interval mirrored at the value, within 0..1 and around the value."""
    low, high = 2 * score.value - score.high, 2 * score.value - score.low
    low, high = max(0.0, min(low, score.value)), min(1.0, max(high, score.value))
    return replace(score, low=low, high=high)


def _f1(true: np.ndarray, hits: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _share(2 * hits, true + predicted)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    # A part is 0 where its whole is: 0 / 1 is the wanted 0.
    return part.astype(np.float64) / np.maximum(whole, 1)


def _checked(
    logits: np.ndarray, labels: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arguments as arrays, refused where they do not fit together."""
    logits, labels, patients = np.asarray(logits), np.asarray(labels), np.asarray(patients)
    if logits.ndim != 3 or 0 in logits.shape or logits.shape[-1] < 2:
        raise ShapeError(
            "Logits have the wrong shape",
            expected="heads, items, classes (at least 1, 1, 2)",
            found=logits.shape,
            fix="add the axis of heads: logits[None]" if logits.ndim == 2 else "",
        )
    for name, array in (("label", labels), ("patient", patients)):
        if array.shape != logits.shape[1:2]:
            raise ShapeError(
                f"One {name} an item is needed", expected=logits.shape[1:2], found=array.shape
            )
    if not np.isfinite(logits).all():
        heads = np.flatnonzero(~np.isfinite(logits).all((1, 2)))
        raise ShapeError(
            "Logits are not finite", where=f"heads {listing(heads)}", expected="finite numbers"
        )
    outside = sorted({*labels.tolist()} - {*range(logits.shape[-1])})
    if outside:
        raise DataError(
            "Labels are not class numbers",
            expected=f"0 to {logits.shape[-1] - 1}",
            found=listing(outside),
        )
    return logits, labels.astype(np.int64), patients


@dataclass(frozen=True)
class Sums:
    """Sums over items, of each patient or of each resample (the first axis).

    Attributes:
        true: Items of each class, shape (..., 1, C).
        hits: Items of each class that are predicted as it, shape (..., H, C).
        predicted: Items that are predicted as each class, shape (..., H, C).
        second: Items of each class that are among the first two choices, shape (..., H, C).
        gaps: Claimed minus true accuracy in each bin of confidence, shape (..., H, 15).
    """

    true: np.ndarray
    hits: np.ndarray
    predicted: np.ndarray
    second: np.ndarray
    gaps: np.ndarray

    def weighted(self, weights: np.ndarray) -> "Sums":
        """Sums of resamples, from patients' sums and weights of shape (R, P)."""
        return Sums(*(np.tensordot(weights.astype(t.dtype), t, 1) for t in vars(self).values()))


def _scores(
    sums: Sums, classes: Sequence[str], present: Sequence[int]
) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values of shape (..., H) of all scores that are made of sums."""
    f1 = _f1(sums.true, sums.hits, sums.predicted)
    recall = _share(sums.hits, sums.true)
    yield "f1_macro", f1[..., present].mean(-1)
    yield "accuracy_macro", recall[..., present].mean(-1)
    if len(classes) > 2:
        yield "top2_macro", _share(sums.second, sums.true)[..., present].mean(-1)
    for i in present:
        yield f"f1/{classes[i]}", f1[..., i]
        yield f"accuracy/{classes[i]}", recall[..., i]
    yield "ece", calibration.expected_error(sums.gaps, sums.true.sum(-1))


def patient_sums(logits: np.ndarray, labels: np.ndarray, owner: np.ndarray) -> Sums:
    """What each patient adds to the sums that scores are made of.

    Args:
        logits: Shape (H, N, C).
        labels: True class index of each item, shape (N,).
        owner: Patient number of each item, shape (N,).
    """
    predicted, confidence = calibration.first_choice(logits)
    truth = np.broadcast_to(labels, predicted.shape)
    second = _sum_by(owner, truth, logits.shape[-1], _rank(logits, labels) < 2)
    gap, bins = confidence - (predicted == labels), calibration.bin_of(confidence)
    gaps = _sum_by(owner, bins, calibration.BINS, gap)
    return Sums(*choice_sums(logits, labels, owner), second.astype(np.float32), gaps)


def choice_sums(
    logits: np.ndarray, labels: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first fields of `patient_sums` alone: true, hits and predicted. All that F1 needs."""
    c, predicted = logits.shape[-1], logits.argmax(-1)
    truth = np.broadcast_to(labels, predicted.shape)
    tables = (
        _sum_by(owner, labels[None], c),
        _sum_by(owner, truth, c, predicted == labels),
        _sum_by(owner, predicted, c),
    )
    # Exact in float32: every count is far below 2**24.
    return tuple(table.astype(np.float32) for table in tables)


def _sum_by(
    owner: np.ndarray, codes: np.ndarray, n_codes: int, values: np.ndarray | None = None
) -> np.ndarray:
    """Sum of values (or count) by patient, head and code: (P, H, n_codes) of codes (H, N)."""
    heads, size = len(codes), owner.max() + 1
    cells = (owner * heads + np.arange(heads)[:, None]) * n_codes + codes
    values = None if values is None else values.ravel()
    flat = np.bincount(cells.ravel(), values, size * heads * n_codes)
    return flat.reshape(size, heads, n_codes)


def _rank(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Position of the true class, 0 for the first, shape (H, N); ties go by class number."""
    own = np.take_along_axis(logits, np.broadcast_to(labels, logits.shape[:2])[..., None], -1)
    earlier = np.arange(logits.shape[-1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & earlier)).sum(-1)
