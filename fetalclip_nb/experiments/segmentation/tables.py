"""What the chapter says in words: tables of texts, sentences and facts for the prose."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.segmentation import overlap
from fetalclip_nb.experiments.segmentation.fit import HEAD, Outcome
from fetalclip_nb.experiments.segmentation.plans import Plan, Plans, Studies
from fetalclip_nb.experiments.segmentation.recipe import DecoderRecipe
from fetalclip_nb.experiments.segmentation.scores import (
    Outcomes,
    Scores,
    annotated_circumferences,
    measured_scores,
    outcome_scores,
    true_circumferences,
)
from fetalclip_nb.experiments.segmentation.squares import task_squares, unpack
from fetalclip_nb.growth import STRATA_MM
from fetalclip_nb.models.blocks import NoFeatures
from fetalclip_nb.results import protocol
from fetalclip_nb.results.formats import with_interval
from fetalclip_nb.results.published import published_facts
from fetalclip_nb.results.tables import comparison_table
from fetalclip_nb.stats.scores import FEWEST_PATIENTS, RunScores, mean_of_defined
from fetalclip_nb.tasks.masks import STRUCTURES, MaskTask
from fetalclip_nb.tasks.splits import Split

ALL = "mean over structures"

FEW_HEADS = DecoderRecipe(copies=10)
"""The paper's settings of few-data segmentation; those of probing are the recipe's defaults."""

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


def task_table(tasks: Mapping[str, MaskTask]) -> pd.DataFrame:
    """One row a task and structure: images that show it, images in which it is absent."""
    rows = {name: task.summary() for name, task in tasks.items()}
    return pd.concat(rows, names=["task"]).droplevel(1)


def split_table(studies: Studies) -> pd.DataFrame:
    """Patients and images on each side, one row a task and fold."""
    return pd.concat(
        protocol.split_table({name: study.split}, study.task.items.table)
        for name, study in studies.items()
    )


def unlike_paper(
    recipe: DecoderRecipe,
    splits: Collection[Split],
    paper: DecoderRecipe = DecoderRecipe(),  # noqa: B008 (it cannot be changed)
    sets: str = "folds used",
) -> str:
    """How splits and schedule differ from the paper's; empty where they do not.

    The paper has 5 folds or sets; ``sets`` is what these are called.

    >>> unlike_paper(DecoderRecipe(blocks="even", patience=3, runs=1), [], FEW_HEADS, "sets")
    '5 copies, 0 sets, 1 run a fold, evenly spaced blocks, stop after 3 epochs without progress'
    """
    folds = max((len(split.folds) for split in splits), default=0)
    texts = (
        protocol.deviation(splits, _settings(recipe, folds, sets), _settings(paper, 5, sets)),
        "evenly spaced blocks" * (recipe.blocks == "even"),
        "images and masks made small our way" * (recipe.preparation == "ours"),
        "falling rate" * recipe.decay,
        f"stop after {recipe.patience} epochs without progress" * (recipe.patience > 0),
    )
    return ", ".join(filter(None, texts))


def _settings(recipe: DecoderRecipe, folds: int, sets: str) -> dict[str, float]:
    return {
        "pixels a side": recipe.side,
        "filters": recipe.filters,
        "copies": recipe.copies,
        sets: folds,
        "runs a fold": recipe.runs,
        "epochs": recipe.epochs,
        "images a step": recipe.batch_size,
        "as learning rate": recipe.learning_rate,
    }


def leak_table(
    outcomes: Outcomes, scores: Scores, task: MaskTask, models: Sequence[str]
) -> pd.DataFrame:
    """Pooled DSC of heads on all patients that the split tests, and without those that leak."""
    rows = {
        model: {
            "as released, DSC (%)": score_text(outcome_scores(outcomes[model, HEAD], task), "dsc"),
            "leak-free, DSC (%)": score_text(scores[model, HEAD], "dsc"),
        }
        for model in models
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def organ_tables(results: Mapping[str, dict], studies: Studies) -> dict[str, pd.DataFrame]:
    """Ours beside the published numbers, a table a task but for heads."""
    tables = {}
    for name, study in studies.items():
        if name != HEAD:
            same = set(study.task.structures) == set(STRUCTURES.get(name, ()))
            other = study.task.stand_in or ("other images" if same else "other structures")
            known = f"segmentation/{name}/dsc"
            tables[name] = comparison_table(results, f"{name}/dsc", known, deviation=other)
    return tables


def structure_tables(
    scores: Scores, outcomes: Outcomes, studies: Studies, model: str
) -> pd.DataFrame:
    """Dice coefficients and distance of a model's outlines with intervals, and what was missed.

    Returns:
        Texts, one row a task and structure; the mean over the structures comes first where there
        are several. A dash where a structure has no such score.
    """
    rows = {}
    for name, study in studies.items():
        of_task = scores[model, name]
        missed = overlap.found_table(outcomes[model, name].counts, study.task.structures)
        if len(missed) > 1:
            means = {title: score_text(of_task, kind) for kind, title in _OVERLAP.items()}
            rows[name, ALL] = means | dict.fromkeys(missed.columns, "")
        for structure, counted in missed.to_dict("index").items():
            texts = {t: score_text(of_task, f"{kind}/{structure}") for kind, t in _OVERLAP.items()}
            numbers = {column: _count_text(value) for column, value in counted.items()}
            rows[name, structure] = texts | numbers
    index = pd.MultiIndex.from_tuples(rows, names=["task", "structure"])
    return pd.DataFrame(list(rows.values()), index)


def agreement_tables(scores: Scores, outcome: Outcome, task: MaskTask) -> pd.DataFrame:
    """Measured against true head circumferences and their ages, with a dash where none is known.

    One row for the annotation itself, measured in the same way, and one a model.
    """
    heads = {"annotation": measured_scores(annotated_circumferences(outcome, task), outcome, task)}
    heads |= {model: of_head for (model, name), of_head in scores.items() if name == HEAD}
    rows = {
        name: {"images": f"{of_model['hc_missed'].score.n:,}"}
        | {title: score_text(of_model, kind) for kind, title in _AGREEMENT.items()}
        for name, of_model in heads.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def strata_table(outcome: Outcome, task: MaskTask) -> pd.DataFrame:
    """Overlap and measurement of heads by true circumference: where small or large ones fail.

    One row a range of circumferences that has images of five patients, all others last.
    """
    true = true_circumferences(outcome, task)
    patients = task.items.table["patient"].to_numpy()[outcome.rows]
    last = STRATA_MM[-1][1]
    strata = {
        f"{low:g}–{high:g} mm": (true >= low) & ((true < high) | ((true == high) & (high == last)))
        for low, high in STRATA_MM
    }
    strata["smaller or larger"] = ~np.any(list(strata.values()), axis=0)
    rows = {}
    for name, inside in strata.items():
        if len(set(patients[inside])) >= FEWEST_PATIENTS:
            scores = outcome_scores(outcome.where(inside), task)
            rows[name] = {
                "images": int(inside.sum()),
                "DSC, pooled (%)": score_text(scores, f"dsc/{HEAD}"),
                "mean absolute error (mm)": score_text(scores, "hc_mae_mm"),
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("true circumference")


def score_text(scores: Mapping[str, RunScores], name: str) -> str:
    """Mean over the decoders with its patient interval, or a dash where there is none.

    >>> score_text({}, "dsc")
    '–'
    """
    if name not in scores:
        return "–"
    score = scores[name].score
    # A dash between numbers that may be negative is hard to read.
    return with_interval(score, "–" if score.unit == "%" else " to ")


def files(
    scores: Scores, outcomes: Outcomes, studies: Studies, model: str
) -> dict[str, pd.DataFrame]:
    """What is saved beside the scores: all decoders' scores, and those of one model's images."""
    splits = {name: study.split for name, study in studies.items()}
    images = {f"images-{n}": image_table(outcomes[model, n], s.task) for n, s in studies.items()}
    return {"runs": protocol.runs_table(scores, splits)} | images


def image_table(outcome: Outcome, task: MaskTask) -> pd.DataFrame:
    """Scores of each image, means over the decoders: for a file, and to find good and bad ones.

    Returns:
        One row an image and structure: id, patient, structure, true_pixels, dsc, hd95_mm; the
        last two are NaN where the structure is absent, hd95_mm also where no decoder has one.
    """
    counts, rows = outcome.counts, outcome.rows.repeat(len(task.structures))
    images = task.dataset.table[["id", "patient"]].iloc[rows]
    return images.reset_index(drop=True).assign(
        structure=list(task.structures) * len(outcome.rows),
        true_pixels=(counts[0, ..., 0] + counts[0, ..., 2]).ravel(),
        dsc=mean_of_defined(np.moveaxis(overlap.image_dice(counts), 0, -1)).ravel(),
        hd95_mm=mean_of_defined(np.moveaxis(outcome.distances, 0, -1)).ravel(),
    )


def facts(
    studies: Studies, plans: Plans, scores: Scores, recipe: DecoderRecipe, model: str
) -> dict[str, object]:
    """What the prose of the chapter says of a run; model is the headline's name."""
    head = studies[HEAD]
    decoders = len(plans[model, HEAD].jobs)
    return {
        **published_facts("segmentation"),
        **protocol.split_facts(head.split),
        "units": head.task.dataset.units,
        "measured_sentence": measured_sentence(scores[model, HEAD]),
        "schedule": schedule_text(recipe, decoders),
        "image_only_sentence": image_only_sentence(scores.get((NoFeatures.name, HEAD), {})),
        "organs_are": organs_sentence(studies),
        "unlike_paper": unlike_paper(recipe, [head.split]) or "nothing",
        "decoders": decoders,
        "trained": sum(len(plan.jobs) for plan in plans.values()),
        "images_are": kind_of_images(head.task.dataset),
    }


def mask_facts(plan: Plan, cache_dir: Path) -> dict[str, str]:
    """How far the two ways to make masks small agree on a plan's tested images, as a sentence."""
    task, side, rows = plan.material.task, plan.material.side, plan.rows
    way = "ours" if plan.recipe.preparation == "published" else "published"
    chosen = np.isin(np.arange(len(task.dataset)), rows)
    other = task_squares(task, side, preparation=way, cache_dir=cache_dir, rows=chosen)
    counts = overlap.counts(plan.material.masks(rows), unpack(other.arrays["masks"], side))
    patients = task.items.table["patient"].to_numpy()[rows]
    score = overlap.overlap_scores(counts[None], patients, task.structures)["dsc"].score
    text = f"of {len(counts):,} tested images overlap with a pooled DSC of {with_interval(score)} %"
    return {"masks_sentence": f"Masks made small the published way and ours {text}."}


def schedule_text(recipe: DecoderRecipe, decoders: int) -> str:
    """What a chapter says of its schedule; decoders are those of the headline model on heads.

    >>> schedule_text(DecoderRecipe(), decoders=25)
    '100 epochs at a rate of 0.0003, 8 images a step, images of 224 pixels a side, 32 filters, \
5 augmented copies of each image, 25 decoders a model on heads'
    """
    copies = f"{recipe.copies} augmented copies of each image"
    return (
        f"{recipe.epochs} epochs at a rate of {recipe.learning_rate:g}"
        f"{', which rises and falls' * recipe.decay}, {recipe.batch_size} images a step, "
        f"images of {recipe.side} pixels a side, {recipe.filters} filters, "
        f"{copies if recipe.copies else 'images as they are'}, "
        f"{decoders} decoder{'s' * (decoders != 1)} a model on heads"
    )


def measured_sentence(scores: Mapping[str, RunScores]) -> str:
    """What the prose says of measured heads.

    >>> measured_sentence({})
    'No head could be measured on these outlines.'
    """
    if "hc_mae_mm" not in scores:
        return "No head could be measured on these outlines."
    text = score_text(scores, "hc_mae_mm")
    return f"The head circumference of these outlines is off by {text} mm on average."


def image_only_sentence(scores: Mapping[str, RunScores]) -> str:
    """What the prose says of the decoder without features.

    >>> image_only_sentence({})
    'No decoder was trained on the image alone.'
    """
    if not scores:
        return "No decoder was trained on the image alone."
    text = with_interval(scores["dsc"].score)
    return f"A decoder that was trained on the image alone reaches {text} %."


def organs_sentence(studies: Studies) -> str:
    """What the prose says of the images of other tasks than heads.

    >>> organs_sentence({})
    'No other masks were given.'
    """
    kinds = {
        name.replace("_", "-"): study.task.stand_in or kind_of_images(study.task.dataset)
        for name, study in studies.items()
        if name != HEAD
    }
    texts = "; ".join(f"the {name} views are {kind}" for name, kind in kinds.items())
    return f"Of the others, {texts}." if texts else "No other masks were given."


def _count_text(value: float) -> str:
    """A count, or a mean of counts."""
    return f"{value:,.{0 if value == round(value) else 1}f}"
