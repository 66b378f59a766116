import pytest

from fetalclip_nb import profiles
from fetalclip_nb.data import sources
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.profiles import DataSource
from helpers import write_heads


def test_phantoms_are_drawn_once_and_opened(tmp_path):
    source = DataSource("hc18", tmp_path / "heads", phantoms={"patients": 3, "seed": 1})
    assert sources.prepare(source) == tmp_path / "heads"
    stamp = (tmp_path / "heads" / "phantom.json").stat().st_mtime_ns
    sources.prepare(source)
    assert (tmp_path / "heads" / "phantom.json").stat().st_mtime_ns == stamp
    assert load_dataset("hc18", tmp_path / "heads").synthetic


def test_the_word_demo_draws_the_demo_profiles_phantoms(tmp_path, monkeypatch):
    small = DataSource("hc18", tmp_path / "demo", phantoms={"patients": 2, "seed": 1})
    profile = profiles.Profile("demo", tmp_path, "", "auto", "auto", {"hc18": small}, [])
    monkeypatch.setattr(sources, "load_profile", lambda name: profile)
    assert load_dataset("hc18", sources.data_folder("demo", demo="hc18")).synthetic


def test_the_word_demo_is_refused_where_there_are_no_phantoms():
    with pytest.raises(ParameterError, match="nothing in place of 'released'.*name a folder"):
        sources.data_folder("demo", demo="released")


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


def test_own_folders_are_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(write_heads(tmp_path / "own").parent)
    assert sources.data_folder("own", demo="hc18") == tmp_path / "own"
    assert not (tmp_path / "own" / "phantom.json").exists()


@pytest.mark.parametrize(
    ("view", "label"),
    [(None, {"normal", "CHD"}), ("abdomen", {"abdomen"}), ("four_chamber", {"four_chamber"})],
)
def test_a_manifest_of_phantoms_shows_the_view_that_is_asked_for(tmp_path, view, label):
    asked = {"patients": 2, "seed": 1} | ({"view": view} if view else {})
    source = DataSource("manifest", tmp_path / "own", phantoms=dict(asked))
    found = load_dataset("manifest", sources.prepare(source))
    assert set(found.table["label"]) == label and found.table["patient"].nunique() == 2
    assert source.phantoms == asked  # a source can be prepared again
    assert ("mask_spine" in found.table) == bool(view)
