"""From the outlined head to its circumference in mm, and how far that is from the truth."""

from collections.abc import Iterable

import cv2
import numpy as np

from fetalclip_nb.data.hc18 import COUNTED_HC_MM, semi_axes
from fetalclip_nb.growth import gestational_age, perimeter
from fetalclip_nb.stats.patients import patient_scores
from fetalclip_nb.stats.scores import RESAMPLES, RunScores, ratio

LIMITS = 1.96
"""Standard deviations on each side of the bias: 95 % of normally distributed differences."""


def head_circumferences(logits: np.ndarray, sizes: np.ndarray, pixel_mm: np.ndarray) -> np.ndarray:
    """Head circumferences in mm, as `mask_circumferences` gives them, from a decoder's logits.

    Logits are brought to the full size of the image (bilinear) before they are cut at 0, so
    that a coarse grid does not round the outline, and the square's black borders are cut off.

    Args:
        logits: Float, shape (n, S, S), of images that were padded to a square.
        sizes: Width and height of each image in pixels, shape (n, 2).
        pixel_mm: Side of an image's own pixel in mm, shape (n,).
    """
    masks = (_full_size(one, *size) for one, size in zip(logits, sizes, strict=True))
    return mask_circumferences(masks, pixel_mm)


def mask_circumferences(masks: Iterable[np.ndarray], pixel_mm: np.ndarray) -> np.ndarray:
    """Head circumferences in mm, float64 of shape (n,), from boolean masks (height, width).

    Masks are of the images' own sizes, whose pixels have sides in mm of shape (n,). NaN where no
    head was found or the size of a pixel is unknown.
    """
    return np.array([perimeter(*semi_axes(mask)) for mask in masks], np.float64) * pixel_mm


def agreement(
    measured_mm: np.ndarray, true_mm: np.ndarray, patients: np.ndarray, resamples: int = RESAMPLES
) -> dict[str, RunScores]:
    """How far measured circumferences are from the true ones, with intervals over patients.

    Limits of agreement are bias +- 1.96 standard deviations of the differences, measured
    minus true. Several images of a patient are taken as if they were of several.

    Args:
        measured_mm: Of H decoders, shape (H, n), or of one, (n,); NaN where not measured.
        true_mm: Shape (n,).
        patients: Patient of each image, shape (n,).
        resamples: Number of bootstrap resamples.

    Returns:
        In mm: hc_mae_mm (mean absolute error), hc_bias_mm, hc_low_mm and hc_high_mm (limits
        of agreement; absent with fewer than two images), of the measured images; hc_missed,
        the share of images that were not measured. n counts all images.

    Source: Bland and Altman, 10.1016/S0140-6736(86)90837-8.
    """
    differences = np.atleast_2d(measured_mm) - true_mm
    return _difference_scores(differences, patients, "hc", "mm", resamples)


def age_agreement(
    measured_mm: np.ndarray, true_mm: np.ndarray, patients: np.ndarray, resamples: int = RESAMPLES
) -> dict[str, RunScores]:
    """`agreement` of gestational ages: those at which the circumferences are the median.

    Only heads whose true circumference is 100 to 342 mm count, as in the paper's gestational
    ages. Ages are clipped to 14w0d-38w6d, which makes errors at both ends smaller.

    Returns:
        In days: age_mae_days, age_bias_days, age_low_days, age_high_days; age_missed. Empty
        where no head counts.
    """
    rows = (true_mm >= COUNTED_HC_MM[0]) & (true_mm <= COUNTED_HC_MM[1])
    if not rows.any():
        return {}
    measured_mm = np.atleast_2d(measured_mm)[:, rows]
    days = gestational_age(measured_mm) - gestational_age(true_mm[rows])
    return _difference_scores(days, patients[rows], "age", "days", resamples)


def _difference_scores(
    differences: np.ndarray, patients: np.ndarray, name: str, unit: str, resamples: int
) -> dict[str, RunScores]:
    """Scores of differences (H, n), NaN where not measured."""
    known = ~np.isnan(differences)
    d = np.where(known, differences, 0)
    items = np.stack([known, d, np.abs(d), d**2, np.ones_like(d)], axis=-1).swapaxes(0, 1)

    def statistic(sums: np.ndarray) -> dict[str, np.ndarray]:
        n, total, absolute, squares, images = np.moveaxis(sums, -1, 0)
        bias = ratio(total, n)
        variance = ratio(squares - n * np.nan_to_num(bias) ** 2, np.maximum(n - 1, 0))
        spread = LIMITS * np.sqrt(np.maximum(variance, 0))
        return {
            f"{name}_mae_{unit}": ratio(absolute, n),
            f"{name}_bias_{unit}": bias,
            f"{name}_low_{unit}": bias - spread,
            f"{name}_high_{unit}": bias + spread,
            f"{name}_missed": 1 - n / images,
        }

    found = patient_scores(items, patients, statistic, resamples=resamples)
    missed = f"{name}_missed"  # a share; the others are differences
    return {key: each if key == missed else each.in_unit(unit) for key, each in found.items()}


def _full_size(logits: np.ndarray, width: int, height: int) -> np.ndarray:
    """Logits (S, S) of the padded square as a mask (height, width)."""
    side = max(width, height)
    square = cv2.resize(logits.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    # Borders as `images.pad_to_square` puts them.
    left, top = (side - width) // 2, (side - height) // 2
    return square[top : top + height, left : left + width] > 0
