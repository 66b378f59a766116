"""Tables of outlined structures and measured heads, from scores made by hand."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.experiments.segmentation import measurement, overlap, tables
from fetalclip_nb.experiments.segmentation.fit import Outcome
from fetalclip_nb.experiments.segmentation.recipe import DecoderRecipe
from fetalclip_nb.experiments.segmentation.scores import (
    save_scores,
    score_outcomes,
    without_leaks,
)
from fetalclip_nb.results import protocol, published
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.results.tables import comparison_table
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.splits import Fold, Split
from segments import RECIPE


def found(value, low, high, n=8, unit="%"):
    return RunScores(np.array([value]), Score(value, low, high, value, n, 4, unit))


FOLDS = (Fold((), ()),)
FOUND = pd.DataFrame(
    {"images": [12345, 3], "not found": [0.4, 3], "absent": [0, 9], "found where absent": [0, 2.5]},
    index=["heart", "IVS"],
)
SCORES = {
    "dsc": found(0.5, 0.25, 0.75),
    "image_dsc": found(0.375, 0.25, 0.5),
    "dsc/heart": found(0.91, 0.9, 0.925),
    "image_dsc/heart": found(0.9, 0.8, 0.95),
    "hd95/heart": found(1.5, 1.25, 2, unit="mm"),
}


def structures(monkeypatch, scores, missed):
    """The table of one task, whose outlines missed what is given."""
    monkeypatch.setattr(overlap, "found_table", lambda counts, names: missed)
    task = SimpleNamespace(task=SimpleNamespace(structures=tuple(missed.index)))
    outcomes = {("m", "organs"): SimpleNamespace(counts=None)}
    return tables.structure_tables({("m", "organs"): scores}, outcomes, {"organs": task}, "m")


def test_structure_table_puts_the_mean_first_and_dashes_where_nothing_is_known(monkeypatch):
    table = structures(monkeypatch, SCORES, FOUND)
    assert table.index.names == ["task", "structure"]
    assert table.to_dict("split") == {
        "index": [("organs", name) for name in ("mean over structures", "heart", "IVS")],
        "columns": [
            *("DSC, pooled (%)", "DSC per image (%)", "HD95 (mm)"),
            *("images", "not found", "absent", "found where absent"),
        ],
        "data": [
            ["50.0 (25.0–75.0)", "37.5 (25.0–50.0)", "–", "", "", "", ""],
            [
                *("91.0 (90.0–92.5)", "90.0 (80.0–95.0)", "1.50 (1.25 to 2.00)"),
                *("12,345", "0.4", "0", "0"),
            ],
            ["–", "–", "–", "3", "3", "9", "2.5"],
        ],
    }


def test_one_structure_has_no_mean(monkeypatch):
    scores = {**SCORES, "dsc": SCORES["dsc/heart"]}
    table = structures(monkeypatch, scores, FOUND[:1])
    assert table.index.tolist() == [("organs", "heart")]


def test_agreement_table_has_a_dash_where_nothing_was_measured(monkeypatch):
    annotation = {
        "hc_mae_mm": found(0.84, 0.79, 0.9, unit="mm"),
        "hc_bias_mm": found(-0.001, -0.5, 0.25, unit="mm"),
        "age_mae_days": found(1.25, 1, 2, unit="days"),
        "hc_missed": found(0, 0, 0, n=1961),
    }
    monkeypatch.setattr(tables, "annotated_circumferences", lambda outcome, task: None)
    monkeypatch.setattr(tables, "measured_scores", lambda measured, outcome, task: annotation)
    scores = {("untrained", "head"): {"hc_missed": found(1, 1, 1)}, ("m", "abdomen"): {}}
    table = tables.agreement_tables(scores, None, None)
    assert table.index.tolist() == ["annotation", "untrained"]
    row = table.loc["annotation"].to_dict()
    assert row["images"] == "1,961"
    assert row["mean absolute error (mm)"] == "0.84 (0.79 to 0.90)"
    assert row["bias (mm)"] == "0.00 (-0.50 to 0.25)"
    assert row["lower limit (mm)"] == row["age, bias (days)"] == "–"
    assert row["age, mean absolute error (days)"] == "1.2 (1.0 to 2.0)"
    assert table.loc["untrained", "not measured (%)"] == "100.0 (100.0–100.0)"
    assert table.loc["untrained", "bias (mm)"] == "–"


def test_image_table_is_the_mean_over_decoders_of_each_image_and_structure():
    table = pd.DataFrame({"id": list("xij"), "patient": list("opq"), "path": ""})
    task = SimpleNamespace(structures=("a", "b"), dataset=SimpleNamespace(table=table))
    one = [[[1, 1, 1], [0, 3, 0]], [[4, 0, 0], [0, 0, 2]]]
    other = [[[2, 0, 0], [0, 0, 0]], [[0, 0, 4], [2, 0, 0]]]
    distances = np.array([[[1, np.nan], [2, np.nan]], [[3, np.nan], [np.nan, 5]]])
    outcome = Outcome(np.array([1, 2]), np.array([one, other]), distances, None, None, None)
    rows = tables.image_table(outcome, task)
    assert rows.columns.tolist() == ["id", "patient", "structure", "true_pixels", "dsc", "hd95_mm"]
    assert rows.index.tolist() == [0, 1, 2, 3]
    assert rows.fillna(-1).to_numpy().tolist() == [
        ["i", "p", "a", 2, 0.75, 2],
        ["i", "p", "b", 0, -1, -1],
        ["j", "q", "a", 4, 0.5, 2],
        ["j", "q", "b", 2, 0.5, 5],
    ]


@pytest.mark.parametrize(
    ("recipe", "decoders", "text"),
    [
        (DecoderRecipe(learning_rate=0.01, epochs=8, batch_size=4, filters=16, decay=True,
                       side=128, copies=0), 1,
         "8 epochs at a rate of 0.01, which rises and falls, 4 images a step, images of 128 pixels "
         "a side, 16 filters, images as they are, 1 decoder a model on heads"),
        (DecoderRecipe(), 25,
         "100 epochs at a rate of 0.0003, 8 images a step, images of 224 pixels a side, "
         "32 filters, 5 augmented copies of each image, 25 decoders a model on heads"),
    ],
)  # fmt: skip
def test_schedule_in_words(recipe, decoders, text):
    assert tables.schedule_text(recipe, decoders) == text


@pytest.mark.parametrize(
    ("recipe", "splits", "text"),
    [
        (DecoderRecipe(), [Split("official", (), FOLDS * 5)], ""),
        (DecoderRecipe(decay=True, copies=0, epochs=1), [Split("own", (), FOLDS)],
         "own split, 0 copies, 1 fold used, 1 epoch, falling rate"),
        (DecoderRecipe(side=64, filters=8, batch_size=1, learning_rate=0.01, patience=2,
                       blocks="even"), [Split("official", (), FOLDS * 5)],
         "64 pixels a side, 8 filters, 1 image a step, 0.01 as learning rate, "
         "evenly spaced blocks, stop after 2 epochs without progress"),
    ],
)  # fmt: skip
def test_what_differs_from_the_paper(recipe, splits, text):
    assert tables.unlike_paper(recipe, splits) == text


def task_scores():
    """Every score of a task: two decoders, five patients, two structures."""
    rng = np.random.default_rng(0)
    counts, patients = np.repeat(rng.integers(1, 90, (1, 5, 2, 3)), 2, axis=0), np.arange(5)
    true = rng.uniform(110, 330, 5)
    measured, distances = true + rng.normal(size=(2, 5)), rng.random((2, 5, 2))
    return {
        **overlap.overlap_scores(counts, patients, ("x", "y"), resamples=9),
        **overlap.distance_scores(distances, patients, ("x", "y"), resamples=9),
        **measurement.agreement(measured, true, patients, resamples=9),
        **measurement.age_agreement(measured, true, patients, resamples=9),
    }


def test_every_score_knows_its_unit():
    scores = protocol.task_results(task_scores(), "head")
    units = {name: score["patient"].unit for name, score in scores.items()}
    assert {name for name, unit in units.items() if unit == "mm"} == {
        *("head/hd95/x", "head/hd95/y", "head/hc_mae_mm", "head/hc_bias_mm"),
        *("head/hc_low_mm", "head/hc_high_mm"),
    }
    assert {name for name, unit in units.items() if unit == "days"} == {
        *("head/age_mae_days", "head/age_bias_days", "head/age_low_days", "head/age_high_days"),
    }


KNOWN = {"model": {"published": "fetalclip"}}


@pytest.mark.parametrize("task", ["head", "abdomen", "four_chamber"])
def test_published_dice_coefficients_stand_beside_ours(task):
    scores = protocol.task_results({"dsc": found(0.9, 0.8, 0.95)}, task)
    name = f"segmentation/{task}/dsc"
    rows = {"fetalclip": Row("fetalclip", scores, provenance=KNOWN)}
    row = comparison_table(rows, f"{task}/dsc", name).loc["fetalclip"]
    known = published.published()[name]["fetalclip"].value
    assert (row["ours"], row["published"]) == ("90.00", f"{100 * known:.2f}")
    assert row["difference"] == f"{90 - 100 * known:+.2f}"
    assert published.published_facts("segmentation")[f"published_{task}"].endswith(" %")


# of a small chapter


@pytest.fixture(scope="module")
def scores(outcomes, studies):
    return score_outcomes(outcomes, studies)


def test_facts_of_a_chapter(studies, plans, scores):
    facts = tables.facts(studies, plans, scores, RECIPE, "phantomclip")
    mae = tables.score_text(scores["phantomclip", "head"], "hc_mae_mm")
    dsc = tables.score_text(scores["image only", "head"], "dsc")
    expected = {
        "measured_sentence": f"The head circumference of these outlines is off by {mae} mm "
        "on average.",
        "image_only_sentence": f"A decoder that was trained on the image alone reaches {dsc} %.",
        "organs_are": f"Of the others, the abdomen views are {facts['images_are']}.",
        "split": "own",
        "decoders": 1,
        "trained": 4,
        "test_patients": len(studies["head"].tested),
        "schedule": tables.schedule_text(RECIPE, 1),
        "unlike_paper": tables.unlike_paper(RECIPE, [studies["head"].split]),
    }
    assert {name: facts[name] for name in expected} == expected
    assert facts["images_are"].startswith("synthetic phantoms")


def test_tables_of_tasks_and_splits_have_a_row_a_structure_and_a_fold(studies):
    tasks = {name: study.task for name, study in studies.items()}
    shown = tables.task_table(tasks)
    assert shown.index.tolist() == ["head", *["abdomen"] * 3]
    assert shown["structure"].tolist() == ["head", *tasks["abdomen"].structures]
    split = tables.split_table(studies)
    assert split["split"].tolist() == ["head", "abdomen", "abdomen"]
    assert split["fold"].tolist() == [0, 0, 1]


def test_leak_table_has_all_tested_patients_beside_those_that_do_not_leak(
    studies, outcomes, scores
):
    study = studies["head"]
    fewer = replace(study.split, test=study.tested[:1])
    left = without_leaks(outcomes, studies | {"head": replace(study, splits={"head": fewer})})
    alone = score_outcomes(left, studies)
    table = tables.leak_table(outcomes, alone, study.task, ["phantomclip", "image only"])
    assert table.index.tolist() == ["phantomclip", "image only"]
    for model, row in table.iterrows():
        assert row.tolist() == [
            tables.score_text(group[model, "head"], "dsc") for group in (scores, alone)
        ]


def test_files_hold_every_decoder_and_the_headlines_images(studies, outcomes, scores):
    kept = tables.files(scores, outcomes, studies, "phantomclip")
    assert list(kept) == ["runs", "images-head", "images-abdomen"]
    assert set(kept["runs"]["model"]) == {"phantomclip", "image only", "mean mask"}
    rows = {name: len(outcomes["phantomclip", name].rows) for name in studies}
    assert len(kept["images-head"]) == rows["head"]
    assert len(kept["images-abdomen"]) == 3 * rows["abdomen"]


def test_other_masks_than_the_papers_give_no_difference(studies):
    abdomen = protocol.task_results({"dsc": found(0.9, 0.8, 0.95)}, "abdomen")
    ((name, table),) = tables.organ_tables(
        {"fetalclip": Row("fetalclip", abdomen, provenance=KNOWN)}, studies
    ).items()
    assert name == "abdomen" and table.loc["fetalclip", "ours"] == "90.00"
    assert table.loc["fetalclip", "difference"] == "other images"


def test_scores_are_saved_by_model_and_subject(studies, outcomes, scores):
    saved = []

    def save(model, results, **rest):
        assert all(name.startswith(f"{rest['subject'] or 'head'}/") for name in results)
        assert rest["dataset"] is studies[rest["subject"] or "head"].task.dataset
        saved.append((model, rest["subject"], rest["kind"]))
        ((metric, said),) = rest["answers"].items()
        pooled = said.groupby(["run", "structure"])[["part", "whole"]].sum()
        dice = (pooled["part"] / pooled["whole"]).groupby("run").mean()
        assert dice.mean() == pytest.approx(results[metric]["patient"].value)

    save_scores(save, scores, outcomes, studies, ["phantomclip"])
    assert saved == [
        ("phantomclip", "", "model"),
        ("phantomclip", "abdomen", "model"),
        ("image only", "", "baseline"),
        ("mean mask", "", "baseline"),
        ("mean mask", "abdomen", "baseline"),
    ]
