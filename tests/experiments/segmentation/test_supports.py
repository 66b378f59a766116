"""Heads after training on a few patients: plans of all sizes, scores cut by size."""

import pytest

import segments
from fetalclip_nb.experiments.segmentation.overlap import overlap_scores
from fetalclip_nb.experiments.segmentation.recipe import DecoderRecipe
from fetalclip_nb.experiments.segmentation.scores import mean_mask
from fetalclip_nb.experiments.segmentation.supports import (
    plan_supports,
    score_supports,
    support_answers,
    support_mask,
)
from fetalclip_nb.models.model import load_model
from fetalclip_nb.tasks.items import Task
from fetalclip_nb.tasks.own_splits import own_supports
from fetalclip_nb.tasks.splits import Split

RECIPE = DecoderRecipe(side=segments.SIDE, copies=1, runs=2, batch_size=1)


@pytest.fixture(scope="module")
def supports(heads):
    return Task(heads.dataset, heads.items, own_supports(heads.items.table, [1, 2], seed=0, sets=2))


@pytest.fixture(scope="module")
def plans(heads, supports, tmp_path_factory):
    models = [load_model("phantomclip", device="cpu")]
    where = {"cache_dir": tmp_path_factory.mktemp("cache"), "batch_size": 8, "seed": 0}
    return plan_supports(models, heads, supports, RECIPE, **where)


def test_a_plan_holds_the_decoders_of_all_sizes(plans, supports):
    assert list(plans) == [("phantomclip", "head")]
    plan = plans["phantomclip", "head"]
    assert plan.tested == supports.split.test and plan.recipe == RECIPE
    patients = supports.items.table["patient"].to_numpy()
    folds = [fold for split in supports.splits.values() for fold in split.folds]
    assert len(plan.jobs) == len(folds) * RECIPE.runs == 8
    for job, fold in zip(plan.jobs[::2], folds, strict=True):
        assert set(patients[job.train[:, 1]]) == set(fold.train)


def test_curves_and_the_mean_mask_are_scored_on_the_test_patients(plans, supports):
    plan = plans["phantomclip", "head"]
    folds = tuple(fold for split in supports.splits.values() for fold in split.folds)
    every = mean_mask(plan.material, Split("own", plan.tested, folds), plan.tested)
    patients = supports.table["patient"].to_numpy()
    curve = score_supports({("m", "head"): every}, supports)["m", "head"]
    for n, part in ((1, every.counts[:2]), (2, every.counts[2:])):
        expected = overlap_scores(part, patients, ("head",), sets=supports.splits[n].sets)["dsc"]
        assert curve[n].keys() == {"dsc"} and curve[n]["dsc"].score == expected.score
        assert curve[n]["dsc"].values.tolist() == expected.values.tolist()
    mask = overlap_scores(every.counts[2:], patients, ("head",))["dsc"].score
    assert support_mask(plans, supports) == mask
    said = support_answers({("m", "head"): every}, supports, plan.material.task)["m"]
    assert list(said) == ["head_1/dsc", "head_2/dsc"]
    dice = said["head_2/dsc"].groupby("run")[["part", "whole"]].sum()
    assert (dice["part"] / dice["whole"]).mean() == pytest.approx(curve[2]["dsc"].score.value)
