"""How well outlined structures fit the annotation: Dice coefficients and distances in mm.

Axes: H decoders, n images, C structures, S pixels a side.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import pandas as pd
import torch

from fetalclip_nb.stats.patients import patient_scores
from fetalclip_nb.stats.scores import (
    NO_SETS,
    RESAMPLES,
    RunScores,
    Sets,
    mean_of_defined,
    ratio,
)

PERCENTILE = 95

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def counts(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """True positives, false positives and false negatives: pixels of each image and structure.

    Masks are boolean of shape (n, C, S, S), counts int64 of shape (n, C, 3).

    >>> counts(np.array([[[[True, True]]]]), np.array([[[[True, False]]]])).tolist()
    [[[1, 1, 0]]]
    """
    outcomes = (predicted & true, predicted & ~true, ~predicted & true)
    return np.stack([np.count_nonzero(pixels, axis=(2, 3)) for pixels in outcomes], axis=-1)


def image_dice(counts: np.ndarray) -> np.ndarray:
    """Dice coefficient 2 TP / (2 TP + FP + FN), NaN where the structure is absent.

    Of `counts` of shape (..., 3); float64 of shape (...).

    >>> image_dice(np.array([[1, 1, 1], [0, 0, 4], [0, 5, 0]])).tolist()
    [0.5, 0.0, nan]
    """
    hits, false, missed = np.moveaxis(counts, -1, 0)
    return ratio(2 * hits, np.where(hits + missed > 0, 2 * hits + false + missed, 0))


def hausdorff95(predicted: np.ndarray, true: np.ndarray, pixel_mm: np.ndarray) -> np.ndarray:
    """95th-percentile Hausdorff distance of each image and structure.

    From each boundary pixel of one mask (those that an erosion removes) the distance to the
    nearest one of the other; the 95th percentile of these, linearly interpolated; the larger
    of both directions. Other programs pool the two directions before they take the percentile.

    Args:
        predicted: Boolean, shape (n, C, S, S).
        true: Boolean, of the same shape.
        pixel_mm: Side of a mask's pixel in mm (not of the original image's), NaN where it is
            not known, shape (n,).

    Returns:
        Distances in mm, float64 of shape (n, C). NaN where the size of a pixel is unknown,
        nothing was outlined or the structure is absent: `found_table` counts the last two.
    """
    distances = np.full(predicted.shape[:2], np.nan)
    found = predicted.any((2, 3)) & true.any((2, 3))
    for i, c in np.argwhere(found & np.isfinite(pixel_mm)[:, None]):
        one, other = _boundary(predicted[i, c]), _boundary(true[i, c])
        distances[i, c] = max(_farthest(one, other), _farthest(other, one)) * pixel_mm[i]
    return distances


def _boundary(mask: np.ndarray) -> np.ndarray:
    """Pixels that an erosion by one pixel removes, those at the image's border too; uint8."""
    pixels = mask.astype(np.uint8)
    return pixels - cv2.erode(pixels, _CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)


def _farthest(one: np.ndarray, other: np.ndarray) -> float:
    """95th percentile of the distances in pixels from each pixel of one to the other's nearest."""
    away = cv2.distanceTransform(1 - other, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squares are whole numbers; cv2's roots of them differ in the last digit from call to call.
    exact = np.sqrt(np.rint(np.square(away[one > 0])))
    # torch's percentile, as MONAI's: both interpolate in float32.
    return float(torch.quantile(torch.from_numpy(exact), PERCENTILE / 100))


def overlap_scores(
    counts: np.ndarray,
    patients: np.ndarray,
    structures: Sequence[str],
    resamples: int = RESAMPLES,
    *,
    sets: Sets = NO_SETS,
) -> dict[str, RunScores]:
    """Dice coefficients of H decoders, with intervals over patients.

    Pooled, all images are one: 2 TP / (2 TP + FP + FN) of the summed pixels, in which images
    without the structure count too. Per image, it is the mean over the images that have the
    structure. A resample that has drawn none of them does not count for this structure.

    Args:
        counts: Of each decoder, as given by `counts`, shape (H, n, C, 3).
        patients: Patient of each image, shape (n,).
        structures: C names.
        resamples: Number of bootstrap resamples.
        sets: Sets of training patients that the decoders belong to (`scores.resampled`).

    Returns:
        Scores from 0 to 1: dsc/STRUCTURE (pooled) and image_dsc/STRUCTURE for the structures
        that an image has, dsc and image_dsc (their means over those).

    Source: Pooled as in the paper's segmentation probing (arXiv 2502.14807).
    """
    hits, false, missed = np.moveaxis(counts, -1, 0)
    present = hits + missed > 0
    whole = 2 * hits + false + missed
    each = np.nan_to_num(image_dice(counts))
    items = np.stack([2 * hits, whole, each, present], axis=-1)

    def statistic(sums: np.ndarray) -> dict[str, np.ndarray]:
        dice, whole, image_dice, images = np.moveaxis(sums, -1, 0)
        whole = np.where(images > 0, whole, 0)
        found = {"dsc": ratio(dice, whole), "image_dsc": ratio(image_dice, images)}
        means = {kind: mean_of_defined(values) for kind, values in found.items()}
        return means | _by_structure(found, structures)

    images = {f"image_dsc/{name}": int(present[0, :, i].sum()) for i, name in enumerate(structures)}
    items = items.swapaxes(0, 1)
    return patient_scores(items, patients, statistic, n=images, sets=sets, resamples=resamples)


def distance_scores(
    distances: np.ndarray,
    patients: np.ndarray,
    structures: Sequence[str],
    resamples: int = RESAMPLES,
) -> dict[str, RunScores]:
    """Mean distances of H decoders over the images where they are defined, in mm.

    What was not found has no distance and does not worsen the mean: read it beside
    `found_table`.

    Args:
        distances: Of each decoder, as given by `hausdorff95`, shape (H, n, C).
        patients: Patient of each image, shape (n,).
        structures: C names.
        resamples: Number of bootstrap resamples.

    Returns:
        hd95/STRUCTURE for the structures that have a distance; its n counts the images that
        have one from any decoder.
    """
    defined = ~np.isnan(distances)
    items = np.stack([np.where(defined, distances, 0), defined], axis=-1).swapaxes(0, 1)

    def statistic(sums: np.ndarray) -> dict[str, np.ndarray]:
        return _by_structure({"hd95": ratio(sums[..., 0], sums[..., 1])}, structures)

    n = {f"hd95/{name}": int(defined[..., i].any(0).sum()) for i, name in enumerate(structures)}
    found = patient_scores(items, patients, statistic, n=n, resamples=resamples)
    return {name: each.in_unit("mm") for name, each in found.items()}


def found_table(counts: np.ndarray, structures: Sequence[str]) -> pd.DataFrame:
    """What was not found, and found where there is nothing: means over H decoders.

    Args:
        counts: Of each decoder, as given by `counts`, shape (H, n, C, 3).
        structures: C names.

    Returns:
        One row a structure: images (with the structure), not found (of these, images in which
        no pixel was outlined), absent (images without it), found where absent (of these,
        images in which any pixel was outlined).
    """
    hits, false, missed = np.moveaxis(counts, -1, 0)
    present, outlined = hits + missed > 0, hits + false > 0
    columns = {
        "images": present[0].sum(0),
        "not found": (present & ~outlined).sum(1).mean(0),
        "absent": (~present[0]).sum(0),
        "found where absent": (~present & outlined).sum(1).mean(0),
    }
    return pd.DataFrame(columns, index=list(structures))


def _by_structure(found: dict[str, np.ndarray], structures: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of shape (R, H, C) as one entry a structure."""
    return {
        f"{kind}/{name}": values[..., i]
        for kind, values in found.items()
        for i, name in enumerate(structures)
    }
