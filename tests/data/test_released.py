"""Readers of the authors' files: against the real ones, and against damaged copies."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from fetalclip_nb.data.released import (
    AGE_SCRIPT,
    _unpickled,
    released_age_scores,
    released_predictions,
    released_prompts,
)
from fetalclip_nb.downloads.registry import file_hash, registered
from fetalclip_nb.errors import DataError, DownloadError


@pytest.fixture(scope="session")
def folder(shared_data):
    return shared_data / "fetalclip"


def test_registry_lists_exactly_these_files(folder):
    files = {f.path: f for f in registered("fetalclip-released").files}
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert set(files) - {AGE_SCRIPT} == set(there)
    assert all(files[name].hash == file_hash(path) for name, path in there.items())
    assert all(files[name].bytes == path.stat().st_size for name, path in there.items())


@pytest.mark.parametrize(
    ("task", "n", "percent"), [("five_planes", 8187, 97.27), ("brain_subplanes", 2949, 69.29)]
)
def test_macro_f1_of_released_predictions(folder, task, n, percent):
    released = released_predictions(folder, task)
    present = np.unique(released.labels)  # distractors have predictions alone
    score = f1_score(released.labels, released.predictions, labels=present, average="macro")
    assert released.labels.shape == released.predictions.shape == (n,)
    assert released.labels.dtype == np.int64
    assert round(100 * score, 2) == percent


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


def test_changed_file_names_both_hashes(folder, tmp_path):
    copy = tmp_path / "released"
    shutil.copytree(folder, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    path = copy / "zero_shot_planes_db/test_brain_subplanes_prediction.json"
    before = file_hash(path)
    path.write_text(path.read_text() + " ")
    with pytest.raises(DownloadError, match="not the registered one") as caught:
        released_predictions(copy, "brain_subplanes")
    assert before in str(caught.value)
    assert file_hash(path) in str(caught.value)


def test_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"missing.*fetalclip-nb download fetalclip-released"):
        released_predictions(tmp_path, "five_planes")


class Harmful:
    """What a pickle could do if it were read without an allow-list."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickle_runs_no_code(tmp_path):
    torch.save([Harmful(tmp_path / "harm")], tmp_path / "scores.pt")
    with pytest.raises(pickle.UnpicklingError):
        _unpickled(tmp_path / "scores.pt")
    assert not (tmp_path / "harm").exists()
