from pathlib import Path

import pytest

from fetalclip_nb.models.names import model_files, model_name, parse_models, split_spec
from fetalclip_nb.paths import SHIPPED


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with configs and checkpoints in folders of odd names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FETALCLIP_NB_MODELS", str(tmp_path / "down"))
    for folder in ("lr=1e-4", "a,b", "c++", "x.json+y"):
        Path(folder).mkdir()
        Path(folder, "c.json").touch()
        Path(folder, "w=1.pt").touch()
    return tmp_path


@pytest.mark.parametrize("folder", ["lr=1e-4", "a,b", "c++", "x.json+y"])
@pytest.mark.parametrize("name", ["", "ours"])
def test_separators_inside_paths_that_are_there_separate_nothing(folder, name, here):
    source = f"{folder}/c.json+{folder}/w=1.pt"
    spec = f"{name}={source}" if name else source
    assert split_spec(spec) == (name, source)
    assert model_name(spec) == (name or "w-1")
    assert model_files(spec) == [here / folder / "c.json", here / folder / "w=1.pt"]
    assert parse_models(f"phantomclip, {spec} ,clip") == ["phantomclip", spec, "clip"]
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        Path(folder, name).touch()
    assert parse_models(f"clip,local-dir:{folder}") == ["clip", f"local-dir:{folder}"]


@pytest.mark.parametrize(
    ("spec", "split"),
    [
        ("v1.2=clip", ("v1.2", "clip")),
        (r"C:\a\c.json+D:\b=2\w.pt", ("", r"C:\a\c.json+D:\b=2\w.pt")),
        (r"o=C:\a\c.json+D:\w.pt", ("o", r"C:\a\c.json+D:\w.pt")),
        ("/absent/lr=1/c.JSON+w=1.ckpt", ("", "/absent/lr=1/c.JSON+w=1.ckpt")),
        ("local-dir:lr=2", ("", "local-dir:lr=2")),
    ],
)
def test_a_name_is_what_can_be_no_path(spec, split):
    assert split_spec(spec) == split


def test_files_behind_a_model(here):
    assert SHIPPED / "open_clip_model.safetensors" in model_files("ours=phantomclip")
    down = here / "down" / "fetalclip"
    config, weights = down / "FetalCLIP_config.json", down / "FetalCLIP_weights.pt"
    assert model_files("fetalclip") == [config, weights]
    assert model_files("fetalclip-untrained") == [config]
    words = down / "bert" / "vocab.txt"
    words.parent.mkdir(parents=True)
    words.touch()
    assert model_files("fetalclip") == [config, weights, words]
    own = here / "down" / "clip" / "open_clip_config.json"
    own.parent.mkdir()
    own.touch()
    assert model_files("clip")[0] == own
    own.unlink()
    assert model_files("c++/c.json-untrained") == [here / "c++" / "c.json"]
    assert [model_files(spec) for spec in ("clip", "ViT-B-32/openai", "hf-hub:a/b")] == [[]] * 3


def test_a_list_longer_than_a_path_may_be_is_split():
    names = ["local-dir:absent", *["phantomclip"] * 30]
    assert parse_models(",".join(names)) == names
