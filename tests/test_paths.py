"""How paths are shown."""

from pathlib import Path

from fetalclip_nb.paths import shown


def test_paths_are_short_below_a_folder_only(tmp_path):
    here = tmp_path / "here"
    assert shown(here / "x" / "a.png", here) == str(Path("x", "a.png"))
    assert shown(tmp_path / "a.png", here) == str(tmp_path / "a.png")
    assert shown("a.png", here) == "a.png"
