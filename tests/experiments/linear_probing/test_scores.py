"""Scores of readers: who is saved as what, and subgroups by hand."""

import numpy as np
import pytest

from fetalclip_nb.experiments.linear_probing import scores, tables
from fetalclip_nb.stats.runs import run_scores
from fetalclip_nb.tasks.items import Task, image_items
from fetalclip_nb.tasks.splits import Split
from helpers import images_of

READERS = [
    ("m", "linear probe"),
    ("n", "linear probe"),
    ("m", "nearest neighbours"),
    ("majority class", ""),
]


def task(name, labels, patients, classes, **columns):
    data = images_of(patients, labels, split="test", **columns)
    split = Split("own", tuple(sorted(set(patients))), ())
    return Task(data, image_items(name, data, classes), {name: split})


def test_each_reader_is_saved_once_for_planes_and_once_for_clips():
    tasks = {name: task(name, list("abab"), list("pqrs"), ("a", "b")) for name in ("x", "y", "chd")}
    logits = {(*r, name): np.eye(2)[[[0, 1, 0, 0]] * 2] for r in READERS for name in tasks}
    del logits["n", "linear probe", "chd"]
    scored = scores.score(logits, tasks)
    rows = []
    scores.save_scores(lambda *given, **named: rows.append((*given, named)), scored, logits, tasks)
    probe = {"reader": "", "kind": "model"}
    named = [(model, row["subject"], row["reader"], row["kind"]) for model, _, row in rows]
    assert named == [
        ("m", "", *probe.values()),
        ("n", "", *probe.values()),
        ("m", "", "nearest neighbours", "baseline"),
        ("majority class", "", "", "baseline"),
        ("m", "b", *probe.values()),
        ("m", "b", "nearest neighbours", "baseline"),
        ("majority class", "b", "", "baseline"),
    ]
    planes, hearts = rows[0], rows[4]
    assert {metric.split("/")[0] for metric in planes[1]} == {"x", "y"}
    expected = run_scores(logits["m", "linear probe", "chd"], *tasks["chd"].truth)
    assert hearts[1]["chd/auroc"]["patient"] == expected["auroc"].score
    said = hearts[2]["answers"]["chd/f1_macro"]
    assert (
        said["predicted"].tolist() == list("abaa" * 2) and said["run"].tolist() == [0] * 4 + [1] * 4
    )
    odds = hearts[2]["answers"]["chd/auroc"]
    assert odds["target"].tolist() == [0, 1, 0, 1] * 2 and odds["score"][1] == pytest.approx(1)
    assert hearts[2]["dataset"] is tasks["chd"].dataset
    assert list(scores.probes_of(scored, "chd")) == ["m"]


def test_subgroups_are_scored_alone_and_left_out_where_a_class_is_rare():
    # Machine m1: six patients of class a and six of b; m2: one patient of c; m0: a alone.
    labels = np.array([0, 1] * 6 + [2, 0] + [0] * 6)
    machines = ["m1"] * 12 + ["m2"] * 2 + ["m0"] * 6
    patients = np.array([f"p{i:02d}" for i in range(20)])
    planes = task("x", np.array(list("abc"))[labels], patients, ("a", "b", "c"), machine=machines)
    assert list(scores.subgroups(planes)) == ["machine m0", "machine m1", "machine m2"]
    chosen = np.stack([labels, labels])
    chosen[1, :12] = 0
    logits = {("m", "linear probe", "x"): np.eye(3)[chosen]}
    found = scores.subgroup_scores(logits, planes, "m", "f1_macro")
    assert list(found) == ["machine m1"]
    # All right for the first probe; always a for the second: F1 2/3 and 0.
    assert found["machine m1"].value == pytest.approx((1 + (2 / 3 + 0) / 2) / 2)
    assert (found["machine m1"].n, found["machine m1"].groups) == (12, 12)
    rows = slice(12)
    alone = run_scores(np.eye(3)[chosen][:, rows], labels[rows], patients[rows], ("a", "b", "c"))
    assert found["machine m1"] == alone["f1_macro"].score
    table = tables.subgroup_table(planes)
    assert table.loc["machine m1"].tolist() == [6, 6, 0, "yes"]
    assert table.loc["machine m2"].tolist() == [1, 0, 1, "no"]
    assert table.loc["machine m0"].tolist() == [6, 0, 0, "no"]


def test_a_patient_counts_once_in_a_subgroup():
    planes = task("x", list("ab") * 6, list("pq") * 6, ("a", "b"), operator="")
    assert tables.subgroup_table(planes).loc["operator not named"].tolist() == [1, 1, "no"]
    logits = {("m", "linear probe", "x"): np.eye(2)[planes.items.targets][None]}
    assert scores.subgroup_scores(logits, planes, "m", "auroc") == {}


def test_each_defect_is_ranked_against_all_normal_hearts():
    hearts = task("x", list("ndnd"), list("pqrs"), ("n", "d"), defect=["", "hole", "", ""])
    groups = scores.subgroups(hearts)
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "defect: not named": [True, False, True, True],
        "defect: hole": [True, True, True, False],
    }
    assert scores.subgroups(task("x", list("nd"), list("pq"), ("n", "d"))) == {}
