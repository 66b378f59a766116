"""Tables of probes by hand, and what prose and result files take from them."""

import numpy as np
import pandas as pd
import pytest
import yaml

from fetalclip_nb import probe_tables as shown
from fetalclip_nb.metrics import Score
from fetalclip_nb.results import render_folder, save_facts, save_result
from fetalclip_nb.run_scores import RunScores, run_scores
from fetalclip_nb.splits import Fold, Split

SCORE = Score(0.5, 0.25, 0.75, 0.5, 8, 4)
SPLIT = Split("own", ("s", "t"), (Fold(("p", "q"), ("r",)), Fold(("r",), ("p", "q"))))


def found(*values):
    return RunScores(np.array(values), SCORE)


def test_task_results_are_named_by_task_and_resampled_by_patient():
    names = shown.task_results({"f1_macro": found(0.5), "f1/CHD": found(0.25)}, "chd")
    assert names == {"chd/f1_macro": {"patient": SCORE}, "chd/f1/CHD": {"patient": SCORE}}


def test_runs_are_numbered_by_fold_and_run_of_their_own_model():
    scores = {
        ("clip", "planes"): {"f1": found(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)},
        ("clip, neighbours", "planes"): {"f1": found(0.7, 0.8)},
        ("clip", "hearts"): {"auroc": found(0.9, 1.0), "ece": found(0.0, 0.1)},
    }
    alone = Split("own", SPLIT.test, SPLIT.folds[:1])
    table = shown.runs_table(scores, {"planes": SPLIT, "hearts": alone})
    assert table.columns.tolist() == ["model", "task", "fold", "run", "score", "value"]
    assert table.to_numpy().tolist() == [
        ["clip", "planes", 0, 0, "f1", 0.1],
        ["clip", "planes", 0, 1, "f1", 0.2],
        ["clip", "planes", 0, 2, "f1", 0.3],
        ["clip", "planes", 1, 0, "f1", 0.4],
        ["clip", "planes", 1, 1, "f1", 0.5],
        ["clip", "planes", 1, 2, "f1", 0.6],
        ["clip, neighbours", "planes", 0, 0, "f1", 0.7],
        ["clip, neighbours", "planes", 1, 0, "f1", 0.8],
        ["clip", "hearts", 0, 0, "auroc", 0.9],
        ["clip", "hearts", 0, 1, "auroc", 1.0],
        ["clip", "hearts", 0, 0, "ece", 0.0],
        ["clip", "hearts", 0, 1, "ece", 0.1],
    ]


def test_split_table_counts_patients_and_items_of_each_fold():
    table = pd.DataFrame({"patient": list("ppqrrrts"), "label": "a"})
    assert shown.split_table({"planes": SPLIT}, table).to_dict("records") == [
        {
            **{"split": "planes", "source": "own", "fold": 0},
            **{"train": 2, "validation": 1, "test": 2},
            **{"train items": 3, "validation items": 3, "test items": 2},
        },
        {
            **{"split": "planes", "source": "own", "fold": 1},
            **{"train": 1, "validation": 2, "test": 2},
            **{"train items": 3, "validation items": 3, "test items": 2},
        },
    ]


def test_score_table_leaves_missing_scores_empty():
    scores = {"planes": {"f1_macro": found(0.5), "top2_macro": found(1.0)}, "hearts": {}}
    table = shown.score_table(scores, ["top2_macro", "f1_macro"])
    assert table.columns.tolist() == ["top-2", "macro F1"]
    assert table.loc["planes"].tolist() == ["50.0 (25.0–75.0)"] * 2
    assert table.loc["hearts"].tolist() == ["", ""]


def test_published_facts_are_those_of_the_file(repository):
    content = yaml.safe_load((repository / "fetalclip_nb" / "published.yaml").read_text("utf-8"))
    facts = shown.published_facts("linear_probe")
    assert set(facts) == {"published_six_planes", "published_brain_subplanes", "published_chd"}
    for name, metric in [("six_planes", "f1_macro"), ("chd", "auroc")]:
        value = content[f"linear_probe/{name}/{metric}"]["values"]["fetalclip"]
        assert facts[f"published_{name}"] == f"{100 * value:.2f} %"
    assert float(facts["published_six_planes"].rstrip(" %")) > 50  # in percent
    other = shown.published_facts("linear_probe", "clip")
    assert other.keys() == facts.keys() and other != facts
    assert shown.published_facts("segmentation", "mobilefetalclip") == {}


def test_facts_on_heart_disease_can_be_shown_with_and_without_clips(tmp_path):
    assert shown.chd_facts(SCORE) == {
        "chd_auroc": 0.5,
        "chd_interval": "25.0 to 75.0 %",
        "chd_clips": 8,
    }
    missing = shown.chd_facts(None)
    assert missing.keys() == shown.chd_facts(SCORE).keys()
    assert missing["chd_auroc"] == "not measured"
    for number, facts in enumerate([shown.chd_facts(SCORE), missing, shown.split_facts(SPLIT)]):
        folder = tmp_path / str(number)
        origin = {"order": 0, "synthetic": True, "parameters": {}, "provenance": {}}
        save_result(folder, "clip", {"chd/auroc": {"patient": SCORE}}, **origin)
        save_facts(folder, facts)
        texts = render_folder(folder)
        assert all(texts[f"facts/{name}"] for name in facts)
        if number == 0:
            assert texts["facts/chd_auroc"] == texts["headline/chd/auroc"] == "50.0 %"


def test_split_facts_are_of_the_first_fold():
    assert shown.split_facts(SPLIT) == {
        "split": "own",
        "test_patients": 2,
        "train_patients": 2,
        "validation_patients": 1,
    }


def test_subgroups_are_scored_alone_and_left_out_with_one_class():
    labels = np.array([0, 1, 0, 1, 0, 0, 2, 2])
    groups = np.array(["m1", "m1", "m1", "m1", "m2", "m2", "m0", "m0"], dtype=object)
    patients = np.array(list("pqrsptuu"))
    chosen = np.array([[0, 1, 0, 1, 1, 1, 2, 2], [0, 1, 2, 2, 0, 0, 0, 0]])
    logits = np.eye(3)[chosen]
    masks = shown.groups_by(pd.DataFrame({"machine": groups}), machine="", operator="operator ")
    truth = (labels, patients, ("a", "b", "c"))
    scores = shown.subgroup_scores(logits, truth, masks, "f1_macro")
    # m1: all right for the first head; F1 of a = 2/3 and of b = 2/3 for the second.
    assert list(scores) == ["m1"]
    assert scores["m1"].value == pytest.approx((1 + 2 / 3) / 2)
    assert (scores["m1"].n, scores["m1"].groups) == (4, 4)
    labels[-1] = 0
    both = shown.subgroup_scores(logits, truth, masks, "f1_macro")
    assert list(both) == ["m0", "m1"]
    alone = run_scores(logits[:, 6:], labels[6:], patients[6:], ("a", "b", "c"))
    assert both["m0"] == alone["f1_macro"].score
    # Head 1: c with F1 2/3 and a with 0; head 2 says a twice: 2/3 and 0.
    assert both["m0"].value == pytest.approx((2 / 3 + 0) / 2)


def test_each_defect_is_ranked_against_all_normal_hearts():
    table = pd.DataFrame({"label": ["n", "d", "n", "d"], "defect": ["", "hole", "", "small"]})
    groups = shown.groups_against(table, "defect", ("n", "d"))
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "hole": [True, True, True, False],
        "small": [True, False, True, True],
    }
    assert shown.groups_against(table, "cause", ("n", "d")) == {}
    logits = np.array([[[0, 1.0], [0, 2.0], [0, 3.0], [0, 4.0]]])
    truth = (np.array([0, 1, 0, 1]), np.array(list("pqrs")), ("n", "d"))
    scores = shown.subgroup_scores(logits, truth, groups, "auroc")
    assert {name: score.value for name, score in scores.items()} == {"hole": 0.5, "small": 1.0}
