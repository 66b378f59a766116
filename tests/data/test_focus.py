"""FOCUS in miniature."""

import numpy as np
import pytest
from PIL import Image

from fetalclip_nb.data.focus import read_focus
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.errors import DataError
from fetalclip_nb.tasks.choice import choose_folds
from fetalclip_nb.tasks.masks import structure_task
from helpers import write_focus


def test_folders_are_the_splits(tmp_path):
    data = load_dataset("focus", write_focus(tmp_path))
    assert data.name == "focus"
    assert data.table["split"].tolist() == ["train"] * 3 + ["validation"] + ["test"] * 2
    assert data.table["id"].tolist()[:4:3] == ["training/001", "validation/001"]
    assert data.table["patient"].is_unique


def test_thorax_and_heart_are_read_and_the_stand_in_is_named(tmp_path):
    task = structure_task("four_chamber", write_focus(tmp_path))
    assert task.structures == ("thorax", "heart")
    assert task.stand_in == "FOCUS, a stand-in, not a reproduction"
    thorax, heart = task.read(5)  # testing/002
    assert thorax[2:26, 2:34].all() and thorax.sum() == 24 * 32
    assert heart[8:26, 8:34].all() and heart.sum() == 18 * 26
    split = choose_folds("auto", task.items, task.dataset, None, seed=0)
    assert split.test == ("testing/001", "testing/002")
    assert split.folds[0].validation == ("validation/001",)


def test_soft_borders_are_cut_in_the_middle(tmp_path):
    write_focus(tmp_path)
    values = np.zeros((30, 40), np.uint8)
    values[5:9, 5:9], values[9, 5:9], values[10, 5:9] = 255, 128, 127
    Image.fromarray(values).save(tmp_path / "training" / "annfiles_mask" / "001-cardiac.png")
    heart = structure_task("four_chamber", tmp_path).read(0)[1]
    assert heart[5:10, 5:9].all() and heart.sum() == 20


def test_flaws_are_named_by_their_files(tmp_path):
    folder = write_focus(tmp_path) / "training" / "annfiles_mask"
    (folder / "001-cardiac.png").unlink()
    Image.new("L", (20, 10), 255).save(folder / "003-thorax.png")
    with pytest.raises(DataError) as caught:
        structure_task("four_chamber", tmp_path)
    text = str(caught.value)
    assert text.startswith("2 of 12 masks cannot be used")
    assert "training/annfiles_mask/001-cardiac.png: file is missing" in text
    assert "training/annfiles_mask/003-thorax.png: size 20x10, its image 40x30" in text


def test_empty_folder_and_masks_alone(tmp_path):
    write_focus(tmp_path)
    for folder in ("images", "annfiles_mask"):
        (tmp_path / "testing" / folder / "._001.png").write_bytes(b"what a Mac leaves beside files")
    assert len(read_focus(tmp_path)) == 6
    Image.new("L", (40, 30)).save(tmp_path / "testing" / "annfiles_mask" / "007-thorax.png")
    with pytest.raises(DataError, match=r"1 masks have no image.*testing.*007-thorax\.png"):
        read_focus(tmp_path)
    for path in (tmp_path / "validation" / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no images\. Where: .*validation.*training/images/NNN"):
        read_focus(tmp_path)
