"""Probes tested on other people's planes: read from the cache, scored where they are wrong."""

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.african_planes import SUBJECT, TASK
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.experiments.linear_probing import fit, scores
from fetalclip_nb.experiments.linear_probing.external import external_logits, external_tasks
from fetalclip_nb.experiments.linear_probing.probe import PROBE, embed, probe_logits
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe
from fetalclip_nb.models.embed import image_embeddings
from fetalclip_nb.phantoms.cohorts import write_african_planes
from fetalclip_nb.tasks.items import Task, class_items
from fetalclip_nb.tasks.own_splits import own_folds
from helpers import images_of

RECIPE = ProbeRecipe(batch_size=8, epochs=2, copies=1, runs=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model, few_planes):
    """Probes of a tiny model, the African phantoms, and what the first say of the second."""
    folder = tmp_path_factory.mktemp("external")
    write_african_planes(folder / "african", patients=10, seed=2, workers=1)
    items = class_items(few_planes)["six_planes"]
    tasks = {"six_planes": Task(few_planes, items, {"s": own_folds(items.table, seed=0, folds=2)})}
    external = external_tasks(load_dataset("african_planes", folder / "african"), tasks)
    shared = {"cache_dir": folder / "cache", "seed": 1}
    features = embed([tiny_model], tasks, copies=1, **shared)
    probe_logits(features, tasks, {"six_planes": RECIPE}, **shared)

    def ask():
        return external_logits([tiny_model], external, features, tasks, RECIPE, **shared)

    return external, ask, tiny_model, folder / "cache"


def test_all_are_tested_and_none_is_trained_on(run):
    external, *_ = run
    task = external[TASK]
    assert task.tested.all() and len(task.table) == 10 * 4 - 4 and task.split.folds == ()
    assert task.items.classes[0] == "other" and set(task.table["label"]) == {
        "abdomen", "brain", "femur", "heart"
    }  # fmt: skip


def test_probes_are_those_of_the_chapter_and_are_not_trained_again(run, monkeypatch):
    external, ask, model, cache = run
    monkeypatch.setattr(fit, "train_probes", None)
    logits = ask()
    assert list(logits) == [(model.name, PROBE, TASK)]
    assert logits[model.name, PROBE, TASK].shape == (4, 36, 6)
    # The same probe on the same picture: what it says at home comes from the same weights.
    (file,) = (cache / "probes").glob("*.npz")
    weights = np.load(file)
    images = external[TASK].dataset
    vectors = image_embeddings(model, images, cache_dir=cache, preparation="published").of(images)
    pairs = zip(weights["weight"], weights["bias"], strict=True)
    by_hand = np.stack([vectors @ weight + bias for weight, bias in pairs])
    np.testing.assert_allclose(logits[model.name, PROBE, TASK], by_hand, rtol=1e-4, atol=1e-5)


def test_planes_that_are_not_there_are_wrong_answers():
    planes = ["abdomen", "brain", "femur", "heart"]
    patients = [f"p{i}" for i in range(8)]
    images = images_of(patients, planes * 2, kind="african_planes", plane=planes * 2)
    external = external_tasks(images, {"six_planes": None})
    columns = external[TASK].items.classes
    right = np.eye(6)[[columns.index(name) for name in planes * 2]]
    wrong = right.copy()
    wrong[0], wrong[1] = np.eye(6)[columns.index("other")], np.eye(6)[columns.index("cervix")]
    logits = {("m", PROBE, TASK): 9 * np.stack([right, wrong])}
    found = scores.score(logits, external)
    # Second probe: abdomen and brain are found once of two, without a false one: F1 2/3.
    assert found["m", PROBE, TASK]["f1_macro"].values == pytest.approx([1, (4 / 3 + 2) / 4])
    rows = []
    scores.save_scores(lambda *a, **named: rows.append((*a, named)), found, logits, external)
    ((model, results, named),) = rows
    assert (model, named["subject"], named["kind"], named["reader"]) == ("m", SUBJECT, "model", "")
    assert named["dataset"] is images and f"{TASK}/f1_macro" in results
    said = named["answers"][f"{TASK}/f1_macro"]
    assert said["predicted"].tolist()[8:10] == ["other", "cervix"]
    assert isinstance(said, pd.DataFrame) and said["patient"].nunique() == 8


def test_centres_are_subgroups(run):
    external, *_ = run
    assert list(scores.subgroups(external[TASK])) == [
        f"centre {name}" for name in ("Algeria", "Egypt", "Ghana", "Malawi", "Uganda")
    ]
