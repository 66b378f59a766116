"""How many patients until a trained probe beats zero-shot."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Crossing:
    """Number of patients from which on training beats zero-shot.

    Attributes:
        median: Median over the resamples; infinite if not within the sizes.
        low: 2.5th percentile.
        high: 97.5th percentile.
        sizes: Smallest and largest number of patients that was tried.
    """

    median: float
    low: float
    high: float
    sizes: tuple[int, int]

    @property
    def text(self) -> str:
        """As a table shows it: median and interval, or one text where all three read alike.

        >>> Crossing(5.6, 2.0, np.inf, (2, 64)).text
        '5.6 (at most 2 to more than 64)'
        >>> Crossing(np.inf, np.inf, np.inf, (2, 64)).text
        'more than 64'
        """
        median, low, high = (self._text(end) for end in (self.median, self.low, self.high))
        return median if low == high else f"{median} ({low} to {high})"

    def _text(self, end: float) -> str:
        if end <= self.sizes[0]:
            return f"at most {self.sizes[0]}"
        return f"more than {self.sizes[1]}" if np.isinf(end) else f"{end:.1f}"


def crossing(sizes: Sequence[int], curves: np.ndarray, level: np.ndarray | float) -> Crossing:
    """Read off the number of patients from which on a score stays above zero-shot.

    Between two sizes the score is taken to be linear in log2 of the number of patients.
    Curves and level must come from the same resamples, row by row (`runs.resampled_f1`
    with one seed), or the interval is too wide.

    Args:
        sizes: Numbers of patients, rising, S of them.
        curves: Score of each resample at each size, shape (R, S).
        level: Zero-shot score of each resample, shape (R,), or one number.

    Returns:
        Median and 95 % percentile interval over the resamples. A resample counts as the
        smallest size if it is ahead at all sizes, as infinite if it is not at the largest.

    >>> crossing([2, 4, 8], np.array([[0.1, 0.3, 0.7]]), 0.5).median
    5.656854249492381
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
    found[rows] = 2 ** (start + way * (stop - start))
    # Not averaged between neighbours: one of them may be infinite.
    low, median, high = np.percentile(found, [2.5, 50, 97.5], method="inverted_cdf")
    return Crossing(float(median), float(low), float(high), (sizes[0], sizes[-1]))
