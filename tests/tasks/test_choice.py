"""Which split a probe uses, and manifests that cannot be split."""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fetal_planes import SIX_PLANES
from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.data.manifest import read_manifest
from fetalclip_nb.errors import DataError, FetalClipError, ParameterError
from fetalclip_nb.tasks import official_splits
from fetalclip_nb.tasks.choice import (
    choose_folds,
    choose_supports,
    is_official,
    never_trained,
)
from fetalclip_nb.tasks.items import CHD_CLASSES, Task, clip_items, image_items
from fetalclip_nb.tasks.masks import head_task
from fetalclip_nb.tasks.official_splits import official_folds, splits_available
from fetalclip_nb.tasks.own_splits import own_folds, own_supports
from fetalclip_nb.tasks.splits import Fold, Split, rows_of
from helpers import write_image


@pytest.fixture(scope="session")
def official_patients(released):
    """Patients of the official six-plane split, read without the code that is tested."""
    folder = released / "probing" / "classification_six_fetal_planes"
    train, validation = json.loads((folder / "train_val_split.json").read_text())["0"]
    return [*json.loads((folder / "test_split.json").read_text()), *train, *validation]


def planes_of(patients, *, synthetic=False, name="fetal_planes", split=""):
    """A data set in which each patient has an image of each plane."""
    rows = [(patient, plane, split) for patient in patients for plane in SIX_PLANES]
    table = pd.DataFrame(rows, columns=["patient", "label", "split"])
    table.insert(0, "id", [f"i{number}" for number in range(len(table))])
    return Dataset(name, Path("planes"), table, synthetic, "0")


def planes_task(data):
    return image_items("six_planes", data, SIX_PLANES)


@pytest.fixture
def phantoms():
    return planes_of([f"Patient{i:05d}" for i in range(30)], synthetic=True)


# Which split


@pytest.mark.parametrize("choice", ["auto", "official"])
def test_real_planes_take_the_official_folds(choice, official_patients, released):
    data = planes_of(official_patients)
    task = planes_task(data)
    split = choose_folds(choice, task, data, released, seed=0)
    assert split.source == "official"
    assert len(split.test) == 896
    assert len(split.folds) == 5
    assert [len(side) for side in vars(split.folds[0]).values()] == [716, 180]
    assert rows_of(task.table, split.test).sum() == 896 * 6
    assert not {p for fold in split.folds for p in fold.train + fold.validation} & {*split.test}


def test_real_planes_take_the_official_support_sets(official_patients, released):
    data = planes_of(official_patients)
    found = choose_supports("auto", planes_task(data), data, released, sizes=[2, 64], seed=0)
    assert list(found) == [2, 64]
    for n, split in found.items():
        assert (split.source, len(split.test), len(split.folds)) == ("official", 896, 5)
        assert {len(side) for fold in split.folds for side in vars(fold).values()} == {n}
    with pytest.raises(ParameterError, match=r"six_planes.*2, 4, 8, .*Found: 3, 5.*own splits"):
        choose_supports("auto", planes_task(data), data, released, sizes=[2, 3, 5], seed=0)


def test_brain_task_tests_patients_without_a_brain_image(official_patients, released):
    data = planes_of(official_patients)
    folder = released / "probing" / "classification_brain_subplanes"
    train, validation = json.loads((folder / "train_val_split.json").read_text())["0"]
    imaged = data.table["patient"].isin([*official_patients[:300], *train, *validation])
    part = data.where(imaged & data.table["label"].isin(["brain", "heart"]))
    task = image_items("brain_subplanes", part, ("brain", "heart"))
    split = choose_folds("auto", task, data, released, seed=0)
    assert len(split.test) == 896
    assert rows_of(task.table, split.test).sum() == 300 * 2


@pytest.fixture
def copied(released, tmp_path):
    """A copy of the authors' split files, and their paths in it."""
    for name in ("probing", "few_data_training"):
        shutil.copytree(released / name, tmp_path / name)
    return tmp_path, sorted(tmp_path.rglob("*.json"))


def test_split_files_are_available_where_the_table_of_leaks_has_all_of_them(copied):
    folder, files = copied
    assert len(files) == 2 * 3 * 2 and splits_available(folder)
    assert not splits_available(None)
    for path in files:
        hidden = path.rename(path.with_suffix(".away"))
        assert not splits_available(folder)
        with pytest.raises(DataError, match="Released file is missing"):
            official_splits.leak_table(folder)
        hidden.rename(path)
    assert splits_available(folder) and len(official_splits.leak_table(folder)) == 6


def test_a_partial_folder_is_no_obstacle_to_own_splits(official_patients, copied):
    folder, files = copied
    for path in files:
        path.unlink()
    data = planes_of(official_patients)
    task = planes_task(data)
    for choice in ("own", "auto"):
        assert choose_folds(choice, task, data, folder, seed=0).source == "own"
        found = choose_supports(choice, task, data, folder, sizes=[2], seed=0)
        assert found[2].source == "own"
    with pytest.raises(DataError, match="Released file is missing"):
        choose_folds("official", task, data, folder, seed=0)


# HC18


@pytest.fixture(scope="session")
def head_patients(released):
    """Patients of the official head split as released: test, and train or validation."""
    folder = released / "probing" / "segmentation_hc"
    test = [f"{int(p):03d}" for p in json.loads((folder / "test_id.json").read_text())]
    train, validation = json.loads((folder / "train_val_split.json").read_text())["0"]
    return test, sorted({*train, *validation})


def heads_of(patients):
    """A data set with two images a patient, and the head task's items."""
    rows = [(f"{patient}_{i}", patient, "head", "") for patient in patients for i in range(2)]
    table = pd.DataFrame(rows, columns=["id", "patient", "label", "split"])
    data = Dataset("hc18", Path("heads"), table, False, "0")
    return data, image_items("head", data, ("head",))


def test_real_heads_take_the_official_folds_without_the_leak(head_patients, released):
    test, rest = head_patients
    data, task = heads_of(sorted({*test, *rest}))
    assert (len(test), len({*test} & {*rest})) == (161, 18)
    for choice in ("auto", "official"):
        split = choose_folds(choice, task, data, released, seed=0)
        assert (split.source, len(split.folds)) == ("official, leak-free", 5)
        assert {*split.test} == {*test} - {*rest}
        assert rows_of(task.table, split.test).sum() == 143 * 2
    supports = choose_supports("auto", task, data, released, sizes=[1, 32], seed=0)
    assert {(s.source, len(s.test)) for s in supports.values()} == {("official, leak-free", 148)}


def test_both_test_sets_of_the_official_head_split_have_the_same_folds(head_patients, released):
    test, rest = head_patients
    data, task = heads_of(sorted({*test, *rest}))
    free = choose_folds("official", task, data, released, seed=0)
    given = official_folds(released, "head")
    assert (given.source, free.source) == ("official", "official, leak-free")
    assert (list(given.test), len(free.test)) == (test, 143)
    assert given.folds == free.folds
    assert not rows_of(task.table, free.test)[~rows_of(task.table, given.test)].any()
    data, task = heads_of(test[:100] + rest)
    with pytest.raises(DataError, match="patients of the split without images"):
        choose_folds("official", task, data, released, seed=0)


def test_real_part_of_hc18_takes_own_folds(shared_data, released):
    task = head_task(read_hc18(shared_data / "hc18"))
    split = choose_folds("auto", task.items, task.dataset, released, seed=0)
    assert (split.source, len(split.folds)) == ("own", 5)
    assert 28 <= len(split.test) <= 36  # a fifth of 160 patients


@pytest.mark.parametrize("choice", ["own", "auto"])
def test_own_splits_where_they_are_asked_for_or_the_authors_files_are_missing(
    choice, official_patients, released, tmp_path
):
    data = planes_of(official_patients[:50])
    task = planes_task(data)
    own = own_folds(task.table, seed=4, folds=3), own_supports(task.table, [2, 4], seed=4, sets=3)
    for folder in (None, tmp_path, released):
        given = (choice, task, data, folder)
        assert choose_folds(*given, seed=4, folds=3) == own[0]
        assert choose_supports(*given, sizes=[2, 4], seed=4, sets=3) == own[1]


@pytest.mark.parametrize("changes", [{"synthetic": True}, {"name": "manifest"}])
def test_auto_never_takes_official_folds_for_other_images(changes, official_patients, released):
    data = planes_of(official_patients, **changes)
    assert not is_official("auto", data, released)
    assert choose_folds("auto", planes_task(data), data, released, seed=0).source == "own"
    found = choose_supports("auto", planes_task(data), data, released, sizes=[4], seed=0)
    assert found[4].source == "own"


BOTH = pytest.mark.parametrize("choose", [choose_folds, partial(choose_supports, sizes=[2])])


@BOTH
def test_official_is_refused_for_other_kinds_of_data(choose, phantoms, tmp_path):
    # Their patients may have the names of real ones, and no file needs to be read to say no.
    manifest = replace(phantoms, name="manifest")
    with pytest.raises(DataError, match="Expected: FETAL.* Found: a data set of the kind manifest"):
        choose("official", planes_task(manifest), manifest, tmp_path, seed=0)


def test_official_needs_the_authors_files_and_all_their_patients(
    official_patients, released, phantoms
):
    data = planes_of(official_patients)
    with pytest.raises(DataError, match="Released file is missing.*fetalclip-nb download"):
        choose_folds("official", planes_task(data), data, Path("none"), seed=0)
    for data in (planes_of(official_patients[:-3]), phantoms):
        with pytest.raises(DataError, match="patients of the split without images: Patient"):
            choose_folds("official", planes_task(data), data, released, seed=0)


@BOTH
@pytest.mark.parametrize("choice", ["Official", "", "mine"])
def test_unknown_choices_are_refused(choose, choice, phantoms):
    text = "Unknown choice of splits. Where: splits. Expected: auto, official, own"
    with pytest.raises(ParameterError, match=text):
        choose(choice, planes_task(phantoms), phantoms, None, seed=0)


@pytest.mark.parametrize("side", ["train", "test"])
def test_small_support_sets_may_lack_a_class_but_the_test_set_may_not(side, phantoms):
    table = phantoms.table.assign(split=["test"] * 60 + ["train"] * 120)
    data = replace(phantoms, table=table)
    part = data.where((table["label"] != "femur") | (table["split"] != side))
    task = planes_task(part)
    if side == "test":
        with pytest.raises(DataError, match="Found: no image of femur in test. "):
            choose_supports("own", task, data, None, sizes=[2], seed=0, sets=2)
    else:
        supports = choose_supports("own", task, data, None, sizes=[2], seed=0, sets=2)
        assert len(supports[2].test) == 10
        with pytest.raises(DataError, match="no image of femur in train of fold 0, validation"):
            choose_folds("own", task, data, None, seed=0)


# Over several tasks


def test_copies_are_made_of_patients_whom_any_task_trains_on():
    data = planes_of("pqrs")
    part = image_items("part", data.where(data.table["patient"].isin(["p", "q"])), SIX_PLANES)

    def task(items, *tested):
        return Task(data, items, {"own": Split("own", tested, (Fold((), ()),))})

    whole = task(planes_task(data), "q", "r")
    assert never_trained([whole, task(part, "q")]) == ["q", "r"]
    # Tested in one and trained on in the other; r has no item in the second task.
    assert never_trained([whole, task(part, "p")]) == ["r"]


def test_leaks_of_the_authors_splits_are_counted(released):
    table = official_splits.leak_table(released)
    assert table.loc[("head", "probing")].tolist() == [161, 18, 143]
    assert table.loc[("head", "few-data")].tolist() == [161, 13, 148]
    planes = table.drop("head", level="task")
    assert planes.to_numpy().tolist() == [[896, 0, 896]] * 4


# From a user's manifest to folds, as the chapter on probing does it


def write_manifest(root, rows, header="image,label,patient,split,clip,frame"):
    """Clips of two frames: (label, patient, split) each."""
    lines = [header]
    for number, row in enumerate(rows):
        for frame in range(2):
            name = f"{number}-{frame}.png"
            write_image(root / name, size=(4, 4), seed=number)
            lines.append(",".join([name, *row, f"c{number}", str(frame)]))
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def hearts_of(root, folds=5):
    data = read_manifest(root)
    task = clip_items("chd", data, CHD_CLASSES, frames=2)
    return task, choose_folds("own", task, data, None, seed=0, folds=folds)


def evenly(n, split=""):
    return [(CHD_CLASSES[i % 2], f"p{i}", split) for i in range(n)]


def test_usable_manifest_is_split_by_patient(tmp_path):
    rows = evenly(30)
    task, split = hearts_of(write_manifest(tmp_path, [*rows, *rows[:4]]))
    assert (len(task), split.source, len(split.folds)) == (34, "own", 5)
    assert task.targets.tolist() == [0, 1] * 17
    tested = task.table[rows_of(task.table, split.test)]
    assert set(tested["label"]) == set(CHD_CLASSES)
    seen = {p for fold in split.folds for p in fold.train + fold.validation}
    assert seen == set(task.table["patient"]) - set(tested["patient"])


def refusal(root):
    """The one error that a manifest gives on its way to folds."""
    with pytest.raises(FetalClipError) as caught:
        hearts_of(root)
    assert type(caught.value) is DataError
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    return str(caught.value)


def test_class_missing_from_a_fold_is_one_clear_error(tmp_path):
    rows = [("CHD" if i < 4 else "normal", f"p{i}", "") for i in range(30)]
    text = refusal(write_manifest(tmp_path, rows))
    assert text.startswith(f"Split cannot be used. Where: {tmp_path}. Expected: images of")
    assert "no image of CHD in validation of fold" in text
    assert "normal in" not in text
    assert "take 3 folds at most" in text
    _, split = hearts_of(tmp_path, folds=2)
    assert len(split.folds) == 2


def test_split_of_some_rows_only_is_one_clear_error(tmp_path):
    text = refusal(write_manifest(tmp_path, [*evenly(20, "train"), ("CHD", "p20", "")]))
    where = f"Where: {tmp_path}, column split. Expected"
    assert text.startswith(f"Splits in the table cannot be used. {where}")
    assert "split empty for 1 of 21 items" in text
    data = read_manifest(tmp_path)
    task = clip_items("chd", data, CHD_CLASSES, frames=2)
    with pytest.raises(DataError, match=where):
        choose_supports("own", task, data, None, sizes=[2], seed=0)
