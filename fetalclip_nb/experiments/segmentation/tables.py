"""Scores of outlined structures and of measured heads as tables of texts."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.experiments.segmentation import overlap
from fetalclip_nb.results.formats import with_interval
from fetalclip_nb.stats.scores import RunScores, mean_of_defined

ALL = "mean over structures"

PROTOCOL = {
    "pixels a side": 224,
    "filters": 32,
    "copies": 5,
    "folds used": 5,
    "runs a fold": 5,
    "epochs": 100,
    "images a step": 8,
    "as learning rate": 3e-4,
}
"""The paper's settings (arXiv 2502.14807, segmentation probing)."""

FEW_HEADS = {name: n for name, n in PROTOCOL.items() if name != "folds used"} | {
    "copies": 10,
    "sets": 5,
}
"""The paper's settings of few-data segmentation."""

_UNKNOWN = "–"

_OVERLAP = {"dsc": "DSC, pooled (%)", "image_dsc": "DSC per image (%)", "hd95": "HD95 (mm)"}

_AGREEMENT = {
    "hc_mae_mm": "mean absolute error (mm)",
    "hc_bias_mm": "bias (mm)",
    "hc_low_mm": "lower limit (mm)",
    "hc_high_mm": "upper limit (mm)",
    "age_mae_days": "age, mean absolute error (days)",
    "age_bias_days": "age, bias (days)",
    "hc_missed": "not measured (%)",
}


def structure_table(scores: Mapping[str, RunScores], found: pd.DataFrame) -> pd.DataFrame:
    """One row a structure: Dice coefficients and distance with intervals, and what was missed.

    Args:
        scores: Of one model and task, as given by `overlap.overlap_scores` and
            `overlap.distance_scores` together.
        found: As given by `overlap.found_table`.

    Returns:
        Texts; the mean over the structures comes first where there are several. A dash where
        a structure has no such score.
    """
    rows = {
        name: {title: score_text(scores, f"{kind}/{name}") for kind, title in _OVERLAP.items()}
        | {column: _count_text(value) for column, value in counted.items()}
        for name, counted in found.to_dict("index").items()
    }
    if len(rows) > 1:
        means = {title: score_text(scores, kind) for kind, title in _OVERLAP.items()}
        rows = {ALL: means | dict.fromkeys(found.columns, "")} | rows
    return pd.DataFrame.from_dict(rows, orient="index")


def agreement_table(scores: Mapping[str, Mapping[str, RunScores]]) -> pd.DataFrame:
    """Measured against true head circumferences and their ages: one row a model.

    Args:
        scores: Name (a model, the annotation itself) to its scores, as given by
            `head_measurement.agreement` and `head_measurement.age_agreement` together.

    Returns:
        Texts; a dash where a score is absent.
    """
    rows = {
        name: {"images": f"{found['hc_missed'].score.n:,}"}
        | {title: score_text(found, kind) for kind, title in _AGREEMENT.items()}
        for name, found in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def score_text(scores: Mapping[str, RunScores], name: str) -> str:
    """Mean over the decoders with its patient interval, or a dash where there is none.

    >>> score_text({}, "dsc")
    '–'
    """
    if name not in scores:
        return _UNKNOWN
    score = scores[name].score
    # A dash between numbers that may be negative is hard to read.
    return with_interval(score, "–" if score.unit == "%" else " to ")


def image_table(
    table: pd.DataFrame, structures: Sequence[str], counts: np.ndarray, distances: np.ndarray
) -> pd.DataFrame:
    """Scores of each image, means over the decoders: for a file, and to find good and bad ones.

    Args:
        table: The n images' rows of a data set, with id and patient.
        structures: C names.
        counts: Of each decoder, as given by `overlap.counts`, shape (H, n, C, 3).
        distances: Of each decoder, as given by `overlap.hausdorff95`, shape (H, n, C).

    Returns:
        One row an image and structure: id, patient, structure, true_pixels, dsc, hd95_mm; the
        last two are NaN where the structure is absent, hd95_mm also where no decoder has one.

    Raises:
        ShapeError: If the sizes do not match.
    """
    counts, distances = np.asarray(counts), np.asarray(distances)
    sizes = (len(table), len(structures))
    if counts.shape[1:] != (*sizes, 3) or distances.shape != counts.shape[:3]:
        raise ShapeError(
            "Counts and distances do not fit the images",
            expected=f"decoders, {sizes[0]} images, {sizes[1]} structures (, 3 counts)",
            found=f"{counts.shape} and {distances.shape}",
        )
    repeated = table[["id", "patient"]].iloc[np.repeat(np.arange(sizes[0]), sizes[1])]
    return repeated.reset_index(drop=True).assign(
        structure=list(structures) * sizes[0],
        true_pixels=(counts[0, ..., 0] + counts[0, ..., 2]).ravel(),
        dsc=mean_of_defined(np.moveaxis(overlap.image_dice(counts), 0, -1)).ravel(),
        hd95_mm=mean_of_defined(np.moveaxis(distances, 0, -1)).ravel(),
    )


def _count_text(value: float) -> str:
    """A count, or a mean of counts."""
    return f"{value:,.{0 if value == round(value) else 1}f}"
