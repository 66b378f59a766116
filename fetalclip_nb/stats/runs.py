"""Scores of many runs (probes, decoders) on the same items: their spread, interval over patients.

Folds and runs say how much training varies, resampled patients how much the test set says.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from scipy.special import log_softmax, logsumexp

from fetalclip_nb.errors import ShapeError, listing
from fetalclip_nb.stats import calibration, scores
from fetalclip_nb.stats.classification import choice_scores, choice_sums, sum_by
from fetalclip_nb.stats.ranking import auroc
from fetalclip_nb.stats.scores import RunScores, Score


def run_scores(
    logits: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    classes: tuple[str, ...],
    *,
    sets: scores.Sets = scores.NO_SETS,
    resamples: int = scores.RESAMPLES,
) -> dict[str, RunScores]:
    """All scores of H runs, and intervals of their means when whole patients are resampled.

    Every run is scored on the same drawn patients. Means over classes are of those
    that have items; F1 is 0 where a class is neither present nor predicted.

    Intervals are percentile intervals but for ece. On n items it is never 0, however well
    calibrated the runs are: chance moves each bin, and no sign survives. A resample adds its
    own chance to that, so that its ece is too large and the percentiles may lie above the
    value. The basic interval mirrors them at the value and takes this off.

    Args:
        logits: Shape (H, N, C).
        labels: True class index of each item (image or clip), shape (N,).
        patients: Patient of each item, shape (N,).
        classes: C names.
        sets: Sets of training patients that the runs belong to, drawn as well as the tested
            patients (`scores.resampled`).
        resamples: Number of bootstrap resamples R.

    Returns:
        Scores from 0 to 1 by name: f1_macro, accuracy_macro, top2_macro (more than two
        classes), f1/CLASS, accuracy/CLASS, ece (15 bins) and auroc (of class 1, or the mean
        of each class against the rest; absent where all items are of one class, and where sets
        are drawn).
    """
    if not np.isfinite(logits).all():
        runs = np.flatnonzero(~np.isfinite(logits).all((1, 2)))
        raise ShapeError(
            "Logits are not finite", where=f"runs {listing(runs)}", expected="finite numbers"
        )
    present = sorted(set(labels.tolist()))
    owner, units = scores.owners(patients)
    ranked = np.argsort(-logits, axis=-1, kind="stable")
    guesses = min(2, len(classes) - 1)
    tables = choice_sums(ranked, labels, owner, len(classes), guesses)
    predicted, confidence = calibration.first_choice(logits)
    gap, bins = confidence - (predicted == labels), calibration.bin_of(confidence)
    gaps = sum_by(owner, bins, calibration.BINS, gap)

    def statistic(true: np.ndarray, choices: np.ndarray, gaps: np.ndarray) -> dict[str, np.ndarray]:
        error = calibration.expected_error(gaps, true.sum(-1))
        return choice_scores(true, choices, classes, present) | {"ece": error}

    of_sums = scores.on_sums(statistic, *tables, gaps)
    found = scores.bootstrap(of_sums, units, len(labels), sets=sets, resamples=resamples)
    found["ece"] = replace(found["ece"], score=_basic(found["ece"].score))
    if len(present) > 1 and not sets.number:
        values, in_order = auroc(logits, labels, owner)
        drawn = [in_order(block) for block in scores.weights(units, resamples=resamples)]
        sizes = {"n": len(labels), "groups": units}
        score = scores.interval(float(values.mean()), np.concatenate(drawn), **sizes)
        found["auroc"] = RunScores(values, score)
    return found


def resampled_f1(
    logits: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    sets: scores.Sets = scores.NO_SETS,
    resamples: int = scores.RESAMPLES,
) -> np.ndarray:
    """Mean macro F1 of H runs in each bootstrap resample of the patients.

    Two models (or a probe and zero-shot, H = 1) on the same patients are given the same
    resamples, so that their replicates can be compared one by one.

    Args:
        logits: Shape (H, N, C); a class may have no items.
        labels: True class index of each item, shape (N,).
        patients: Patient of each item, shape (N,).
        sets: As of `run_scores`.
        resamples: Number of bootstrap resamples.

    Returns:
        Shape (resamples,).
    """
    present, n_classes = sorted(set(labels.tolist())), logits.shape[-1]
    owner, units = scores.owners(patients)
    tables = choice_sums(logits.argmax(-1)[..., None], labels, owner, n_classes, guesses=1)
    statistic = partial(choice_scores, classes=range(n_classes), present=present)
    of_sums = scores.on_sums(statistic, *tables)
    return scores.resampled(of_sums, units, sets=sets, resamples=resamples)["f1_macro"]


def ensemble(logits: np.ndarray) -> np.ndarray:
    """Logarithm of the runs' mean probability: (H, N, C) to logits (N, C)."""
    each = log_softmax(logits.astype(np.float64), axis=-1)
    return logsumexp(each, axis=0) - np.log(len(logits))


def _basic(score: Score) -> Score:
    """The percentile interval mirrored at the value, within 0..1 and around the value."""
    low, high = 2 * score.value - score.high, 2 * score.value - score.low
    low, high = max(0.0, min(low, score.value)), min(1.0, max(high, score.value))
    return replace(score, low=low, high=high)
