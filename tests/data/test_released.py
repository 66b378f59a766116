"""Readers of the authors' files: against the real ones, and against damaged copies."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from fetalclip_nb.data.released import (
    IMAGES_PER_CLASS,
    released_age_scores,
    released_predictions,
    released_prompts,
)
from fetalclip_nb.downloads.registry import file_hash, registered
from fetalclip_nb.errors import DataError, DownloadError
from fetalclip_nb.tasks.official_splits import few_data_split, probing_split

PREDICTIONS = "zero_shot_planes_db/test_{}_prediction.json"
SCORES = "zero_shot_hc18/FetalCLIP_dot_prods_map.pt"


@pytest.fixture(scope="session")
def folder(shared_data):
    return shared_data / "fetalclip"


@pytest.fixture
def copy(folder, tmp_path):
    """A copy that a test may damage."""
    target = tmp_path / "released"
    shutil.copytree(folder, target)
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def rewrite(path, change):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def everyone(split):
    pairs = split.get("folds") or [pair for sets in split["supports"].values() for pair in sets]
    return {patient for pair in pairs for patient in pair["train"] + pair["val"]}


def test_registry_lists_exactly_these_files(folder):
    files = {f.path: f for f in registered("fetalclip-released").files}
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert set(files) == set(there)
    assert all(files[name].hash == file_hash(path) for name, path in there.items())
    assert all(files[name].bytes == path.stat().st_size for name, path in there.items())


@pytest.mark.parametrize(
    ("task", "n", "percent"), [("five_planes", 8187, 97.27), ("brain_subplanes", 2949, 69.29)]
)
def test_macro_f1_of_released_predictions(folder, task, n, percent):
    released = released_predictions(folder, task)
    present = [released.classes.index(name) for name in IMAGES_PER_CLASS[task]]
    score = f1_score(released.labels, released.predictions, labels=present, average="macro")
    assert released.labels.shape == released.predictions.shape == (n,)
    assert released.labels.dtype == np.int64
    assert round(100 * score, 2) == percent


def test_distractor_classes_have_predictions_but_no_images(folder):
    released = released_predictions(folder, "five_planes")
    kidney = released.classes.index("kidney")
    assert kidney in released.predictions
    assert kidney not in released.labels


@pytest.mark.parametrize(("task", "classes"), [("five_planes", 9), ("brain_subplanes", 3)])
def test_prompts(folder, task, classes):
    prompts = released_prompts(folder, task)
    assert [len(sentences) for sentences in prompts.values()] == [5] * classes


def test_age_scores(folder):
    released = released_age_scores(folder)
    counted = (released.hc_mm >= 100) & (released.hc_mm <= 342)
    assert released.scores.shape == (999, 175)
    assert released.scores.dtype == np.float32
    assert counted.sum() == 814
    assert set(released.planes) == {"brain"}


@pytest.mark.parametrize(
    ("task", "test", "everybody"), [("six_planes", 896, 896), ("brain_subplanes", 896, 524)]
)
def test_planes_splits_are_patient_disjoint(folder, task, test, everybody):
    split = probing_split(folder, task)
    assert len(split["test"]) == test
    assert len(everyone(split)) == everybody
    assert not everyone(split) & set(split["test"])
    assert not everyone(few_data_split(folder, task)) & set(split["test"])
    for pair in split["folds"]:
        assert not set(pair["train"]) & set(pair["val"])


def test_head_split_leaks_the_test_patients_written_without_zeros(folder):
    split = probing_split(folder, "head")
    leak = everyone(split) & set(split["test"])
    assert (len(split["test"]), len(leak)) == (161, 18)
    raw = json.loads((folder / "probing/segmentation_hc/test_id.json").read_text())
    assert leak == {patient.zfill(3) for patient in raw if len(patient) < 3}
    few = few_data_split(folder, "head")
    assert len(everyone(few) & set(few["test"])) == 13
    assert everyone(split) | set(split["test"]) == {f"{i:03d}" for i in range(806)}


def test_support_sets_have_their_size(folder):
    supports = few_data_split(folder, "brain_subplanes")["supports"]
    assert list(supports) == [4, 8, 16, 32, 64, 128]
    assert all(
        len(pair["train"]) == len(pair["val"]) == n for n in supports for pair in supports[n]
    )
    assert all(len(sets) == 5 for sets in supports.values())


def test_changed_file_names_both_hashes(copy):
    path = copy / PREDICTIONS.format("brain_subplanes")
    before = file_hash(path)
    rewrite(path, lambda content: content["prediction"].reverse())
    with pytest.raises(DownloadError, match="not the registered one") as caught:
        released_predictions(copy, "brain_subplanes")
    assert before in str(caught.value)
    assert file_hash(path) in str(caught.value)
    loose = released_predictions(copy, "brain_subplanes", check_hash=False)
    assert len(loose.predictions) == 2949


def test_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"missing.*fetalclip-nb download fetalclip-released"):
        released_predictions(tmp_path, "five_planes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: {"label": c["label"]}, "Expected: .*prediction"),
        (lambda c: c["label"].__setitem__(0, "toe"), "unknown classes in label.*Found: toe"),
        (lambda c: c["prediction"].__setitem__(0, ["brain"]), "unknown classes in prediction"),
        (lambda c: c["label"].pop() and None, "image counts differ"),
        (lambda c: c["prediction"].pop() and None, "8186 predictions"),
        (lambda c: [c], "Found: list"),
    ],
)
def test_malformed_predictions(copy, change, message):
    rewrite(copy / PREDICTIONS.format("five_planes"), change)
    with pytest.raises(DataError, match=message):
        released_predictions(copy, "five_planes", check_hash=False)


def test_prompts_without_a_needed_class(copy):
    path = copy / "zero_shot_planes_db/test_five_planes_prompts.json"
    rewrite(path, lambda content: content.pop("heart") and None)
    with pytest.raises(DataError, match=r"lacks classes.*heart"):
        released_prompts(copy, "five_planes", check_hash=False)


def test_unknown_task(folder):
    with pytest.raises(DataError, match=r"Expected: five_planes, brain_subplanes\. Found: toes"):
        released_predictions(folder, "toes")


class Harmful:
    """What a pickle could do if it were read without an allow-list."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickle_runs_no_code(copy, tmp_path):
    torch.save([Harmful(tmp_path / "harm")], copy / SCORES)
    with pytest.raises(DataError, match=r"a pickle of floats.*Found: Unsupported") as caught:
        released_age_scores(copy, check_hash=False)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def row(**changes):
    scores = np.zeros((1, 175), dtype=np.float32)
    return {"true_hc": 100.0, "pred_subview": "brain", "text_dot_prods": scores} | changes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row()] * 998, "Found: 998 images"),
        ([row(text_dot_prods=np.zeros((1, 168), np.float32))] * 999, r"shapes \(1, 168\)"),
        ([row(text_dot_prods=np.full((1, 175), np.nan, np.float32))] * 999, "finite scores"),
        ([row(true_hc=0.0)] * 999, "positive circumferences"),
        ([{"true_hc": 1.0}] * 999, "a list of dicts"),
        ({"rows": 3}, "a list of dicts"),
    ],
)
def test_malformed_age_scores(copy, rows, message):
    torch.save(rows, copy / SCORES)
    with pytest.raises(DataError, match=message):
        released_age_scores(copy, check_hash=False)


def test_truncated_age_scores(copy):
    path = copy / SCORES
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(DataError, match="a pickle of floats"):
        released_age_scores(copy, check_hash=False)
    path.write_bytes(pickle.dumps("plain", 2))
    with pytest.raises(DataError, match="what it should be"):
        released_age_scores(copy, check_hash=False)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("train_val_split.json", lambda c: c.pop("3") and None, "folds 0 to 4"),
        ("train_val_split.json", lambda c: c["0"].pop() and None, "pairs"),
        ("train_val_split.json", lambda c: c["0"][0].append("Pat1"), "Found: Pat1"),
        ("train_val_split.json", lambda c: c["0"][0].append(c["0"][0][0]), "named twice"),
        ("train_val_split.json", lambda c: [c], "Expected: a dict"),
        ("test_split.json", lambda c: 3, "Expected: a list"),
        ("test_split.json", lambda c: c.clear(), "empty list"),
    ],
)
def test_malformed_splits(copy, name, change, message):
    rewrite(copy / "probing/classification_six_fetal_planes" / name, change)
    with pytest.raises(DataError, match=message):
        probing_split(copy, "six_planes", check_hash=False)


def test_support_set_of_another_size(copy):
    path = copy / "few_data_training/segmentation_hc/train_val_split.json"
    rewrite(path, lambda content: content["4"][2][0].pop() and None)
    with pytest.raises(DataError, match="5 sets of 4 and 4 patients"):
        few_data_split(copy, "head", check_hash=False)


def test_no_json(copy):
    (copy / "probing/segmentation_hc/test_id.json").write_text("{")
    with pytest.raises(DataError, match="Expected: JSON"):
        probing_split(copy, "head", check_hash=False)
