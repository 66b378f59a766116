"""Scores of decoders on the tested images of a task, with intervals over patients."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from fetalclip_nb import head_measurement, overlap
from fetalclip_nb.decoder_cells import HEAD, Outcome
from fetalclip_nb.gestational_age import STRATA_MM
from fetalclip_nb.mask_tasks import MaskTask
from fetalclip_nb.metrics import Score
from fetalclip_nb.run_scores import RunScores
from fetalclip_nb.segmentation_tables import score_text
from fetalclip_nb.splits import rows_of


def on_patients(outcome: Outcome, task: MaskTask, patients: Collection[str]) -> Outcome:
    """The same decoders on the tested images of some patients."""
    return outcome.where(rows_of(task.items.table.iloc[outcome.rows], patients))


def outcome_scores(outcome: Outcome, task: MaskTask) -> dict[str, RunScores]:
    """Overlap and distance by structure and, where heads have a known size, their measurement.

    Returns:
        What `overlap.overlap_scores`, `overlap.distance_scores`, `head_measurement.agreement`
        and `head_measurement.age_agreement` give, in one dictionary.
    """
    patients = task.items.table["patient"].to_numpy()[outcome.rows]
    found = overlap.overlap_scores(outcome.counts, patients, task.structures)
    found |= overlap.distance_scores(outcome.distances, patients, task.structures)
    if is_measured(task):
        found |= measured_scores(outcome.circumferences, outcome, task)
    return found


def measured_scores(
    measured_mm: np.ndarray, outcome: Outcome, task: MaskTask
) -> dict[str, RunScores]:
    """Measured head circumferences of the tested images, and their ages, against the true ones.

    Args:
        measured_mm: Shape (H, n) or (n,), of the outcome's n images.
        outcome: Which images.
        task: A task for which `is_measured` holds.
    """
    patients = task.items.table["patient"].to_numpy()[outcome.rows]
    true = true_circumferences(outcome, task)
    return head_measurement.agreement(measured_mm, true, patients) | head_measurement.age_agreement(
        measured_mm, true, patients
    )


def limits(found: Mapping[str, RunScores]) -> dict[str, Score]:
    """Bias and limits of agreement, for `segmentation_figures.bland_altman`.

    Args:
        found: As given by `measured_scores`.

    Returns:
        bias, low and high in mm; NaN where too few heads were measured to tell.
    """
    unknown = Score(*[np.nan] * 4, n=0, groups=0)
    names = {name: f"hc_{name}_mm" for name in ("bias", "low", "high")}
    return {name: found[key].score if key in found else unknown for name, key in names.items()}


def measured_sentence(found: Mapping[str, RunScores]) -> str:
    """What the prose says of measured heads.

    Args:
        found: As given by `measured_scores`.

    >>> measured_sentence({})
    'No head could be measured on these outlines.'
    """
    if "hc_mae_mm" not in found:
        return "No head could be measured on these outlines."
    text = score_text(found, "hc_mae_mm")
    return f"The head circumference of these outlines is off by {text} mm on average."


def is_measured(task: MaskTask) -> bool:
    """Whether heads of the task have a pixel size and a true circumference."""
    return HEAD in task.structures and {"pixel_mm", "hc_mm"} <= set(task.dataset.table)


def true_circumferences(outcome: Outcome, task: MaskTask) -> np.ndarray:
    """Head circumferences of the tested images as the data set gives them in mm, shape (n,)."""
    return task.dataset.table["hc_mm"].to_numpy(float)[outcome.rows]


def annotated_circumferences(outcome: Outcome, task: MaskTask) -> np.ndarray:
    """What measuring gives on the annotators' own masks of the tested images in mm, shape (n,).

    A perfect decoder would be as far from the true values as these are.
    """
    head = task.structures.index(HEAD)
    masks = [task.read(row)[head] for row in outcome.rows]
    pixel_mm = task.dataset.table["pixel_mm"].to_numpy(float)[outcome.rows]
    return head_measurement.mask_circumferences(masks, pixel_mm)


def strata_table(outcome: Outcome, task: MaskTask) -> pd.DataFrame:
    """Overlap and measurement of heads by true circumference: where small or large ones fail.

    Args:
        outcome: Decoders on the tested images.
        task: A task for which `is_measured` holds.

    Returns:
        One row a range of circumferences that has images, all others last: images, pooled DSC
        of the head, mean absolute error.
    """
    true = true_circumferences(outcome, task)
    last = STRATA_MM[-1][1]
    bounds = {
        f"{low:g}–{high:g} mm": (true >= low) & ((true < high) | ((true == high) & (high == last)))
        for low, high in STRATA_MM
    }
    inside = np.any(list(bounds.values()), axis=0)
    rows = {}
    for name, kept in {**bounds, "smaller or larger": ~inside}.items():
        if kept.any():
            found = outcome_scores(outcome.where(kept), task)
            rows[name] = {
                "images": int(kept.sum()),
                "DSC, pooled (%)": score_text(found, f"dsc/{HEAD}"),
                "mean absolute error (mm)": score_text(found, "hc_mae_mm"),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("true circumference")


def structure_scores(
    scores: Mapping[tuple[str, str], Mapping[str, RunScores]], models: Collection[str]
) -> dict[str, dict[str, object]]:
    """Pooled DSC of all structures of all tasks, for `segmentation_figures.structure_bars`.

    Args:
        scores: (model, task) to scores.
        models: Which models.
    """
    return {
        model: {
            f"{task}: {name.removeprefix('dsc/')}": found.score
            for (one, task), group in scores.items()
            for name, found in group.items()
            if one == model and name.startswith("dsc/")
        }
        for model in models
    }
