"""Images of a notebook, named in one line."""

import pytest
from helpers import write_heads, write_image

from fetalclip_nb.datasets.table import PLAIN
from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.own_images import drawn_images, open_images
from fetalclip_nb.tables import kind_of_images


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


def test_phantoms_are_known_however_they_are_named(tmp_path):
    for i, name in enumerate(("drawn/clips/A/1.png", "drawn/2.png", "more/Images/3.png")):
        write_image(tmp_path / "all" / name, seed=i)
    for name in ("drawn", "more"):
        (tmp_path / "all" / name / "phantom.json").write_text("{}")
    write_image(tmp_path / "mine" / "4.png", seed=4)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.png").symlink_to(tmp_path / "all/drawn/2.png")
    for words in (
        *("all", "all/drawn", "all/drawn/clips/A", "all/*/*/3.png", "linked"),
        *("all/drawn/2.png", "all/drawn/clips/A/1.png,all/more/Images", "mine,all/more/Images"),
    ):
        found = open_images(words)
        assert found.synthetic, words
        assert kind_of_images(found).startswith("synthetic phantoms"), words


def test_nobody_has_said_where_plain_files_come_from(tmp_path):
    write_image(tmp_path / "mine/deep/1.png")
    for words, name in (("mine", "folder"), ("mine/deep/1.png", "files"), ("mine/*/*", "files")):
        found = open_images(words)
        assert not found.synthetic and found.name == name and name in PLAIN
        assert (
            kind_of_images(found) == "images of your own, of whose origin this book knows nothing"
        )
    assert kind_of_images(open_images(str(write_heads(tmp_path / "heads")))) == (
        "real ultrasound images"
    )


def test_words_that_lead_nowhere_are_named():
    with pytest.raises(DataError, match=r"no\.png .*never"):
        open_images("no.png, never/*.png")
    with pytest.raises(DataError, match="No image was named"):
        open_images(" , ")


def test_a_few_images_are_drawn_with_the_seed_and_stay_in_order(tmp_path):
    found = open_images(str(write_heads(tmp_path / "heads", n=6)))
    draws = {tuple(drawn_images(found, 2, seed=seed).table["id"]) for seed in range(20)}
    names = found.table["id"].tolist()
    assert len(draws) > 5 and all(names.index(a) < names.index(b) for a, b in draws)
    again = [drawn_images(found, 2, seed=3).table["id"].tolist() for _ in range(2)]
    assert again[0] == again[1] and len(again[0]) == 2
    assert len(drawn_images(found, 99, seed=0)) == 6
    assert not drawn_images(found, 6, seed=0).whole
    with pytest.raises(ParameterError, match="count.*at least 1.*Found: 0"):
        drawn_images(found, 0, seed=0)
