"""How many patients until a trained probe beats zero-shot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fetalclip_nb.stats.scores import FEWEST_SETS


@dataclass(frozen=True)
class Crossing:
    """Number of patients from which on training beats zero-shot, in whole patients.

    Attributes:
        median: Median over the resamples; infinite if not within the sizes.
        low: 2.5th percentile.
        high: 97.5th percentile.
        beyond: Share of the resamples in which training does not win within the sizes.
        sizes: Smallest and largest number of patients that was tried.
        sets: Sets of training patients of each size, at least.
    """

    median: float
    low: float
    high: float
    beyond: float
    sizes: tuple[int, int]
    sets: int = FEWEST_SETS

    @property
    def text(self) -> str:
        """As a table shows it: median and interval, or one text where all three read alike.

        >>> Crossing(6, 2, np.inf, 0.1, (2, 64)).text
        '6 (at most 2 to more than 64; not within 64 in 10 % of the draws)'
        >>> Crossing(np.inf, np.inf, np.inf, 1.0, (2, 64)).text
        'more than 64'
        >>> Crossing(6, 2, 9, 0.0, (2, 64), sets=2).text
        '6 (no interval: fewer than 5 sets of a size)'
        """
        median, interval, share = self.texts
        beyond = f"; not within {self.sizes[1]} in {share} of the draws"
        beyond = beyond if 0.005 <= self.beyond < 0.995 else ""
        return f"{median} ({interval}{beyond})" if interval else median

    @property
    def texts(self) -> tuple[str, str, str]:
        """Median, interval ("" where it has no width), share of draws beyond the sizes."""
        median, low, high = (self._text(end) for end in (self.median, self.low, self.high))
        interval = "" if low == high else f"{low} to {high}"
        if self.sets < FEWEST_SETS:
            interval = f"no interval: fewer than {FEWEST_SETS} sets of a size"
        return median, interval, f"{100 * self.beyond:.0f} %"

    def _text(self, end: float) -> str:
        if end <= self.sizes[0]:
            return f"at most {self.sizes[0]}"
        return f"more than {self.sizes[1]}" if np.isinf(end) else f"{end:.0f}"


def crossing(
    sizes: Sequence[int],
    curves: np.ndarray,
    level: np.ndarray | float,
    *,
    sets: int = FEWEST_SETS,
) -> Crossing:
    """Read off the number of patients from which on a score stays above zero-shot.

    Between two sizes the score is taken to be linear in log2 of the number of patients; the
    first whole number of patients counts.
    Curves and level must come from the same resamples, row by row (`runs.resampled_f1`
    with one seed), or the interval is too wide.

    Args:
        sizes: Numbers of patients, rising, S of them.
        curves: Score of each resample at each size, shape (R, S).
        level: Zero-shot score of each resample, shape (R,), or one number.
        sets: Sets of training patients of each size, which the resamples have drawn.

    Returns:
        Median and 95 % percentile interval over the resamples. A resample counts as the
        smallest size if it is ahead at all sizes, as infinite if it is not at the largest.

    >>> crossing([2, 4, 8], np.array([[0.1, 0.3, 0.7]]), 0.5).median
    6.0
    """
    level = np.broadcast_to(level, len(curves))
    ahead = curves > level[:, None]
    # The last size that is not ahead: -1 where all are.
    last = np.where(ahead.all(1), -1, len(sizes) - 1 - (~ahead)[:, ::-1].argmax(1))
    always, never = last == -1, last == len(sizes) - 1
    found = np.where(always, float(sizes[0]), np.inf)
    rows = np.flatnonzero(~always & ~never)
    before, after = (curves[rows, last[rows] + step] for step in (0, 1))
    way = (level[rows] - before) / (after - before)
    exponents = np.log2(np.asarray(sizes, dtype=np.float64))
    start, stop = (exponents[last[rows] + step] for step in (0, 1))
    # Ahead is more than level; 2 ** log2(4) may be a little less than 4.
    found[rows] = np.floor(2 ** (start + way * (stop - start)) + 1e-9) + 1
    # Not averaged between neighbours: one of them may be infinite.
    low, median, high = np.percentile(found, [2.5, 50, 97.5], method="inverted_cdf")
    ends = (float(median), float(low), float(high), float(np.isinf(found).mean()))
    return Crossing(*ends, (sizes[0], sizes[-1]), sets)
