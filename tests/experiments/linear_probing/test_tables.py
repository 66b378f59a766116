"""Tables of probes by hand, and what prose and result files take from them."""

import numpy as np
import pandas as pd
import pytest
import yaml

from fetalclip_nb.experiments.linear_probing import tables
from fetalclip_nb.results import protocol, published
from fetalclip_nb.stats.runs import run_scores
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.splits import Fold, Split

SCORE = Score(0.5, 0.25, 0.75, 0.5, 8, 4)
SPLIT = Split("own", ("s", "t"), (Fold(("p", "q"), ("r",)), Fold(("r",), ("p", "q"))))


def found(*values):
    return RunScores(np.array(values), SCORE)


def test_task_results_are_named_by_task_and_resampled_by_patient():
    names = protocol.task_results({"f1_macro": found(0.5), "f1/CHD": found(0.25)}, "chd")
    assert names == {"chd/f1_macro": {"patient": SCORE}, "chd/f1/CHD": {"patient": SCORE}}


def test_runs_are_numbered_by_fold_and_run_of_their_own_model():
    scores = {
        ("clip", "planes"): {"f1": found(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)},
        ("clip, neighbours", "planes"): {"f1": found(0.7, 0.8)},
        ("clip", "hearts"): {"auroc": found(0.9, 1.0), "ece": found(0.0, 0.1)},
    }
    alone = Split("own", SPLIT.test, SPLIT.folds[:1])
    table = protocol.runs_table(scores, {"planes": SPLIT, "hearts": alone})
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
    assert protocol.split_table({"planes": SPLIT}, table).to_dict("records") == [
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
    table = tables.score_table(scores, ["top2_macro", "f1_macro"])
    assert table.columns.tolist() == ["top-2", "macro F1"]
    assert table.loc["planes"].tolist() == ["50.0 (25.0–75.0)"] * 2
    assert table.loc["hearts"].tolist() == ["", ""]


def test_published_facts_are_those_of_the_file(repository):
    content = yaml.safe_load(
        (repository / "fetalclip_nb" / "results" / "published.yaml").read_text("utf-8")
    )
    facts = published.published_facts("linear_probe")
    assert set(facts) == {"published_six_planes", "published_brain_subplanes", "published_chd"}
    for name, metric in [("six_planes", "f1_macro"), ("chd", "auroc")]:
        value = content[f"linear_probe/{name}/{metric}"]["values"]["fetalclip"]
        assert facts[f"published_{name}"] == f"{100 * value:.2f} %"
    assert float(facts["published_six_planes"].rstrip(" %")) > 50  # in percent
    other = published.published_facts("linear_probe", "clip")
    assert other.keys() == facts.keys() and other != facts
    assert published.published_facts("segmentation", "mobilefetalclip") == {}


def test_the_sentence_on_heart_disease_names_score_clips_or_their_absence():
    assert tables.chd_sentence(SCORE, "phantoms") == (
        "The AUROC for heart disease is 50.0 % (25.0 to 75.0 %), on 8 clips that are phantoms."
    )
    assert "not measured" in tables.chd_sentence(None, "")


def test_split_facts_are_of_the_first_fold():
    assert protocol.split_facts(SPLIT) == {
        "split": "own",
        "test_patients": 2,
        "train_patients": 2,
        "validation_patients": 1,
    }


def test_subgroups_are_scored_alone_and_left_out_where_a_class_is_rare():
    # Machine m1: six patients of class a and six of b; m2: one patient of c; m0: a alone.
    labels = np.array([0, 1] * 6 + [2, 0] + [0] * 6)
    groups = np.array(["m1"] * 12 + ["m2"] * 2 + ["m0"] * 6, dtype=object)
    patients = np.array([f"p{i}" for i in range(20)])
    chosen = np.stack([labels, labels])
    chosen[1, :12] = 0
    truth = (labels, patients, ("a", "b", "c"))
    masks = tables.groups_by(pd.DataFrame({"machine": groups}), machine="", operator="operator ")
    assert list(masks) == ["m0", "m1", "m2"]
    logits = np.eye(3)[chosen]
    scores = tables.subgroup_scores(logits, truth, masks, "f1_macro")
    assert list(scores) == ["m1"]
    # All right for the first probe; always a for the second: F1 2/3 and 0.
    assert scores["m1"].value == pytest.approx((1 + (2 / 3 + 0) / 2) / 2)
    assert (scores["m1"].n, scores["m1"].groups) == (12, 12)
    alone = run_scores(logits[:, :12], labels[:12], patients[:12], ("a", "b", "c"))
    assert scores["m1"] == alone["f1_macro"].score
    table = tables.group_table(truth, masks)
    assert table.loc["m1"].tolist() == [6, 6, 0, "yes"]
    assert table.loc["m2"].tolist() == [1, 0, 1, "no"]
    assert table.loc["m0"].tolist() == [6, 0, 0, "no"]


def test_a_patient_counts_once_in_a_subgroup():
    labels, patients = np.array([0, 1] * 6), np.array(["p", "q"] * 6)
    everything = {"all": np.ones(12, bool)}
    truth = (labels, patients, ("a", "b"))
    assert tables.group_table(truth, everything).loc["all"].tolist() == [1, 1, "no"]
    assert tables.subgroup_scores(np.eye(2)[labels][None], truth, everything, "auroc") == {}


def test_each_defect_is_ranked_against_all_normal_hearts():
    table = pd.DataFrame({"label": ["n", "d", "n", "d"], "defect": ["", "hole", "", ""]})
    groups = tables.groups_against(table, "defect", ("n", "d"))
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "defect: not named": [True, False, True, True],
        "defect: hole": [True, True, True, False],
    }
    assert tables.groups_against(table, "cause", ("n", "d")) == {}


def test_whatever_differs_from_the_paper_is_named():
    official, own = Split("official", (), ()), Split("own", (), ())
    paper = dict(protocol.PROBING)
    assert protocol.deviation([official], paper) == ""
    assert protocol.deviation([own, own], paper | {"runs": 1}) == "own split, 1 run"
    assert protocol.deviation([official], paper, protocol.FEW_DATA) == (
        "5 copies, 50 epochs, 64 probe_batch"
    )
