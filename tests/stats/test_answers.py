import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from fetalclip_nb.stats.answers import answer_table, between

IMAGES = np.array([f"i{n}" for n in range(24)])
PATIENTS = np.repeat([f"p{n}" for n in range(8)], 3)


def kept(table, folder):
    """As it comes back from the file that it is saved in."""
    path = folder / "a.parquet"
    table.astype(dict.fromkeys(table.select_dtypes(object), "category")).to_parquet(path)
    return pd.read_parquet(path)


def test_macro_f1_of_runs_is_compared_from_saved_choices_alone(tmp_path):
    rng = np.random.default_rng(0)
    true = rng.choice(["b", "a", "c"], 24)
    ours, others = rng.choice(["a", "b", "c", "d"], (4, 24)), rng.choice(["a", "b"], (2, 24))
    tables = [answer_table(IMAGES, PATIENTS, true=true, predicted=p) for p in (ours, others)]
    found = between(*({"x": kept(table, tmp_path)} for table in tables))["x"]
    score = {"labels": ["a", "b", "c"], "average": "macro", "zero_division": 0}
    means = [np.mean([f1_score(true, run, **score) for run in runs]) for runs in (ours, others)]
    assert found.value == pytest.approx(means[0] - means[1])
    assert (found.groups, found.differing) == (8, 8)


def test_pooled_ratios_are_means_over_structures():
    # Two structures; the second is in no image of the last four patients.
    part = np.stack([np.arange(24.0), np.where(np.arange(24) < 12, 3.0, 0)], axis=-1)
    whole = np.stack([np.full(24, 30.0), np.where(np.arange(24) < 12, 4.0, 0)], axis=-1)
    items = {"structure": np.tile(["big", "small"], 24), "whole": whole.ravel()}
    names = IMAGES.repeat(2), PATIENTS.repeat(2)
    ours = answer_table(*names, part=part.ravel()[None], **items)
    others = answer_table(*names, part=np.zeros(48), **items)
    found = between({"x": ours}, {"x": others})["x"]
    assert found.value == pytest.approx((part[:, 0].sum() / 720 + 3 / 4) / 2)
    assert found.p == 2 / 2**8


def test_auroc_is_compared_by_what_ranks_the_items():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 2, 24)
    ours, others = rng.normal(size=(2, 24)) + 4 * true, rng.normal(size=24)
    tables = [answer_table(IMAGES, PATIENTS, target=true, score=s) for s in (ours, others)]
    found = between(*({"x": table} for table in tables))["x"]
    area = np.mean([roc_auc_score(true, run) for run in ours]) - roc_auc_score(true, others)
    assert found.value == pytest.approx(area)
    assert found.low < area < found.high and 0 < found.p < 0.05
    same = between({"x": tables[0]}, {"x": tables[0]})["x"]
    assert (same.value, same.p, same.differing) == (0, 1, 0)


def test_only_answers_for_the_same_items_are_compared():
    table = answer_table(IMAGES, PATIENTS, part=np.ones(24), whole=1)
    fewer = answer_table(IMAGES[:9], PATIENTS[:9], part=np.ones(9), whole=1)
    renamed = table.assign(patient="p0")
    assert between({"x": table, "y": table}, {"x": fewer}) == {}
    assert between({"x": table}, {"x": renamed}) == between({"x": table}, {}) == {}
    assert list(between({"x": table, "y": table}, {"x": fewer, "y": table})) == ["y"]
