"""Scores of all outlines, with intervals over patients; the mean mask; what is shown of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fetalclip_nb.experiments.segmentation import measurement, overlap
from fetalclip_nb.experiments.segmentation.fit import HEAD, Outcome, joined, outlined
from fetalclip_nb.experiments.segmentation.material import Material
from fetalclip_nb.experiments.segmentation.plans import Plans, Studies
from fetalclip_nb.experiments.segmentation.squares import unpack
from fetalclip_nb.results.protocol import task_results
from fetalclip_nb.stats.answers import answer_table
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.splits import Split, rows_of

Outcomes = Mapping[tuple[str, str], Outcome]
"""(model, task) to its decoders on the tested images."""

Scores = Mapping[tuple[str, str], Mapping[str, RunScores]]
"""(model, task) to the scores of its decoders."""

MEAN_MASK = "mean mask"
"""Name of the baseline in tables."""


def mean_masks(plans: Plans) -> dict[tuple[str, str], Outcome]:
    """The baseline of each task: `mean_mask`, named as outcomes are."""
    tasks = {name: plan for (_, name), plan in plans.items()}
    return {
        (MEAN_MASK, name): mean_mask(plan.material, plan.splits[0], plan.tested)
        for name, plan in tasks.items()
    }


def mean_mask(material: Material, split: Split, tested: tuple[str, ...]) -> Outcome:
    """Outline the pixels that most training images of a fold have inside, in every image.

    Only the masks of the material are read. Each fold gives one outcome, as of a decoder.
    """
    table = material.task.items.table
    rows = np.flatnonzero(rows_of(table, tested))
    guesses = []
    for fold in split.folds:
        share = material.masks(np.flatnonzero(rows_of(table, fold.train))).mean(axis=0)
        same = np.broadcast_to(share - 0.5, (len(rows), *share.shape))
        guesses.append(outlined(material, rows, same) | {"losses": np.full(1, np.nan)})
    return joined(rows, guesses)


def without_leaks(outcomes: Outcomes, studies: Studies) -> dict[tuple[str, str], Outcome]:
    """The same decoders on those of the tested images that no fold trains or validates on."""
    left = {}
    for (model, name), outcome in outcomes.items():
        images = studies[name].task.items.table.iloc[outcome.rows]
        left[model, name] = outcome.where(rows_of(images, studies[name].split.test))
    return left


def score_outcomes(outcomes: Outcomes, studies: Studies) -> Scores:
    """`outcome_scores` of all models and tasks."""
    return {
        (model, name): outcome_scores(outcome, studies[name].task)
        for (model, name), outcome in outcomes.items()
    }


def is_measured(task: MaskTask) -> bool:
    """Whether heads of the task have a pixel size and a true circumference."""
    return HEAD in task.structures and {"pixel_mm", "hc_mm"} <= set(task.dataset.table)


def outcome_scores(outcome: Outcome, task: MaskTask) -> dict[str, RunScores]:
    """Overlap and distance by structure and, where heads have a known size, their measurement."""
    patients = task.items.table["patient"].to_numpy()[outcome.rows]
    scores = overlap.overlap_scores(outcome.counts, patients, task.structures)
    scores |= overlap.distance_scores(outcome.distances, patients, task.structures)
    if is_measured(task):
        scores |= measured_scores(outcome.circumferences, outcome, task)
    return scores


def measured_scores(
    measured_mm: np.ndarray, outcome: Outcome, task: MaskTask
) -> dict[str, RunScores]:
    """Head circumferences (H, n) or (n,) and their ages against the true ones of the images."""
    patients = task.items.table["patient"].to_numpy()[outcome.rows]
    values = (measured_mm, true_circumferences(outcome, task), patients)
    return measurement.agreement(*values) | measurement.age_agreement(*values)


def save_scores(
    save: Callable[..., None],
    scores: Scores,
    outcomes: Outcomes,
    studies: Studies,
    models: Collection[str],
) -> None:
    """Save all scores by `Session.save`; names that are no models are baselines."""
    for (model, name), task_scores in scores.items():
        pooled = pooled_answers(outcomes[model, name], studies[name].task)
        save(
            model,
            task_results(task_scores, name),
            subject="" if name == HEAD else name.replace("_", "-"),
            kind="model" if model in models else "baseline",
            dataset=studies[name].task.dataset,
            answers={f"{name}/dsc": pooled},
        )


def pooled_answers(outcome: Outcome, task: MaskTask) -> pd.DataFrame:
    """Pixels of each decoder, image and structure, whose sums make the pooled Dice coefficient."""
    hits, false, missed = np.moveaxis(outcome.counts, -1, 0)
    known = (hits + missed)[0].any(0)  # structures that an image has
    images = task.items.table.iloc[outcome.rows]
    items = [images[name].to_numpy().repeat(known.sum()) for name in ("id", "patient")]
    part, rest = (each[..., known].reshape(len(hits), -1) for each in (2 * hits, false + missed))
    names = np.tile(np.array(task.structures)[known], len(images))
    return answer_table(*items, structure=names, part=part, whole=part + rest)


def true_circumferences(outcome: Outcome, task: MaskTask) -> np.ndarray:
    """Head circumferences of the tested images as the data set gives them in mm, shape (n,)."""
    return task.dataset.table["hc_mm"].to_numpy(float)[outcome.rows]


def annotated_circumferences(outcome: Outcome, task: MaskTask) -> np.ndarray:
    """What measuring gives on the annotators' own masks of the tested images in mm, shape (n,).

    A perfect decoder would be as far from the true values as these are.
    """
    masks = [task.read(row)[task.structures.index(HEAD)] for row in outcome.rows]
    pixel_mm = task.dataset.table["pixel_mm"].to_numpy(float)[outcome.rows]
    return measurement.mask_circumferences(masks, pixel_mm)


def measured_heads(outcome: Outcome, task: MaskTask) -> pd.DataFrame:
    """The first decoder's head circumferences: id, patient, true_mm, measured_mm an image."""
    images = task.dataset.table[["id", "patient"]].iloc[outcome.rows]
    true = true_circumferences(outcome, task)
    return images.assign(true_mm=true, measured_mm=outcome.circumferences[0])


def limits(heads: pd.DataFrame) -> dict[str, Score]:
    """Bias, low and high limit of agreement in mm; NaN where too few heads were measured."""
    columns = (heads[name].to_numpy() for name in ("measured_mm", "true_mm", "patient"))
    scores = measurement.agreement(*columns)
    unknown = Score(*[np.nan] * 4, n=0, groups=0, unit="mm")
    names = {end: f"hc_{end}_mm" for end in ("bias", "low", "high")}
    return {end: scores[n].score if n in scores else unknown for end, n in names.items()}


@dataclass(frozen=True)
class Examples:
    """Images, uint8 of shape (k, S, S, 3), for `figures.overlays`.

    Annotated and predicted regions of the C structures are bool of shape (k, C, S, S).
    """

    images: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    structures: tuple[str, ...]
    titles: list[str]


def examples(material: Material, outcome: Outcome, *, k: int = 1) -> Examples:
    """The k worst, median and best images by the first decoder's mean DSC of their structures."""
    each = overlap.image_dice(outcome.counts[0])
    with np.errstate(invalid="ignore"):
        means = np.nansum(each, axis=1) / np.isfinite(each).sum(axis=1)
    ranked = picked(means, k)
    places = np.concatenate(list(ranked.values()))
    names = [name for name, chosen in ranked.items() for _ in chosen]
    rows = outcome.rows[places]
    return Examples(
        np.stack([material.preparations[0].images[row] for row in rows]),
        material.masks(rows),
        unpack(outcome.masks[0, places], material.side),
        material.task.structures,
        [f"{name}: DSC {100 * means[p]:.1f} %" for name, p in zip(names, places, strict=True)],
    )


def picked(values: np.ndarray, k: int = 1) -> dict[str, np.ndarray]:
    """Positions of the worst, the median and the best images, none of them twice.

    Args:
        values: Score of each image, the higher the better, shape (n,); NaN is never picked.
        k: How many of each; fewer where the images do not suffice for three times as many.

    Returns:
        "worst" (worst first), "median" (ascending; about the lower median) and "best" (best
        first): integers of shape (k,) or less. One image is the worst, two are worst and best.

    >>> {name: places.tolist() for name, places in picked([0.9, 0.2, 0.5, np.nan, 0.7]).items()}
    {'worst': [1], 'median': [2], 'best': [0]}
    """
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    size = min(k, max(1, order.size // 3))
    worst, order = np.split(order, [size])
    order, best = np.split(order, [max(0, order.size - size)])
    start = max(0, (order.size - size) // 2)
    return {"worst": worst, "median": order[start : start + size], "best": best[::-1]}
