"""How paths are read and shown."""

from pathlib import Path

import pytest

from fetalclip_nb.paths import expanded, resolve, shown


def test_paths_are_short_below_a_folder_only(tmp_path):
    here = tmp_path / "here"
    assert shown(here / "x" / "a.png", here) == str(Path("x", "a.png"))
    assert shown(tmp_path / "a.png", here) == str(tmp_path / "a.png")
    assert shown("a.png", here) == "a.png"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("~", "home"),
        ("~/a", "home/a"),
        ("./~", "here/~"),
        ("a~", "here/a~"),
        ("~no such user", "here/~no such user"),
    ],
)
def test_home_is_what_begins_with_its_sign(tmp_path, monkeypatch, given, found):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / found).mkdir(parents=True)
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    assert resolve(given) == expanded(given).absolute() == tmp_path / found
