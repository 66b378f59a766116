"""Tables of probes by hand, and what the prose takes from them."""

import numpy as np

from fetalclip_nb.experiments.linear_probing import tables
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe
from fetalclip_nb.experiments.linear_probing.scores import predictions
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.stats.differences import Difference
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.items import CHD_CLASSES, Task, image_items
from fetalclip_nb.tasks.splits import Fold, Split
from helpers import images_of

SCORE = Score(0.5, 0.25, 0.75, 0.5, 8, 4)
SPLIT = Split("own", ("s", "t"), (Fold(("p", "q"), ("r",)), Fold(("r",), ("p", "q"))))


def found(*values):
    return RunScores(np.array(values), SCORE)


def task(name, labels=("a", "b")):
    data = images_of("ppqrrrts", labels * 4, "fetal_planes")
    return Task(data, image_items(name, data, labels), {name: SPLIT})


def test_splits_and_classes_are_counted_task_by_task():
    tasks = {name: task(name) for name in ("planes", "hearts")}
    splits = tables.split_table(tasks)
    assert splits["split"].tolist() == ["planes"] * 2 + ["hearts"] * 2
    assert splits["train items"].tolist() == [3, 3] * 2
    counts = tables.class_counts(tasks)
    assert counts.loc["planes"].to_dict() == {
        "test": {"a": 1, "b": 1},
        "train or validation": {"a": 3, "b": 3},
    }


def test_scores_of_a_models_probe_on_planes_are_one_row_a_task():
    kinds = ("f1_macro", "accuracy_macro", "top2_macro", "auroc", "ece", "f1/a")
    scores = {
        (model, reader, name): dict.fromkeys(kinds, found(0.5))
        for model in ("m", "n")
        for reader in ("linear probe", "nearest neighbours")
        for name in ("planes", "chd")
    }
    table = tables.score_table(scores, "m")
    assert table.index.tolist() == ["planes"]
    columns = ["macro F1", "mean recall", "top-2", "AUROC", "calibration error"]
    assert table.loc["planes"].to_dict() == dict.fromkeys(columns, "50.0 (25.0–75.0)")


def test_the_other_preparations_effect_is_told_for_each_task():
    differences = {
        f"{task}/f1_macro": Difference(value, -0.02, 0.03, 0.5, 0.01, 4, 3)
        for task, value in {"six_planes": 0.01, "brain_subplanes": -0.01}.items()
    }
    scores = {metric: {"patient": SCORE} for metric in differences}
    row = Row("m", scores, differences, reader="smoothed images", kind="baseline")
    assert tables.preparation_facts({row.title: row}, "m", ProbeRecipe()) == {
        "preparation_sentence": "Smoothed images change the probes' macro F1 of m by +1.0 "
        "(-2.0 to +3.0) points on six planes, to 50.0 %, and by -1.0 (-2.0 to +3.0) points on "
        "brain subplanes, to 50.0 %."
    }


def test_files_hold_every_run_and_every_tested_item():
    planes = task("planes")
    scores = {
        ("m", "linear probe", "planes"): {"f1": found(0.1, 0.2, 0.3, 0.4)},
        ("m", "nearest neighbours", "planes"): {"f1": found(0.5, 0.6)},
    }
    logits = {("m", "linear probe", "planes"): np.log([[[0.9, 0.1], [0.8, 0.2]]])}
    answers = predictions(logits, {"planes": planes}, "m")
    written = tables.files(scores, answers, {"planes": planes})
    assert list(written) == ["runs", "predictions-planes"]
    assert written["runs"]["model"].unique().tolist() == ["m", "m, nearest neighbours"]
    assert written["runs"]["fold"].tolist() == [0, 0, 1, 1, 0, 1]
    table = written["predictions-planes"]
    assert table["image"].tolist() == ["i6", "i7"] and table["patient"].tolist() == ["t", "s"]
    assert table[["true", "predicted"]].to_numpy().tolist() == [["a", "a"], ["b", "a"]]


def test_facts_are_of_the_headline_model():
    planes, recipe = task("six_planes"), ProbeRecipe(runs=1)
    scores = {
        ("m", "linear probe", "six_planes"): {"f1_macro": found(0.1, 0.2)},
        ("m", "linear probe", "chd"): {"auroc": found(0.5)},
    }
    facts = tables.facts(scores, {"six_planes": planes}, recipe, "m")
    assert facts["probes"] == 2 and facts["unlike_paper"] == "own split, 1 run"
    assert facts["test_patients"] == 2 and "not measured" in facts["chd_sentence"]
    assert "phantoms" in facts["images_are"] and facts["thumbnail"] == 32
    hearts, others = task("chd", CHD_CLASSES), task("chd", ("benign", "CHD"))
    both = tables.facts(scores, {"six_planes": planes, "chd": hearts}, recipe, "m")
    assert both["chd_sentence"] == (
        f"The AUROC for heart disease is 50.0 % (25.0 to 75.0 %), on 8 clips that are "
        f"{facts['images_are']}."
    )
    own = tables.facts(scores, {"six_planes": planes, "chd": others}, recipe, "m")["chd_sentence"]
    assert own.startswith("The AUROC for 'CHD' against 'benign' is 50.0 %") and "not concern" in own
    names = [tables.published_clips(each) for each in (hearts, others)]
    assert names == ["linear_probe/chd/auroc", None]
