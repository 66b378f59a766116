"""Is one row better than another? Paired differences over the same patients, and their tests.

Two separate intervals answer another question: they hold the patients' own difficulty twice.
Here both rows are scored on the same drawn patients, and the test exchanges the two rows'
answers of whole patients, which changes nothing where neither is better.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from fetalclip_nb.stats import scores
from fetalclip_nb.stats.ranking import auroc
from fetalclip_nb.stats.scores import Statistic

LEVEL = 0.05
"""A difference is called decided where its probability, corrected for the table, is below."""

POWER = 0.8

EXACT = 13
"""Up to so many patients all 2**n exchanges are tried; beyond, as many as there are resamples."""


@dataclass(frozen=True)
class Difference:
    """One row's score minus another's, on the same patients.

    Attributes:
        value: The difference on all images.
        low: Lower end of the 95 % interval (percentiles, patients resampled).
        high: Upper end.
        p: Probability of a difference of this size or a larger one, in either direction, where
            neither row is better (answers of whole patients exchanged); not corrected.
        error: Standard error over the resamples.
        groups: Number of patients.
        differing: Patients whose answers are not the same in both rows.
        unit: As of `scores.Score`.
    """

    value: float
    low: float
    high: float
    p: float
    error: float
    groups: int
    differing: int
    unit: str = "%"

    def smallest(self, claims: int = 1) -> float:
        """The difference that four of five test sets of this size would show; NaN if unknown.

        Args:
            claims: Differences in the table, for all of which the level is shared.
        """
        reach = norm.isf(LEVEL / 2 / claims) + norm.isf(1 - POWER)
        # With n differing patients no probability is below 2 / 2**n: too few show nothing.
        shown = 2.0 ** (1 - self.differing) < LEVEL / claims
        return float(reach * self.error) if shown else float("nan")


def paired(
    statistic: Statistic,
    ours: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
    *,
    resamples: int = scores.RESAMPLES,
) -> dict[str, Difference]:
    """Differences of two rows' scores, ours minus the others', by name.

    Args:
        statistic: Maps sums (R, H, ...), one array a table, to scores of shape (R, H), as for
            `scores.on_sums`.
        ours: What each patient adds to the sums, shape (P, H, ...) a table.
        others: The same of the other row, the same patients in the same order; where the numbers
            of runs H differ, the runs of both are repeated until they are equal.
        resamples: Number of bootstrap resamples, and of exchanges beyond 13 patients.

    Returns:
        A difference for each score that both rows have.
    """
    ours, others = _with_equal_runs(ours, others)
    units = len(ours[0])
    drawn, values = [], []
    for tables in (ours, others):
        of_weights = scores.on_sums(statistic, *tables)
        drawn.append(scores.resampled(of_weights, units, resamples=resamples))
        whole = of_weights(np.ones((1, units), np.float32))
        values.append({name: scores.mean_of_defined(each)[0] for name, each in whole.items()})
    chance = _exchanged(statistic, ours, others, resamples)
    same = [(a == b).reshape(units, -1).all(1) for a, b in zip(ours, others, strict=True)]
    found = {}
    for name in values[0]:
        value = float(values[0][name] - values[1][name])
        if not np.isnan(value):
            apart = drawn[0][name] - drawn[1][name]
            low, high = np.nanpercentile(apart, [2.5, 97.5])
            found[name] = Difference(
                value,
                float(low),
                float(high),
                probability(value, chance[name], exact=units <= EXACT),
                float(np.nanstd(apart)),
                units,
                int(units - np.all(same, axis=0).sum()),
            )
    return found


def paired_auroc(
    ours: np.ndarray,
    others: np.ndarray,
    labels: np.ndarray,
    owner: np.ndarray,
    *,
    resamples: int = scores.RESAMPLES,
) -> Difference:
    """Difference of two rows' AUROC; as its answers are no sums, p is the normal law's.

    Args:
        ours: What ranks the items, shape (H, N).
        others: The other row's, shape (H', N).
        labels: 1 for the class that is to be ranked above, else 0, shape (N,).
        owner: Patient number of each item, shape (N,).
        resamples: Number of bootstrap resamples.
    """
    units, values, drawn = int(owner.max()) + 1, [], []
    for ranks in (ours, others):
        each, in_order = auroc(np.stack([np.zeros_like(ranks), ranks], axis=-1), labels, owner)
        values.append(each.mean())
        blocks = scores.weights(units, resamples=resamples)
        drawn.append(np.concatenate([in_order(block) for block in blocks]))
    value, apart = float(values[0] - values[1]), drawn[0] - drawn[1]
    low, high = np.nanpercentile(apart, [2.5, 97.5])
    error = float(np.nanstd(apart))
    p = float(2 * norm.sf(abs(value) / error)) if error else 1.0
    means = (ours.mean(0), others.mean(0))
    differing = len(set(owner[means[0] != means[1]]))
    return Difference(value, float(low), float(high), p, error, units, differing)


def sign_flip(values: np.ndarray, *, resamples: int = scores.RESAMPLES) -> float:
    """Probability of a mean this far from 0 where each value is as likely with the other sign.

    Exact for up to 13 values: all 2**n signs are tried.

    Args:
        values: One number a patient (a difference of two means), shape (N,), none NaN.
        resamples: Signs that are drawn for more than 13 values.

    >>> sign_flip(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    sums = [(2 * block - 1) @ values for block in exchanges(len(values), resamples=resamples)]
    return probability(values.sum(), np.concatenate(sums), exact=len(values) <= EXACT)


def holm(probabilities: Sequence[float]) -> np.ndarray:
    """Probabilities corrected for the number of claims in a table; NaN stays and is no claim.

    All claims whose corrected probability is below 5 % are right together in 95 of 100 tables.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6, 1979.
    """
    given = np.asarray(probabilities, np.float64)
    order = np.argsort(given)[: np.isfinite(given).sum()]
    found = np.full(len(given), np.nan)
    factors = np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1)
    return found


def exchanges(units: int, *, resamples: int = scores.RESAMPLES) -> Iterator[np.ndarray]:
    """Which patients keep their answers (1) or take the other row's (0): float32 (some, units).

    All patterns for up to 13 units, else as many as asked for, drawn with the bootstrap's seed.
    """
    rng = np.random.default_rng(scores.SEED)
    if units <= EXACT:
        yield (np.arange(2**units)[:, None] >> np.arange(units) & 1).astype(np.float32)
        return
    for start in range(0, resamples, scores.BLOCK):
        size = min(scores.BLOCK, resamples - start)
        yield rng.integers(0, 2, size=(size, units)).astype(np.float32)


def probability(value: float, chance: np.ndarray, *, exact: bool) -> float:
    """Share of chance values (R,) that are as far from 0 as the value; the value counts as one."""
    as_far = np.abs(chance) >= abs(value) * (1 - 1e-9) - 1e-12
    return float(as_far.mean() if exact else (1 + as_far.sum()) / (1 + len(chance)))


def _exchanged(
    statistic: Statistic, ours: list[np.ndarray], others: list[np.ndarray], resamples: int
) -> dict[str, np.ndarray]:
    """Differences, shape (R,) by name, after exchanging the answers of whole patients."""
    found: list[np.ndarray] = []
    units = len(ours[0])
    # float64: sums that are only exact in it (pixels) stay so.
    apart = [a.astype(np.float64) - b for a, b in zip(ours, others, strict=True)]
    base, top = [[t.sum(0, dtype=np.float64) for t in tables] for tables in (others, ours)]
    for kept in exchanges(units, resamples=resamples):
        moved = [np.tensordot(kept.astype(np.float64), table, 1) for table in apart]
        first = statistic(*(b + m for b, m in zip(base, moved, strict=True)))
        second = statistic(*(t - m for t, m in zip(top, moved, strict=True)))
        means = [
            scores.mean_of_defined(first[n]) - scores.mean_of_defined(second[n]) for n in first
        ]
        found.append(np.stack(means))
    return dict(zip(first, np.nan_to_num(np.concatenate(found, axis=1)), strict=True))


def _with_equal_runs(
    ours: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Both rows with the least number of runs that is a multiple of either's, table by table."""
    pairs = []
    for a, b in zip(ours, others, strict=True):
        runs = int(np.lcm(a.shape[1], b.shape[1]))
        pairs.append([np.concatenate([t] * (runs // t.shape[1]), axis=1) for t in (a, b)])
    return [a for a, _ in pairs], [b for _, b in pairs]
