"""What was replaced is seen, whatever its size and date; what was only touched is not."""

import os
from pathlib import Path

import pytest

from fetalclip_nb.workflow.parameters import Parameter
from fetalclip_nb.workflow.states import outside_state, state
from tiny import project


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A checkout that is the current folder."""
    monkeypatch.chdir(project(tmp_path))
    monkeypatch.delenv("FETALCLIP_NB_MODELS", raising=False)
    return tmp_path


def put(path: str, text: str = "old") -> None:
    """A file whose date lies in the past, as `cp -p`, `rsync -a` and `tar x` leave it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize(
    ("parameter", "value", "files"),
    [
        ("models", "phantomclip, ours=local-dir:./mod", ["mod/open_clip_model.safetensors"]),
        ("models", "a=c.json+lr=1, b/w.pt", ["lr=1, b/w.pt", "c.json"]),
        ("models", "fetalclip", ["build/models/fetalclip/FetalCLIP_weights.pt"]),
        ("models", "my models/c.json-untrained", ["my models/c.json"]),
        ("data_root", "my data, a=1+b:c", ["my data, a=1+b:c/deep/1.png"]),
        ("data_root", "mydata", ["mydata/manifest.CSV"]),
        ("data_root", "own/Table.csv", ["own/Table.csv", "own/pictures/1 a.png"]),
        ("data_root", "linked", ["linked/inner/1.png"]),
        ("images", "a b.png, scans [1], more/**/*.png", ["a b.png", "scans [1]/1", "more/x/1.png"]),
        ("prompts", "my prompts+1.json", ["my prompts+1.json"]),
    ],
)
def test_a_file_that_is_replaced_changes_the_state(parameter, value, files):
    put("elsewhere/1.png")
    for file in files:
        put(file, "image;label\npictures/1 a.png;x\n" if file == "own/Table.csv" else "old")
    if value == "linked":
        Path("linked/inner/1.png").unlink()
        Path("linked/inner").rmdir()
        Path("linked/inner").symlink_to("../elsewhere")
        Path("linked/back").symlink_to(".")  # must not hang
    seen = [outside_state({}, {parameter: value})]
    os.utime(files[0])
    assert outside_state({}, {parameter: value}) == seen[0]
    for file in files:
        put(file, Path(file).read_text()[:-1] + "!")
        seen.append(outside_state({}, {parameter: value}))
        assert seen[-1] != seen[-2]
    Path(files[0]).unlink()
    assert outside_state({}, {parameter: value}) != seen[-1]


def test_results_of_the_chapters_that_a_notebook_reads_are_its_inputs():
    """And what was left out; no other chapter's results, and not the notebook's own."""
    declared = {"chapters": Parameter("str", "one, two"), "results_dir": Parameter("str", "r")}
    seen = [outside_state(declared, {})]
    for path in ("r/one/model_m.json", "r/two/predictions/model_m.parquet", "r/left_out.json"):
        put(path)
        seen.append(outside_state(declared, {}))
        assert seen[-1] != seen[-2]
    put("r/three/model_m.json")
    assert outside_state(declared, {}) == seen[-1]
    assert outside_state(declared, {"chapters": "three"}) != seen[-1]


def test_texts_that_lead_to_no_file_have_no_state():
    put("one/1.png")
    texts = [
        "",
        " ",
        "demo",
        "x" * 999,
        "~nobody/x",
        "a\0b",
        "the heart, in 4 chambers [a]?",
        "/no",
    ]
    texts = {str(number): text for number, text in enumerate(texts)}
    assert outside_state({"count": Parameter("int", 3)}, texts) == {}
    used = dict.fromkeys(("profile", "results_dir", "cache_dir", "device"), "one")
    assert outside_state({name: Parameter("str", "one") for name in used}, used) == {}
    assert list(outside_state({"root": Parameter("str", "one")}, {})) == ["one"]


def test_a_copy_and_what_looking_leaves_behind_change_nothing(here):
    put("one/1.png")
    before = state(here / "one")
    put("one/.DS_Store")
    put("two/one/1.png")
    assert state(here / "one") == state(here / "two/one") == before
    put("one/2.png")
    assert state(here / "one") != before
    assert state(here / "none") == state()
