"""Splits, runs and settings by hand."""

import numpy as np
import pandas as pd

from fetalclip_nb.results import protocol
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
    shown = protocol.split_table({"planes": SPLIT}, table)
    patients = ["train", "validation", "test"]
    items = [f"{part} items" for part in patients]
    assert shown.columns.tolist() == ["split", "source", "fold", *patients, *items]
    assert shown.to_numpy().tolist() == [
        ["planes", "own", 0, 2, 1, 2, 3, 3, 2],
        ["planes", "own", 1, 1, 2, 2, 3, 3, 2],
    ]


def test_split_facts_are_of_the_first_fold():
    assert protocol.split_facts(SPLIT) == {
        "split": "own",
        "test_patients": 2,
        "train_patients": 2,
        "validation_patients": 1,
    }


def test_whatever_differs_from_the_paper_is_named():
    official, own = Split("official", (), ()), Split("own", (), ())
    paper = dict(protocol.PROBING)
    assert protocol.deviation([official], paper) == ""
    assert protocol.deviation([own, own], paper | {"runs": 1}) == "own split, 1 run"
    assert protocol.deviation([official], paper, protocol.FEW_DATA) == (
        "5 copies, 50 epochs, 64 probe_batch"
    )
