"""Scores of decoders on the tested images of a task, with intervals over patients.

What can be outlined without looking at the image: the mean of the training masks.

Which images of a segmentation are shown: the worst, the median and the best.
"""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.segmentation import measurement, overlap
from fetalclip_nb.experiments.segmentation.fit import HEAD, Outcome
from fetalclip_nb.experiments.segmentation.material import Material
from fetalclip_nb.experiments.segmentation.squares import pack, unpack
from fetalclip_nb.experiments.segmentation.tables import score_text
from fetalclip_nb.growth import STRATA_MM
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.splits import Split, rows_of


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
    return measurement.agreement(measured_mm, true, patients) | measurement.age_agreement(
        measured_mm, true, patients
    )


def limits(found: Mapping[str, RunScores]) -> dict[str, Score]:
    """Bias and limits of agreement, for `segmentation_figures.bland_altman`.

    Args:
        found: As given by `measured_scores`.

    Returns:
        bias, low and high in mm; NaN where too few heads were measured to tell.
    """
    unknown = Score(*[np.nan] * 4, n=0, groups=0, unit="mm")
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
    return measurement.mask_circumferences(masks, pixel_mm)


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


MEAN_MASK = "mean mask"
"""Name of the baseline in tables."""


def mean_mask(material: Material, split: Split, tested: tuple[str, ...]) -> Outcome:
    """Outline the pixels that most training images of a fold have inside, in every image.

    Args:
        material: The task, with any encoder: only its masks are read.
        split: The folds.
        tested: Patients that are tested.

    Returns:
        One outcome a fold, as of a decoder.
    """
    table = material.task.items.table
    rows = np.flatnonzero(rows_of(table, tested))
    true = _masks(material, rows)
    parts = [
        _one(material, rows, true, _masks(material, np.flatnonzero(rows_of(table, fold.train))))
        for fold in split.folds
    ]
    folds = len(parts)
    stacked = (np.stack(found) for found in zip(*parts, strict=True))
    return Outcome(rows, *stacked, np.zeros(folds, np.int64), np.full((folds, 1), np.nan))


def _masks(material: Material, rows: np.ndarray) -> np.ndarray:
    return unpack(np.asarray(material.preparations[0].masks[rows]), material.side)


def _one(
    material: Material, rows: np.ndarray, true: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, ...]:
    share = seen.mean(axis=0)
    guess = np.broadcast_to(share > 0.5, true.shape)
    measured = np.full(len(rows), np.nan)
    structures = material.task.structures
    if HEAD in structures:
        same = np.broadcast_to(share[structures.index(HEAD)] - 0.5, (len(rows), *share.shape[1:]))
        measured = measurement.head_circumferences(
            same, material.sizes[rows], material.pixel_mm[rows]
        )
    return (
        overlap.counts(guess, true),
        overlap.hausdorff95(guess, true, material.square_pixel_mm[rows]),
        measured,
        pack(guess),
    )


def picked(values: np.ndarray, k: int = 1) -> dict[str, np.ndarray]:
    """Positions of the worst, the median and the best images, none of them twice.

    Args:
        values: Score of each image, the higher the better, shape (n,); NaN is never picked.
        k: How many of each; fewer where the images do not suffice for three times as many.

    Returns:
        "worst" (worst first), "median" (ascending; about the lower median) and "best" (best
        first): integers of shape (k,) or less. One image is the worst, two are worst and best.

    Raises:
        ParameterError: If k is less than 1.

    >>> {name: found.tolist() for name, found in picked([0.9, 0.2, 0.5, np.nan, 0.7]).items()}
    {'worst': [1], 'median': [2], 'best': [0]}
    """
    if k < 1:
        raise ParameterError("Nothing to pick", where="k", expected="1 or more", found=k)
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    size = min(k, max(1, order.size // 3))
    worst, order = np.split(order, [size])
    order, best = np.split(order, [max(0, order.size - size)])
    start = max(0, (order.size - size) // 2)
    return {"worst": worst, "median": order[start : start + size], "best": best[::-1]}


def examples(material: Material, outcome: Outcome, *, decoder: int = 0, k: int = 1) -> dict:
    """Worst, median and best images of one decoder, as `segmentation_figures.overlays` takes them.

    Images are ranked by the mean DSC of the structures that they have.

    Args:
        material: The task's images and masks.
        outcome: Decoders on tested images.
        decoder: Which of them.
        k: Images of each kind.

    Returns:
        images, true, predicted, structures and titles.
    """
    each = overlap.image_dice(outcome.counts[decoder])
    with np.errstate(invalid="ignore"):
        means = np.nansum(each, axis=1) / np.isfinite(each).sum(axis=1)
    kinds = picked(means, k)
    places = np.concatenate(list(kinds.values()))
    plain, rows = material.preparations[0], outcome.rows[places]
    names = [kind for kind, found in kinds.items() for _ in found]
    return {
        "images": np.stack([plain.images[row] for row in rows]),
        "true": unpack(np.stack([plain.masks[row] for row in rows]), material.side),
        "predicted": unpack(outcome.masks[decoder, places], material.side),
        "structures": material.task.structures,
        "titles": [
            f"{name}: DSC {100 * means[p]:.1f} %" for name, p in zip(names, places, strict=True)
        ],
    }
