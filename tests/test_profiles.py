import pytest
import yaml

from fetalclip_nb import profiles
from fetalclip_nb.errors import ProfileError

GOOD = {
    "name": "own",
    "data": {"hc18": {"kind": "hc18", "root": "data/hc18"}},
    "models": ["phantomclip"],
    "notebooks": {"02_gestational_age": {"data": "hc18"}},
}
FEW = {"patients": 2, "seed": 1}


def write(tmp_path, **changes):
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_the_shipped_profiles_are_valid(repository, monkeypatch):
    monkeypatch.chdir(repository)
    demo, paper = profiles.load_profile("demo"), profiles.load_profile("paper")
    assert demo.synthetic and not paper.synthetic
    assert demo.folder == repository / "build" / "demo"
    names = {path.stem for path in (repository / "notebooks").glob("*.ipynb")}
    assert set(demo.notebooks) == set(paper.notebooks) == names


def test_data_may_go_without_embeddings(tmp_path):
    source = {"kind": "hc18", "root": "x"}
    for given, expected in ((source, True), ({**source, "embed": False}, False)):
        profile = profiles.load_profile(write(tmp_path, data={"hc18": given}))
        assert profile.data["hc18"].embed is expected
    with pytest.raises(ProfileError, match="hc18, key embed.*true or false.*'no'"):
        profiles.load_profile(write(tmp_path, data={"hc18": {**source, "embed": "no"}}))


def test_defaults_and_absolute_roots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "hc18").mkdir(parents=True)
    profile = profiles.load_profile(write(tmp_path))
    assert (profile.device, profile.precision) == ("auto", "auto")
    assert profile.data["hc18"].root == tmp_path / "data" / "hc18"
    assert profile.notebooks == {"02_gestational_age": {"data": "hc18"}}


@pytest.mark.parametrize("view", [{}, *({"view": view} for view in profiles.VIEWS)])
def test_a_manifest_of_phantoms_may_name_its_view(tmp_path, view):
    trunks = {"kind": "manifest", "root": "x", "phantoms": {**FEW, **view}}
    path = write(tmp_path, data={"hc18": trunks})
    assert profiles.load_profile(path).data["hc18"].phantoms == {**FEW, **view}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modles": []}, "wrong keys.*unknown modles"),
        ({"models": "phantomclip"}, "wrong type.*key models.*list.*'phantomclip'"),
        ({"name": "../x"}, "no folder name"),
        ({"notebooks": {"02": {"data": "mri"}}}, "names data.*key data.*hc18.*'mri'"),
        ({"data": {"hc18": {"kind": "mri", "root": "x"}}}, "Unknown kind of data.*hc18.*mri"),
        ({"data": {"hc18": {"kind": "hc18"}}}, "no root"),
        ({"data": {"hc18": {"kind": "hc18", "root": "x", "phantoms": {"n": 3}}}}, "unknown n"),
        ({"data": {"hc18": {"kind": "hc18", "root": "x", "phantoms": 3}}}, "Phantoms are no mapp"),
        (
            {"data": {"hc18": {"kind": "hc18", "root": "x", "phantoms": {**FEW, "view": "chd"}}}},
            "hc18, phantoms.*Expected: patients, seed. Found: unknown view",
        ),
        (
            {"data": {"hc18": {"kind": "manifest", "root": "x", "phantoms": {**FEW, "view": []}}}},
            r"Unknown view.*hc18, phantoms, key view.*chd, abdomen, four_chamber.*Found: \[\]",
        ),
    ],
)
def test_wrong_profiles(tmp_path, changes, message):
    with pytest.raises(ProfileError, match=message):
        profiles.load_profile(write(tmp_path, **changes))


def test_missing_and_malformed_files(tmp_path, repository, monkeypatch):
    monkeypatch.chdir(repository)
    with pytest.raises(ProfileError, match="missing.*one of demo, paper"):
        profiles.load_profile("dmeo")
    path = tmp_path / "x.yaml"
    path.write_text("a: [")
    with pytest.raises(ProfileError, match="no YAML"):
        profiles.load_profile(path)


def test_yaml_cannot_build_objects(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(ProfileError, match="no YAML"):
        profiles.load_profile(path)
