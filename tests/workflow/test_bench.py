"""What `fetalclip-nb bench` asks of a model, and the table that its rows make."""

from dataclasses import replace

import pandas as pd
import pytest

from fetalclip_nb.cli import main
from fetalclip_nb.errors import DataError, ModelError, ParameterError
from fetalclip_nb.experiments.summary import flat
from fetalclip_nb.models.model import load_model
from fetalclip_nb.profiles import load_profile, named_data
from fetalclip_nb.workflow import bench
from helpers import write_heads, write_image, write_planes

ENCODER = """import torch


def grey(images):
    return torch.nn.functional.avg_pool2d(images[:, :1], 28).flatten(1) + 1
"""
FLOOR = "majority class"
PROFILE = """name: small
data:
  scans: {kind: manifest, root: FOLDER}
models: [phantomclip]
notebooks:
  01_zero_shot: {data: scans}
  03_linear_probing:
    data: scans
    chd_root: ""
    folds: 2
    runs: 1
    copies: 1
    epochs: 2
    probe_batch: 4
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Where profiles of models go."""
    monkeypatch.setattr(bench, "project_root", lambda: tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """A user's own function, which has no text, no blocks and no maps."""
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(ENCODER)
    return f"grey={path}:grey"


def test_a_model_is_asked_what_it_can_do(root, grey):
    base, model = load_profile("bench"), load_model("phantomclip", device="cpu")
    whole = bench.tailored(base, "phantomclip", model)
    assert (whole.name, whole.models) == ("bench-phantomclip", ["phantomclip"])
    for name, values in base.notebooks.items():
        same = values | {"data": named_data(values["data"])}
        assert whole.notebooks[name] == same
    assert whole.data == base.data
    silent = bench.tailored(base, "phantomclip", replace(model, tokenizer=None))
    assert base.notebooks.keys() - silent.notebooks.keys() == {
        "01_zero_shot",
        "02_gestational_age",
    }
    alone = bench.tailored(base, grey, load_model(grey, device="cpu"))
    assert [*alone.notebooks] == ["03_linear_probing", "05_few_data", "07_embeddings"]
    assert alone.notebooks["05_few_data"]["hc18_root"] == ""
    assert alone.notebooks["05_few_data"]["data"] == {"data_root": "images"}
    few = replace(base, notebooks={"02_gestational_age": base.notebooks["02_gestational_age"]})
    with pytest.raises(ModelError, match="none of the experiments.*Found: .*text"):
        bench.tailored(few, grey, load_model(grey, device="cpu"))


@pytest.mark.parametrize("name", ["demo", "paper"])
def test_any_profile_gives_the_sizes_and_its_clips_are_no_own_classes(name, root):
    base, model = load_profile(name), load_model("phantomclip", device="cpu")
    made = bench.tailored(base, "phantomclip", model)
    left = {"09_summary", "00_quickstart"}
    assert made.notebooks.keys() == base.notebooks.keys() - left
    assert made.leaves_out == base.leaves_out
    assert not any("models" in values for values in made.notebooks.values())
    for chapter in ("01_zero_shot", "05_few_data"):
        given = base.notebooks[chapter].get("plane_prompts")
        assert made.notebooks[chapter].get("plane_prompts") == given


def test_data_of_ones_own_take_the_place_of_all(root, tmp_path):
    base, model = load_profile("bench"), load_model("phantomclip", device="cpu")
    heads, planes = tmp_path / "heads", write_planes(tmp_path / "planes")
    write_heads(heads)
    both = bench.tailored(base, "phantomclip", model, [str(heads), str(planes)])
    assert {name: (s.kind, s.root) for name, s in both.data.items()} == {
        "heads": ("hc18", heads),
        "images": ("fetal_planes", planes),
    }
    assert both.notebooks["01_zero_shot"]["external_root"] == ""
    only = bench.tailored(base, "phantomclip", model, [str(heads)])
    assert [*only.notebooks] == ["02_gestational_age", "04_segmentation"]
    write_image(tmp_path / "own" / "a.png")
    (tmp_path / "own" / "manifest.csv").write_text("image,label,patient\na.png,sac,p\n")
    own = bench.tailored(base, "phantomclip", model, [str(tmp_path / "own")])
    assert "01_zero_shot" not in own.notebooks
    assert own.notebooks["05_few_data"]["plane_prompts"] == ""
    sentences = tmp_path / "prompts.json"
    with pytest.raises(DataError, match="Prompt file is missing"):
        bench.tailored(base, "phantomclip", model, [str(tmp_path / "own")], str(sentences))
    sentences.write_text('{"sac": ["a sac"], "pole": ["a pole"]}')
    with pytest.raises(ParameterError, match="manifest, and there is none.*Found: heads"):
        bench.tailored(base, "phantomclip", model, [str(heads)], str(sentences))
    asked = bench.tailored(base, "phantomclip", model, [str(tmp_path / "own")], str(sentences))
    assert asked.notebooks["01_zero_shot"]["plane_prompts"] == str(sentences)
    with pytest.raises(ParameterError, match=r"no use.*one folder of each.*nowhere \(unknown"):
        bench.tailored(base, "phantomclip", model, [str(tmp_path / "nowhere")])
    with pytest.raises(ParameterError, match=r"no use.*heads \(hc18\)"):
        bench.tailored(base, "phantomclip", model, [str(heads), str(heads)])


def test_a_baseline_has_one_row_whatever_models_it_came_with(tmp_path, monkeypatch):
    def rows(model, **values):
        known = {f"{m}/{part}": v for m, v in values.items() for part in ("value", "low", "high")}
        both = [{"model": name, "protocol": str([*values]), **known} for name in (model, FLOOR)]
        return flat._typed(pd.DataFrame(both))

    asked = {"zero_shot/five_planes/f1_macro": 0.1, "linear_probe/six_planes/f1_macro": 0.2}
    probed = dict([*asked.items()][1:])
    made = [
        rows("a", **asked),
        rows("b", **probed),
        rows("c", **probed | {"segmentation/head/dsc": 0.9}),
    ]
    for table in made:
        monkeypatch.setattr(bench, "flat_table", lambda _, table=table: table)
        bench.add_row(load_profile("bench"), tmp_path)
    found = flat.read_flat(tmp_path / bench.ROWS)
    assert found["model"].tolist() == ["a", FLOOR, "b", "c", FLOOR]


def test_an_own_function_has_a_row_and_the_same_row_again(tmp_path, grey, capsys):
    scans = tmp_path / "scans"
    rows = [(f"{k}-{i}.png", f"class {k}", f"P{k}{i}") for k in range(2) for i in range(10)]
    for name, *_ in rows:
        write_image(scans / name)
    table = pd.DataFrame(rows, columns=["image", "label", "patient"])
    table.to_csv(scans / "manifest.csv", index=False)
    profile = tmp_path / "small.yaml"
    profile.write_text(PROFILE.replace("FOLDER", str(scans)))
    words = ["bench", grey, "--profile", str(profile), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "03_linear_probing" in said and "01_zero_shot" not in said
    assert "probe own classes" in said
    first = (tmp_path / "out" / bench.ROWS).read_bytes()
    assert main(words) == 0 and "up to date" in capsys.readouterr().out
    assert (tmp_path / "out" / bench.ROWS).read_bytes() == first
    found = pd.read_csv(tmp_path / "out" / bench.ROWS)
    assert sorted(found["model"]) == ["grey", "majority class", "pixels"]
