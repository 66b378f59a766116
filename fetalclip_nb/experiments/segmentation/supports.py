"""Decoders of heads after training on a few patients (chapter 5)."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fetalclip_nb.experiments.segmentation.fit import HEAD
from fetalclip_nb.experiments.segmentation.overlap import overlap_scores
from fetalclip_nb.experiments.segmentation.plans import Plans, Study, plan_decoders
from fetalclip_nb.experiments.segmentation.recipe import DecoderRecipe
from fetalclip_nb.experiments.segmentation.scores import Outcomes, mean_mask, pooled_answers
from fetalclip_nb.models.model import Model
from fetalclip_nb.stats.answers import Answers
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.items import Task
from fetalclip_nb.tasks.masks import MaskTask


def plan_supports(
    models: Iterable[Model],
    masks: MaskTask,
    heads: Task,
    recipe: DecoderRecipe,
    *,
    cache_dir: Path,
    batch_size: int,
    seed: int,
) -> Plans:
    """Compute or read the features of all models: one plan each for all support sets.

    Masks are of heads, whose items have support sets; all else is as `plan_decoders` takes it.
    """
    return plan_decoders(
        models,
        {HEAD: Study(masks, heads.splits, heads.split.test)},
        recipe,
        image_only=False,
        cache_dir=cache_dir,
        batch_size=batch_size,
        seed=seed,
    )


def score_supports(
    outcomes: Outcomes, heads: Task
) -> dict[tuple[str, str], dict[int, dict[str, RunScores]]]:
    """Pooled DSC of each model's decoders at each number of training patients."""
    _, patients, _ = heads.truth
    curves = {}
    for key, outcome in outcomes.items():
        parts = heads.by_split(outcome.counts).items()
        scores = {
            n: overlap_scores(part, patients, (HEAD,), sets=heads.splits[n].sets)
            for n, part in parts
        }
        curves[key] = {n: {"dsc": found["dsc"]} for n, found in scores.items()}
    return curves


def support_answers(outcomes: Outcomes, heads: Task, masks: MaskTask) -> dict[str, Answers]:
    """Pixels of each model's decoders, by number of training patients, by model."""
    found: dict[str, Answers] = {}
    for (model, name), outcome in outcomes.items():
        sizes = heads.by_split(outcome.counts)
        found[model] = {
            f"{name}_{n}/dsc": pooled_answers(replace(outcome, counts=part), masks)
            for n, part in sizes.items()
        }
    return found


def support_mask(plans: Plans, heads: Task) -> Score:
    """Pooled DSC of the mask that most training images of the largest sets share."""
    _, patients, _ = heads.truth
    plan = next(iter(plans.values()))
    outcome = mean_mask(plan.material, heads.splits[max(heads.splits)], plan.tested)
    return overlap_scores(outcome.counts, patients, (HEAD,))["dsc"].score
