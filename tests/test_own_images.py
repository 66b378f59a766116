"""Images of a notebook, named in one line."""

import pytest
from helpers import write_heads, write_image

from fetalclip_nb.errors import DataError
from fetalclip_nb.own_images import open_images


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Words are looked for in the current folder."""
    monkeypatch.chdir(tmp_path)


def test_files_and_patterns_become_a_data_set_without_labels(tmp_path):
    for i, name in enumerate(("a/1.png", "a/2.png", "b/3.png", "c/4.png")):
        write_image(tmp_path / name, seed=i)
    found = open_images("b/3.png, a/*.png,")
    assert found.table["id"].tolist() == ["a/1.png", "a/2.png", "b/3.png"]
    assert found.paths == [tmp_path / name for name in found.table["id"]]
    assert found.table["patient"].nunique() == 3 and not found.synthetic and found.whole
    assert set(found.table["label"]) == {""}
    assert open_images("c/4.png").table["id"].tolist() == ["4.png"]


def test_a_folder_is_the_data_set_that_it_holds(tmp_path):
    write_heads(tmp_path / "heads", n=4)
    assert open_images("heads").name == "hc18"
    write_image(tmp_path / "plain, with comma" / "x" / "1.png")
    assert open_images("plain, with comma").table["id"].tolist() == ["x/1.png"]


def test_words_that_lead_nowhere_are_named():
    with pytest.raises(DataError, match=r"no\.png .*never"):
        open_images("no.png, never/*.png")
    with pytest.raises(DataError, match="No image was named"):
        open_images(" , ")
