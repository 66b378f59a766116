import json

import pytest
import yaml

from fetalclip_nb import profiles
from fetalclip_nb.data.kinds import KINDS
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


@pytest.mark.parametrize(("given", "expected"), [({}, True), ({"embed": False}, False)])
def test_data_may_go_without_embeddings(tmp_path, given, expected):
    assert profiles.load_profile(write(tmp_path, **source(**given))).data["hc18"].embed is expected


def test_defaults_and_absolute_roots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "hc18").mkdir(parents=True)
    profile = profiles.load_profile(write(tmp_path))
    assert (profile.device, profile.precision) == ("auto", "auto")
    assert profile.data["hc18"].root == tmp_path / "data" / "hc18"
    assert profile.notebooks == {"02_gestational_age": {"data": "hc18"}}


@pytest.mark.parametrize("view", [{}, *({"view": view} for view in KINDS["manifest"].phantoms)])
def test_a_manifest_of_phantoms_may_name_its_view(tmp_path, view):
    trunks = {"kind": "manifest", "root": "x", "phantoms": {**FEW, **view}}
    path = write(tmp_path, data={"hc18": trunks})
    assert profiles.load_profile(path).data["hc18"].phantoms == {**FEW, **view}


def test_the_schema_knows_the_kinds_of_data_that_there_are(repository):
    schema = json.loads((repository / "profiles" / profiles.SCHEMA).read_text())
    source, phantoms = schema["$defs"]["source"], schema["$defs"]["phantoms"]
    assert source["properties"]["kind"]["enum"] == [*KINDS, "released"]
    drawn, viewed = (rule["then"]["properties"]["kind"]["enum"] for rule in source["allOf"])
    assert drawn == [name for name, kind in KINDS.items() if kind.phantoms]
    assert viewed == [name for name, kind in KINDS.items() if len(kind.phantoms) > 1]
    assert phantoms["properties"]["view"]["enum"] == [*KINDS["manifest"].phantoms]


def test_editors_find_the_schema_of_the_shipped_profiles(repository):
    for path in (repository / "profiles").glob("*.yaml"):
        first = path.read_text().splitlines()[0]
        assert first == f"# yaml-language-server: $schema={profiles.SCHEMA}"


def source(**changes):
    return {"data": {"hc18": {"kind": "hc18", "root": "x", **changes}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modles": []}, r"file: .*'modles' was unexpected\) \(name, description, device, .*"),
        ({"models": "phantomclip"}, "models: 'phantomclip' is not of type 'array' .list of"),
        ({"name": "../x"}, r"name: '\.\./x' does not match.*letters, digits, - and _"),
        ({"notebooks": {"02": {"data": "mri"}}}, "names data.*key data.*hc18.*'mri'"),
        ({"notebooks": {"02": ["data"]}}, "notebooks 02: .*not of type 'object'"),
        (source(kind="mri"), "data hc18 kind: 'mri' is not one of .*'hc18'"),
        ({"data": {"hc18": {"kind": "hc18"}}}, r"data hc18: 'root' is a required .*kind, root"),
        ({"data": {"hc18": "x"}}, "data hc18: 'x' is not of type 'object'"),
        (source(embed="no"), "data hc18 embed: 'no' .*true or false"),
        (source(phantoms={"n": 3}), "data hc18 phantoms: .*'n' was unexpected.*patients, seed"),
        (source(phantoms=3), "data hc18 phantoms: 3 is not of type 'object'"),
        (source(phantoms={**FEW, "patients": 0}), "patients: 0 is less than the minimum of 1"),
        (source(phantoms={**FEW, "view": "chd"}), "kind: 'hc18' is not .*phantoms have a view"),
        (source(kind="manifest", phantoms={**FEW, "view": []}), r"phantoms view: \[\] is .*'chd'"),
        (source(kind="released", phantoms=FEW), "kind: 'released' is .*drawn as phantoms"),
        ({"models": 3, **source(kind="mri")}, "'mri' .*; models: 3 .*: correct these settings"),
    ],
)
def test_wrong_profiles(tmp_path, changes, message):
    with pytest.raises(ProfileError, match=f"own.yaml.*Found: .*{message}|{message}"):
        profiles.load_profile(write(tmp_path, **changes))


def test_a_missing_file_names_the_shipped_ones(repository, monkeypatch):
    monkeypatch.chdir(repository)
    with pytest.raises(ProfileError, match="missing.*one of bench, demo, paper"):
        profiles.load_profile("dmeo")


_TEXT = yaml.safe_dump(GOOD)
_BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "no YAML"),
        ("name: !!python/object/apply:os.getcwd []", "no YAML"),
        (b"name: f\xf6tus", "no YAML"),
        ("a: " + "[" * 500 + "]" * 500, "lists in each other"),
        ("[" * 100_000, "lists in each other"),
        (_TEXT.replace("data: hc18", "data: {data_root: [a]}"), r"Found: \['a'\]"),
        ("name: 2001-99-99", "month must be"),
        (_TEXT + "2001-01-01: x", "no YAML|another form"),
        (_TEXT.replace("notebooks:", "notebooks: x\nx:"), "another form"),
        (_TEXT.replace("root: data/hc18", "root: ''"), "hc18 root: '' does not match"),
        (_TEXT.replace("root: data/hc18", r'root: "a\0b"'), "hc18 root: .* does not match"),
        (_TEXT + "name: other", "stands twice: name.*line 11"),
        (_TEXT + "  02_gestational_age: {}", "stands twice: 02_gestational_age.*line"),
        (_TEXT + _BOMB, "more than 20 aliases"),
        ("&a [*a]", "another form|recursion|no YAML"),
        ("", "another form"),
    ],
)
def test_files_of_another_form_are_one_error_that_names_them(tmp_path, content, message):
    path = tmp_path / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ProfileError, match=f"x.yaml.*(?:{message})|(?:{message}).*x.yaml"):
        profiles.load_profile(path)


def test_keys_that_are_merged_or_shared_stand_once(tmp_path):
    path = tmp_path / "own.yaml"
    shared = "notebooks:\n  01: &a {data: hc18, k: 1}\n  '02': {<<: *a, k: 2}\n  03: {<<: *a}\n"
    path.write_text(_TEXT[: _TEXT.index("notebooks:")] + shared, "utf-16")
    assert [values["k"] for values in profiles.load_profile(path).notebooks.values()] == [1, 2, 1]
