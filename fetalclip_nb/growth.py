"""Head circumference: of an ellipse, and by gestational age (the curve behind the paper's VPR)."""

import numpy as np
from numpy.typing import ArrayLike

DAYS_PER_WEEK = 7

AGES_DAYS = np.arange(14 * DAYS_PER_WEEK, 39 * DAYS_PER_WEEK)
"""The paper's 175 candidate ages, 14w0d to 38w6d, in days."""

CENTILES = {
    2.5: (1.59317517131532, 0.29459800552433, -0.0073860372566707, 6.56951770216148e-5),
    50.0: (2.09924879247164, 0.253373656106037, -0.00605647816678282, 5.14256072059917e-5),
    97.5: (2.50074069629423, 0.220067854715719, -0.00493623111462443, 3.89066000946519e-5),
}
"""Coefficients (b0, b1, b2, b3) of log head circumference in mm, by centile."""


def head_circumference(age_days: ArrayLike, centile: float = 50.0) -> np.ndarray:
    """Head circumference in mm at a gestational age in days, float64 of any shape.

    The centile is one of `CENTILES`: 2.5, 50 or 97.5.

    Source: FetalCLIP (arXiv 2502.14807), zero-shot gestational age:
    HC(t) = exp(b0 + b1 t + b2 t^2 + b3 t^3), t in weeks.

    >>> float(head_circumference(20 * 7).round(1))
    173.4
    """
    b0, b1, b2, b3 = CENTILES[centile]
    weeks = np.asarray(age_days, dtype=np.float64) / DAYS_PER_WEEK
    return np.exp(b0 + weeks * (b1 + weeks * (b2 + weeks * b3)))


def gestational_age(hc_mm: ArrayLike) -> np.ndarray:
    """Age in days at which the median head has a circumference in mm, float64 of any shape.

    It is clipped to 14w0d-38w6d.

    >>> float(gestational_age(head_circumference(150)).round(2))
    150.0
    """
    grid = np.linspace(AGES_DAYS[0], AGES_DAYS[-1], 4000)
    return np.interp(hc_mm, head_circumference(grid), grid)


def perimeter(a: float, b: float) -> float:
    """Circumference of an ellipse with the longer semi-axis ``a`` and the shorter one ``b``.

    Source: S. Ramanujan, Modular equations and approximations to pi, Quarterly Journal of
    Mathematics 45 (1914), the second formula, exact to 1e-4 for any ellipse.

    >>> round(perimeter(2, 1), 4)
    9.6884
    """
    h = ((a - b) / (a + b)) ** 2
    return float(np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h))))


STRATA_MM = ((100.0, 150.0), (150.0, 200.0), (200.0, 250.0), (250.0, 342.0))
"""Head circumferences that are reported apart; lower end included, last upper end too."""
