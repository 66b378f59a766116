import pytest

from fetalclip_nb import profiles
from fetalclip_nb.data import sources
from fetalclip_nb.errors import DataError, ProfileError
from fetalclip_nb.profiles import DataSource
from helpers import write_heads


def test_phantoms_are_drawn_once_and_opened(tmp_path):
    source = DataSource("hc18", tmp_path / "heads", phantoms={"patients": 3, "seed": 1})
    assert sources.prepare(source) == tmp_path / "heads"
    stamp = (tmp_path / "heads" / "phantom.json").stat().st_mtime_ns
    sources.prepare(source)
    assert (tmp_path / "heads" / "phantom.json").stat().st_mtime_ns == stamp
    assert sources.open_dataset("hc18", str(tmp_path / "heads")).synthetic


def test_the_word_demo_draws_the_demo_profiles_phantoms(tmp_path, monkeypatch):
    small = DataSource("hc18", tmp_path / "demo", phantoms={"patients": 2, "seed": 1})
    profile = profiles.Profile("demo", tmp_path, "", "auto", "auto", {"hc18": small}, [])
    monkeypatch.setattr(sources, "load_profile", lambda name: profile)
    assert sources.open_dataset("hc18", "demo").table["patient"].nunique() == 2


def test_downloads_go_where_the_profile_says(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sources.fetch, "fetch", lambda *a: asked.append(("fetch", *a)))
    monkeypatch.setattr(sources.fetch, "prepare_dataset", lambda *a: asked.append(("data", *a)))
    sources.prepare(DataSource("released", tmp_path / "r", download="fetalclip-released"))
    sources.prepare(DataSource("hc18", tmp_path / "h", download="hc18"))
    sources.prepare(DataSource("hc18", tmp_path / "own"))
    assert asked == [
        ("fetch", "fetalclip-released", tmp_path / "r"),
        ("data", "hc18", tmp_path / "h"),
    ]


def test_own_folders_are_read_as_they_are(tmp_path):
    assert len(sources.open_dataset("hc18", str(write_heads(tmp_path / "own")))) == 6
    with pytest.raises(DataError, match="Data folder is missing"):
        sources.open_dataset("hc18", str(tmp_path / "none"))
    wrong = DataSource("released", tmp_path, phantoms={"patients": 2, "seed": 1})
    with pytest.raises(ProfileError, match="No phantoms of this kind"):
        sources.prepare(wrong)


def test_every_view_of_a_profile_has_phantoms():
    assert tuple(sources._VIEWS) == profiles.VIEWS


@pytest.mark.parametrize(
    ("view", "label"),
    [(None, {"normal", "CHD"}), ("abdomen", {"abdomen"}), ("four_chamber", {"four_chamber"})],
)
def test_a_manifest_of_phantoms_shows_the_view_that_is_asked_for(tmp_path, view, label):
    asked = {"patients": 2, "seed": 1} | ({"view": view} if view else {})
    source = DataSource("manifest", tmp_path / "own", phantoms=dict(asked))
    root = sources.prepare(source)
    found = sources.open_dataset("manifest", str(root))
    assert set(found.table["label"]) == label and found.table["patient"].nunique() == 2
    assert source.phantoms == asked  # a source can be prepared again
    assert ("mask_spine" in found.table) == bool(view)


def test_views_without_phantoms_are_named(tmp_path):
    asked = {"patients": 2, "seed": 1, "view": "pelvis"}
    with pytest.raises(ProfileError, match="No phantoms.*own.*view abdomen.*Found: pelvis"):
        sources.prepare(DataSource("manifest", tmp_path / "own", phantoms=asked))
    assert not (tmp_path / "own").exists()
