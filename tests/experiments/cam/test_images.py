"""Which images are mapped, and for which class."""

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.cam import images

SETS = "planes", "brain"


def drawn(rows):
    table = pd.DataFrame(rows, columns=["label", "patient"])
    table = table.assign(id=[f"image {row}" for row in range(len(table))])
    return Dataset("manifest", None, table, True, "0" * 16)


def test_some_of_each_class_are_of_different_patients():
    rows = [("a", "p1")] * 5 + [("a", "p2"), ("a", "p3"), ("b", "p1"), ("b", "p1"), ("c", "p9")]
    for seed in range(5):
        picked = images.some_per_class(drawn(rows), ["a", "b"], 3, seed)
        counts = picked.table.groupby("label").agg(n=("id", "size"), p=("patient", "nunique"))
        assert counts.loc["a"].tolist() == [3, 3]
        assert counts.loc["b"].tolist() == [2, 1]
        assert picked.table["id"].is_monotonic_increasing
    many = drawn([("a", f"p{i}") for i in range(50)])
    picked = [
        images.some_per_class(many, ["a"], 5, seed).table["id"].tolist() for seed in (0, 0, 1)
    ]
    assert picked[0] == picked[1] != picked[2]


def test_the_first_of_each_class_are_in_table_order_whosever_they_are():
    rows = [("c", "p9"), ("a", "p1"), ("b", "p1"), ("a", "p1"), ("a", "p2"), ("b", "p3")]
    picked = images.some_per_class(drawn(rows), ["a", "b"], 2, None)
    assert picked.table["id"].tolist() == ["image 1", "image 2", "image 3", "image 5"]


@pytest.mark.parametrize(("labels", "count"), [(["a", "z"], 2), (["a"], 0)])
def test_nothing_to_draw(labels, count):
    with pytest.raises(ParameterError, match="No images to map"):
        images.some_per_class(drawn([("a", "p")]), labels, count, 0)


def test_another_class_is_the_most_probable_of_the_others():
    probabilities = np.array([[0.5, 0.2, 0.3], [0.1, 0.2, 0.7], [0.4, 0.6, 0.0]])
    assert images.other_targets(probabilities, [0, 0, 1]) == [2, 2, 0]


def test_some_images_of_each_class_are_chosen(planes, tmp_path):
    chosen = images.choose(planes, SETS, 2, seed=0, choice="ours")
    for task, count in (("five_planes", 5), ("brain_subplanes", 3)):
        labels = chosen.labels(task)
        classes, counts = np.unique(labels, return_counts=True)
        assert len(classes) == count and (counts == 2).all()
        assert set(chosen.classes(task)) == set(classes) <= set(chosen.prompts[task])
    assert (chosen.counts().loc["five_planes", "patients"] == 2).all()
    first = images.choose(planes, SETS, 2, seed=0)
    of_brain = planes.table.query("plane == 'brain'")["id"].tolist()
    named = first.images["five_planes"].table
    assert named.loc[named["label"] == "brain", "id"].tolist() == of_brain[:2]
    with pytest.raises(ParameterError, match="Unknown choice.*published or ours. Found: last"):
        images.choose(planes, SETS, 2, seed=0, choice="last")
    few = tmp_path / "few.json"
    few.write_text('{"brain": ["a brain"]}')
    with pytest.raises(ParameterError, match="without sentences.*abdomen, femur, heart, cervix"):
        images.choose(planes, (str(few), "brain"), 2, seed=0, choice="ours")
