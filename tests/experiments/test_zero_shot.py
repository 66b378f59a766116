"""Chapter 1 on phantoms and on the authors' answers; labels without a class of their name."""

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import unprompted_sentence
from fetalclip_nb.data.images import read_square
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.data.released import released_available
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments import zero_shot
from fetalclip_nb.experiments.gestational_age import controls
from fetalclip_nb.experiments.gestational_age.ages import (
    age_scores,
    is_valid,
    released_ages,
)
from fetalclip_nb.experiments.zero_shot import released_planes
from fetalclip_nb.models.embed import prepared_embedding
from fetalclip_nb.models.similarity import class_embeddings, normalise
from fetalclip_nb.stats import classification
from fetalclip_nb.tasks.classes import asked_tasks, class_names, own_facts, taught_tasks

REST = (
    ": unless a class of another name means the same, every answer for such an image is wrong, "
    "however high its probability."
)


def test_labels_without_a_class_are_named_and_counted():
    table = pd.DataFrame({"label": ["other", "brain", "femur", "other", ""]})
    assert unprompted_sentence(table, ["brain"]) == (
        f'No class has the name "femur" or "other", the label of 3 of 5 images{REST}'
    )
    assert unprompted_sentence(table, ["heart", "femur", "brain", "other"]) == (
        "Every known label has a class of its name, so any answer may be right."
    )


def test_a_class_for_plane_or_sub_plane_is_enough():
    brains = ["trans-thalamic", "other", ""]
    table = pd.DataFrame({"plane": ["brain", "brain", "femur"], "brain_plane": brains})
    found = unprompted_sentence(table, ["brain"])
    assert found == f'No class has the name "femur", the label of 1 of 3 images{REST}'
    found = unprompted_sentence(table, ["trans-thalamic"])
    assert found.startswith('No class has the name "brain" or "femur", the label of 2 of 3 images')


@pytest.mark.parametrize("table", [{"id": ["a", "b"]}, {"id": ["a", "b"], "label": ["", ""]}])
def test_nothing_is_said_of_images_without_labels(table):
    found = unprompted_sentence(pd.DataFrame(table), ["brain"])
    assert found == "What these images show is not known here, so no answer can be checked."


@pytest.fixture(scope="module")
def planes(shared_data):
    return released_planes(shared_data / "fetalclip")


@pytest.fixture(scope="module")
def ages(shared_data):
    return released_ages(shared_data / "fetalclip")


def percent(value: float) -> float:
    return round(100 * value, 2)


def test_five_planes(planes):
    found = classification.scores(planes["five_planes"], by_patient=False)
    assert percent(found["f1_macro"].value) == 97.27
    names = ("abdomen", "brain", "femur", "heart", "cervix")
    per_class = [percent(found[f"f1/{name}"].value) for name in names]
    assert per_class == [93.52, 98.10, 99.37, 96.67, 98.71]
    assert found["f1_macro"].n == 8187


def test_brain_subplanes_give_69_29_and_not_the_published_70_15(planes):
    found = classification.scores(planes["brain_subplanes"], by_patient=False)
    assert percent(found["f1_macro"].value) == 69.29
    names = ("trans-cerebellum", "trans-thalamic", "trans-ventricular")
    assert [percent(found[f"f1/{name}"].value) for name in names] == [84.45, 65.92, 57.51]


def test_eight_class_bootstrap(planes):
    both = classification.joined(planes["five_planes"], planes["brain_subplanes"])
    found = classification.scores(both, by_patient=False)["f1_macro"]
    assert (percent(found.mean), percent(found.low), percent(found.high)) == (86.78, 86.13, 87.42)


def test_valid_prediction_rate(ages):
    found = age_scores(*ages)
    assert found["vpr"].n == 814
    assert is_valid(*ages).sum() == 679
    vpr = found["vpr"]
    assert [percent(v) for v in (vpr.value, vpr.low, vpr.high)] == [83.42, 80.96, 85.87]


def test_the_best_constant_age_ties_on_two_thirds_of_the_heads(ages):
    days, hc_mm = ages
    constant = controls.best_constant_age(hc_mm)
    assert divmod(constant, 7) == (20, 1)
    assert is_valid(constant, hc_mm).mean() == pytest.approx(0.591, abs=5e-4)
    found = [age_scores(given, hc_mm) for given in (days, np.full(814, constant))]
    sizes = [name for name in found[0] if name.startswith("vpr/")]
    assert [found[0][size].n for size in sizes] == [61, 538, 67, 148]
    rates = [[round(scores[size].value, 3) for size in sizes] for scores in found]
    assert rates == [[0.656, 0.892, 0.567, 0.818], [0.0, 0.894, 0.0, 0.0]]


def test_scoring_follows_the_files(shared_data, tmp_path, planes):
    assert released_available(shared_data / "fetalclip")
    assert not released_available(tmp_path)
    assert np.array_equal(planes["five_planes"].confusion.sum(1)[:4], [711, 3092, 1040, 1718])


@pytest.fixture(scope="module")
def tasks(few_planes):
    return asked_tasks(few_planes)


@pytest.fixture(scope="module")
def answers(few_planes, tasks, tiny_model, tmp_path_factory):
    prompts = {"five_planes": load_prompts("planes"), "brain_subplanes": load_prompts("brain")}
    options = {"cache_dir": tmp_path_factory.mktemp("cache"), "batch_size": 8}
    return zero_shot.predictions([tiny_model], few_planes, tasks, prompts, **options)


def test_sentences_that_would_be_cut_are_refused_before_the_images(
    few_planes, tasks, tiny_model, tmp_path, monkeypatch
):
    monkeypatch.delattr("fetalclip_nb.experiments.zero_shot.image_embeddings")
    prompts = {task: {"brain": ["brain " * 500], "femur": ["a femur"]} for task in tasks}
    with pytest.raises(ParameterError, match="1 sentence is longer"):
        options = {"cache_dir": tmp_path, "batch_size": 8}
        zero_shot.predictions([tiny_model], few_planes, tasks, prompts, **options)


def test_each_model_and_the_majority_answer_both_tasks(answers, tasks, tiny_model):
    assert list(answers) == ["tiny", zero_shot.MAJORITY]
    texts = class_embeddings(tiny_model.encode_text, load_prompts("brain"))
    squares = [read_square(path) for path in tasks["brain_subplanes"].paths]
    found = normalise(prepared_embedding(tiny_model, squares)) @ texts.T
    assert answers["tiny"]["brain_subplanes"].ranked[:, 0].tolist() == found.argmax(1).tolist()
    floor = answers[zero_shot.MAJORITY]["five_planes"]
    labels = tasks["five_planes"].table["label"]
    assert {floor.classes[i] for i in floor.ranked[:, 0]} == {labels.mode()[0]}
    said = zero_shot.task_answers(answers["tiny"], tasks)
    assert list(said["five_planes/f1_macro"]["true"]) == list(labels)
    both = said["eight_classes/f1_macro"]
    assert len(both) == sum(map(len, tasks.values())) and set(both["run"]) == {0}


def test_eight_classes_are_those_of_both_tasks(answers):
    found = zero_shot.task_scores(answers["tiny"])
    each = [units["patient"].value for name, units in found.items() if "/f1/" in name]
    assert found["eight_classes/f1_macro"]["patient"].value == pytest.approx(np.mean(each))


def test_images_are_counted_and_shown_by_class_and_machine(answers, tasks, monkeypatch):
    counts = zero_shot.counts(tasks)
    assert counts.loc["brain_subplanes", "images"].sum() == len(tasks["brain_subplanes"])
    shown = zero_shot.examples(tasks, 1)
    assert shown["label"].tolist() == counts["label"].tolist()
    wrong = zero_shot.confident_mistakes(answers["tiny"], tasks, 2)
    assert len(wrong) == 4 and (wrong["true"] != wrong["predicted"]).all()
    table, planes = tasks["five_planes"].table, answers["tiny"]["five_planes"]
    monkeypatch.setattr(classification, "FEWEST_PATIENTS", 2)
    rates = zero_shot.by_machine_and_operator(planes, table)
    machines = table.groupby("machine")["patient"].nunique()
    shown = [name for name in rates if "operator" not in name]
    assert shown == [*machines.index[machines >= 2]] and len(shown) < len(machines)
    rows = (table["machine"] == shown[0]).to_numpy()
    assert rates[shown[0]].value == pytest.approx(planes.right[rows].mean())


def test_planes_keep_their_published_tasks_and_order(few_planes):
    assert [*asked_tasks(few_planes)] == ["five_planes", "brain_subplanes"]
    assert [*taught_tasks(few_planes)] == ["six_planes", "brain_subplanes"]
    planes = taught_tasks(few_planes)["six_planes"]
    assert class_names("six_planes", planes)[:2] == ("other", "abdomen")
    assert own_facts(asked_tasks(few_planes)) == {}
