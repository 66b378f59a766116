"""Scores and their intervals, from one bootstrap over patients, or over images as published.

A resample is how often each unit (patient or image) is drawn. What scores are made of is summed
once over the items of each unit; the sums of many resamples are then one product of two
matrices, drawn weights times the units' sums.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.stats.proportions import clustered

RESAMPLES = 10_000

SEED = 42

BLOCK = 50
"""Resamples drawn at a time: small enough for the processor's cache."""

FEWEST_PATIENTS = 5
"""Patients below which a stratum or subgroup is left out: an interval of so few says nothing."""

FEWEST_SETS = 5
"""Sets of training patients below which no interval says what other sets would have given."""


class Sets(NamedTuple):
    """Sets of training patients, to which runs belong in equal parts, one set after the other.

    Attributes:
        number: How many; 0 for runs that belong to none.
        shared: Share of a set's patients whom another set has as well, on average.
    """

    number: int = 0
    shared: float = 0.0


NO_SETS = Sets()

Statistic = Callable[..., Mapping[str, np.ndarray]]
"""Maps weights (R, units) or sums (R, H, ...) to scores by name, each of shape (R, H)."""


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval: of a bootstrap, or of shares as in `proportions`.

    Attributes:
        value: The score on all images.
        low: Lower end of the interval.
        high: Upper end of the interval.
        mean: Mean over the resamples.
        n: Number of items (images or clips).
        groups: Number of resampled units (images or patients).
        unit: "%" of a fraction, which is shown in percent; "days", "mm", "px" (pixels), or "" of
            an index that may be negative.
    """

    value: float
    low: float
    high: float
    mean: float
    n: int
    groups: int
    unit: str = "%"

    def in_unit(self, unit: str) -> "Score":
        """The same numbers, said to be in another unit."""
        return replace(self, unit=unit)


@dataclass(frozen=True)
class RunScores:
    """One score of H runs.

    Attributes:
        values: The score of each run, shape (H,).
        score: Mean over the runs, with its interval over resampled patients, and sets where
            there are any.
        sets: Sets of training patients that the runs belong to in equal parts; 0 for none.
    """

    values: np.ndarray
    score: Score
    sets: int = 0

    @property
    def of_sets(self) -> np.ndarray:
        """Mean score of each set's runs, shape (sets,)."""
        return self.values.reshape(self.sets, -1).mean(1)

    def in_unit(self, unit: str) -> "RunScores":
        """The same numbers, said to be in another unit."""
        return replace(self, score=self.score.in_unit(unit))


def owners(units: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of each item's unit, in the order of names, and how many units there are."""
    names, owner = np.unique(units, return_inverse=True)
    if not names.size:
        raise ShapeError("No images to score", expected="at least one", found=0)
    return owner, names.size


def weights(units: int, *, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """How often each unit is drawn, for some resamples at a time: float32 of shape (some, units).

    Numbers are drawn from one generator, a resample after the other, as the paper draws its
    images, so that its intervals come out to the last digit. With as many units, two models are
    given the same resamples.
    """
    rng = np.random.default_rng(SEED)
    for start in range(0, resamples, BLOCK):
        size = min(BLOCK, resamples - start)
        picked = rng.integers(0, units, size=(size, units))
        picked += np.arange(size)[:, None] * units
        times = np.bincount(picked.ravel(), minlength=size * units)
        yield times.reshape(size, units).astype(np.float32)


def on_sums(statistic: Statistic, *tables: np.ndarray) -> Statistic:
    """A statistic of sums as one of weights.

    Tables say what each unit's items add to a sum, shape (units, ...); the statistic takes one
    array of sums a table, shape (R, ...). Float32 is exact for counts below 2**24.
    """

    def of_weights(weights: np.ndarray) -> Mapping[str, np.ndarray]:
        return statistic(*(np.tensordot(weights.astype(t.dtype), t, 1) for t in tables))

    return of_weights


def resampled(
    statistic: Statistic, units: int, *, sets: Sets = NO_SETS, resamples: int = RESAMPLES
) -> dict[str, np.ndarray]:
    """Means over runs in each resample, shape (resamples,), by the scores' names.

    Args:
        statistic: Of weights.
        units: Number of patients or images.
        sets: These are drawn as well, and scores are from 0 to 1; none leave the runs as they
            are.
        resamples: Number of resamples.
    """
    means, moves = [], _set_moves(sets, resamples) if sets.number > 1 else None
    for i, block in enumerate(weights(units, resamples=resamples)):
        found = statistic(block)
        values = np.stack([*found.values()])
        mean = mean_of_defined(values)
        if moves is not None:
            of_sets = mean_of_defined(values.reshape(*mean.shape, sets.number, -1))
            mean = np.clip(mean + (of_sets * moves[i * BLOCK :][: len(block)]).sum(-1), 0, 1)
        means.append(mean)
    return dict(zip(found, np.concatenate(means, axis=1), strict=True))


def _set_moves(sets: Sets, resamples: int) -> np.ndarray:
    """By how much the weight of each set differs from 1 / sets in each resample, (R, sets).

    Few sets drawn among themselves differ too little: the differences are widened to those of
    as many new sets, and by Student's t to what so few can tell of their own spread. Sets that
    share patients are alike, which all new sets would not be: their variance grows by
    1 + number * shared / (1 - shared).

    Source: Nadeau and Bengio, Inference for the generalization error, 2003 (their correction of
    overlapping training sets; here the overlap is counted).
    """
    n, rng = sets.number, np.random.default_rng(SEED + 1)
    times = rng.multinomial(n, np.full(n, 1 / n), size=resamples)
    wider = np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1) / norm.ppf(0.975)
    # Sets that are all the same say nothing of others: very wide, not infinitely.
    wider *= np.sqrt(1 + n * sets.shared / max(1 - sets.shared, 1e-3))
    return wider * (times / n - 1 / n)


def bootstrap(
    statistic: Statistic,
    units: int,
    n: int,
    *,
    sizes: Mapping[str, int] | None = None,
    sets: Sets = NO_SETS,
    resamples: int = RESAMPLES,
) -> dict[str, RunScores]:
    """Scores of H runs and of their mean, every run on the same drawn units.

    Means over runs leave undefined values out; a score that no run has is absent.

    Args:
        statistic: Of weights; NaN where they do not define a score.
        units: Number of patients or images.
        n: Number of items.
        sizes: Items that a score is made of, by name, where these are not all n.
        sets: As of `resampled`.
        resamples: Number of resamples.
    """
    drawn = resampled(statistic, units, sets=sets, resamples=resamples)
    found = {}
    for name, (values,) in statistic(np.ones((1, units), np.float32)).items():
        if not np.isnan(values).all():
            size, mean = (sizes or {}).get(name, n), float(mean_of_defined(values))
            score = interval(mean, drawn[name], n=size, groups=units)
            found[name] = RunScores(values, score, sets.number)
    return found


def interval(value: float, resampled: np.ndarray, *, n: int, groups: int) -> Score:
    """Percentile interval (2.5 % to 97.5 %) of resampled values, shape (R,)."""
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Score(value, float(low), float(high), float(np.nanmean(resampled)), int(n), int(groups))


def share(
    valid: np.ndarray, *, groups: np.ndarray | None = None, resamples: int = RESAMPLES
) -> Score:
    """Share of True values with its interval: VPR, accuracy.

    Args:
        valid: Boolean, shape (N,).
        groups: Patient of each image, shape (N,), whose interval is `proportions.clustered`;
            None resamples images, as published.
        resamples: Number of resamples.

    >>> share(np.array([True, True, False, False])).value
    0.5
    """
    owner, units = owners(np.arange(len(valid)) if groups is None else groups)
    right, images = np.bincount(owner, valid), np.bincount(owner)

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"share": ratio(weights @ right, weights @ images)[:, None]}

    found = bootstrap(statistic, units, len(valid), resamples=resamples)["share"].score
    if groups is None:
        return found
    low, high = clustered(np.asarray(valid, dtype=bool), owner)
    return replace(found, low=low, high=high)


def median(
    values: np.ndarray, *, groups: np.ndarray | None = None, resamples: int = RESAMPLES
) -> Score:
    """Median (the lower one of an even number) with its interval; arguments as of `share`.

    >>> median(np.array([1.0, 5.0, 2.0])).value
    2.0
    """
    owner, units = owners(np.arange(len(values)) if groups is None else groups)
    order = np.argsort(values)
    rising, owner = np.asarray(values, dtype=np.float64)[order], owner[order]

    def statistic(weights: np.ndarray) -> dict[str, np.ndarray]:
        running = weights[:, owner].cumsum(-1)
        half = (running[:, -1:] + 1) // 2
        return {"median": rising[(running >= half).argmax(-1)][:, None]}

    return bootstrap(statistic, units, len(values), resamples=resamples)["median"].score


def both_units(
    compute: Callable[[np.ndarray | None], dict[str, Score]], patients: np.ndarray | None
) -> dict[str, dict[str, Score]]:
    """Scores by name with both intervals: {"patient": honest, "image": as published}.

    Args:
        compute: Maps patients (or None for images) to scores by name.
        patients: Patient of each image; None where unknown, then only images are resampled.
    """
    units = {"image": compute(None)}
    if patients is not None:
        units["patient"] = compute(patients)
    shared = [name for name in units["image"] if all(name in found for found in units.values())]
    return {name: {unit: found[name] for unit, found in units.items()} for name in shared}


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Part over whole, NaN where the whole is 0.

    >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left.

    >>> mean_of_defined(np.array([[1.0, 3.0], [1.0, np.nan], [np.nan, np.nan]])).tolist()
    [2.0, 1.0, nan]
    """
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(-1), defined.sum(-1))
