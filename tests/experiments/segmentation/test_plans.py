"""From tasks to plans: whose images are used, what is refused, whose features are taken."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.experiments.segmentation import plans as module
from fetalclip_nb.experiments.segmentation.plans import plan_decoders, split_patients
from fetalclip_nb.tasks.own_splits import own_folds
from fetalclip_nb.tasks.splits import Fold, Split
from segments import RECIPE, rows_by_hand


def test_first_folds_of_own_splits_are_used(studies):
    for name, used in (("head", 1), ("abdomen", 2)):
        study = studies[name]
        every = own_folds(study.task.items.table, seed=0, folds=2)
        assert study.split == replace(every, folds=every.folds[:used])
        assert study.tested == study.split.test and not study.leaks


def test_the_official_split_of_heads_is_tested_whole_and_scored_without_leaks(
    heads, trunks, monkeypatch
):
    official = Split("official", ("a", "b"), (Fold(("a",), ("c",)),) * 5)
    asked = []

    def chosen(rule, items, *_, **__):
        asked.append((rule, items.name))
        source = "official, leak-free" if rule == "auto" else "own"
        return replace(official, source=source, test=("b",))

    monkeypatch.setattr(module, "choose_folds", chosen)
    monkeypatch.setattr(module, "official_folds", lambda *_: official)
    folds = {"folds": 5, "head_folds": 2, "organ_folds": 1}
    tasks = {"head": heads, "abdomen": trunks}
    found = split_patients(tasks, "auto", Path("released"), **folds, seed=0)
    assert asked == [("auto", "head"), ("own", "abdomen")]
    assert (found["head"].tested, found["head"].split.test) == (("a", "b"), ("b",))
    assert found["head"].leaks and not found["abdomen"].leaks
    assert [len(study.split.folds) for study in found.values()] == [2, 1]


def test_every_model_has_a_plan_a_task_and_the_image_alone_one_of_heads(plans, studies):
    tasks = [("phantomclip", "head"), ("phantomclip", "abdomen"), ("image only", "head")]
    assert list(plans) == tasks
    for (_, name), plan in plans.items():
        study = studies[name]
        assert (plan.splits, plan.tested) == ((study.split,), study.tested)
        assert plan.rows.tolist() == rows_by_hand(study.task.items.table, study.tested)
        assert [fold.train for fold in study.split.folds] == [
            tuple(sorted(set(study.task.items.table["patient"].iloc[job.train[:, 1]])))
            for job in plan.jobs
        ]
    # Whatever the features, decoders of a task begin alike.
    one, other = (plans[model, "head"] for model in ("phantomclip", "image only"))
    assert [job.seed for job in one.jobs] == [job.seed for job in other.jobs]
    assert np.any(one.material.preparations[0].blocks)
    assert not np.any(other.material.preparations[0].blocks)


def refused(studies, recipe, tmp_path):
    """Plan nothing: what cannot be trained is refused before a model is loaded."""

    def models():
        raise AssertionError("a model was loaded")
        yield

    place = {"cache_dir": tmp_path, "batch_size": 8, "seed": 0}
    plan_decoders(models(), studies, recipe, image_only=True, **place)


def test_sets_smaller_than_a_batch_are_refused_in_one_message(studies, tmp_path):
    with pytest.raises(ParameterError, match=r"decoder_batch.*set 0 of head.*, set 0 of abdomen"):
        refused(studies, replace(RECIPE, batch_size=99), tmp_path)


def test_sides_that_do_not_show_a_structure_are_refused(studies, tmp_path):
    study = studies["abdomen"]
    black = replace(study.task, areas=study.task.areas * [[1, 1, 0]])
    lacking = studies | {"abdomen": replace(study, task=black)}
    with pytest.raises(DataError, match=r"abdomen.*Found: no spine in test"):
        refused(lacking, replace(RECIPE, batch_size=2), tmp_path)
