import json

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.errors import DataError, ModelError, ParameterError
from fetalclip_nb.results import result_files
from fetalclip_nb.results.result_files import RECORD
from fetalclip_nb.stats.answers import answer_table
from fetalclip_nb.stats.scores import Score
from fetalclip_nb.workflow import session
from helpers import write_heads, write_image

TEXTS = ("profile", "data_root", "models", "results_dir", "cache_dir", "device", "precision")
ANNOTATIONS = {**dict.fromkeys(TEXTS, str), "seed": int, "rate": float}


def namespace(tmp_path, **changes):
    values = {
        "profile": "test",
        "data_root": str(tmp_path / "heads"),
        "models": "phantomclip-untrained",
        "results_dir": str(tmp_path / "results"),
        "cache_dir": str(tmp_path / "cache"),
        "device": "cpu",
        "precision": "auto",
        "seed": 0,
        "rate": 1,
    }
    return {"__annotations__": ANNOTATIONS, **values, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache_dir": __file__}, r"cannot be written to.*cache_dir.*test_session\.py.*another"),
        ({"seed": -1}, r"Where: seed\. Found: -1"),
        ({"seed": "0", "rate": True}, r"seed = '0' is str.*rate = True is bool"),
        ({"device": "gpu"}, "Unknown device"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(tmp_path, changes, message):
    with pytest.raises(ParameterError, match=message):
        session.start("02", namespace(tmp_path, **changes))


def test_parameters_that_every_notebook_has_are_missed(tmp_path):
    without = namespace(tmp_path)
    del without["models"]
    with pytest.raises(ParameterError, match="lacks parameters.*models"):
        session.start("02", without)


@pytest.mark.parametrize(
    "names",
    ["pixels", "majority class", "x (CHD)", "x, X", "a_b, a-b", "x=phantomclip, x=phantomclip"],
)
def test_model_names_that_could_be_taken_for_others_are_refused(tmp_path, names):
    names = ", ".join(name if "=" in name else f"{name}=phantomclip" for name in names.split(", "))
    with pytest.raises(ParameterError, match="repeated or cannot be used.*Where: models"):
        session.start("02", namespace(tmp_path, models=names))
    assert not (tmp_path / "results" / "02").exists()


def test_models_may_be_called_like_baselines_side_files_and_other_rows(tmp_path):
    names = ("majority-class", "facts", "headline", "x", "x-chd", "x-nearest-neighbours")
    models = ", ".join(f"{name}=phantomclip" for name in names)
    assert session.start("02", namespace(tmp_path, models=models)).model_names == [*names]


SCORES = {"vpr": {"patient": Score(0.5, 0.4, 0.6, 0.5, 6, 4)}}


@pytest.fixture
def start(tmp_path):
    """Starts a run on a few heads."""
    write_heads(tmp_path / "heads")
    return lambda: session.start("02", namespace(tmp_path))


def test_all_texts_are_one_output_of_the_last_cell(start, monkeypatch):
    """Hundreds of messages at once outlast papermill's patience on a busy machine."""
    run = start()
    run.save("m", SCORES)
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
    run.finish({"images": 6})
    assert outputs == [{RECORD: result_files.render_glue(run.folder), "text/plain": ""}]


def test_a_run_leaves_the_last_whole_results_alone_until_it_finishes(start, tmp_path):
    folder = tmp_path / "results" / "02"
    for value in ("first", "second"):
        run = start()
        run.dataset("hc18")
        run.save(value, SCORES)
        if value == "first":
            run.finish({"images": 6})
    assert list(result_files.load_results(folder)) == ["first"]
    run.finish({"images": 6})
    assert list(result_files.load_results(folder)) == ["second"]
    assert not list(folder.parent.glob("*.partial"))
    glued = json.loads((folder / "glue.json").read_text())
    assert glued == result_files.render_glue(folder)


def test_results_state_device_precision_model_and_data(start):
    run = start()
    data = run.dataset("hc18")
    model = next(run.load_models())
    run.save(model.name, SCORES)
    row = run.results()[model.name]
    assert row.provenance["model"]["fingerprint"] == model.fingerprint
    assert row.provenance["dataset_fingerprint"] == data.fingerprint
    assert row.provenance["precision"] == "fp32"
    assert row.provenance["device"].startswith("cpu")
    assert not row.synthetic


def test_rows_with_answers_for_the_same_images_are_compared_with_the_first(start):
    run = start()
    items = np.array(list("abcdefgh")), np.repeat([*"pqrs"], 2)
    for name, right in (("m", [1] * 8), ("n", [0, 0, 1, 1, 1, 1, 1, 1]), ("o", [1] * 4)):
        said = answer_table(*(each[: len(right)] for each in items), part=np.array(right), whole=1)
        run.save(name, SCORES, answers={"vpr": said})
    run.save("without answers", SCORES)
    found = {title: row.differences for title, row in run.results().items()}
    assert {title: list(each) for title, each in found.items() if each} == {"n": ["vpr"]}
    assert (found["n"]["vpr"].value, found["n"]["vpr"].groups) == (-0.25, 4)
    assert {path.stem for path in run.folder.glob("predictions/*")} == {
        "model_m",
        "model_n",
        "model_o",
    }
    saved = pd.read_parquet(run.folder / "predictions" / "model_n.parquet")
    assert list(saved) == ["metric", "image", "patient", "run", "part", "whole"]
    assert saved["image"].dtype == "category" and saved["part"].mean() == 0.75


ENCODER = """import torch


def grey(images):
    return torch.nn.functional.avg_pool2d(images[:, :1], 28).flatten(1) + 1
"""


def test_a_model_that_does_not_fit_is_a_line_and_no_headline(tmp_path, capsys):
    write_heads(tmp_path / "heads")
    (tmp_path / "own.py").write_text(ENCODER)
    own = f"{tmp_path}/own.py:grey"
    run = session.start("01", namespace(tmp_path, models=f"grey={own}, phantomclip"))
    assert [model.name for model in run.load_models()] == ["grey", "phantomclip"]
    for part in (True, False):
        assert [m.name for m in run.load_models("text", part=part)] == ["phantomclip"]
        assert run.model_names == ["grey", "phantomclip"][1 - part :]
        assert "Left out" in (said := capsys.readouterr().out) and "grey. Model reads" in said
    run.finish({})
    facts = result_files.load_facts(tmp_path / "results" / "01")
    assert facts["unfit"] == {"grey": "model reads no text"}
    alone = session.start("04", namespace(tmp_path, models=f"grey={own}"))
    assert list(alone.load_models("blocks", part=True)) == []
    for need in ("text", "blocks", "maps"):
        with pytest.raises(ModelError, match="No model fits this chapter. Where: 04.*grey: "):
            list(alone.load_models(need))


def test_labelled_images_are_planes_or_a_manifest(tmp_path):
    write_heads(tmp_path / "heads")
    run = session.start("01", namespace(tmp_path))
    with pytest.raises(DataError, match="labelled images.*manifest.csv.*Found: hc18"):
        run.classified()
    (tmp_path / "empty").mkdir()
    run = session.start("01", namespace(tmp_path, data_root=str(tmp_path / "empty")))
    with pytest.raises(DataError, match="Found: a folder of an unknown layout"):
        run.classified()
    write_image(tmp_path / "own" / "a.png")
    (tmp_path / "own" / "manifest.csv").write_text("image,label,patient\na.png,sac,p\n")
    run = session.start("01", namespace(tmp_path, data_root=str(tmp_path / "own")))
    assert run.classified().table["label"].tolist() == ["sac"]


def test_published_parameters_hide_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "project_root", lambda: tmp_path)
    assert session._portable(f"{tmp_path}/build/data") == "build/data"
    assert session._portable(3) == 3
    monkeypatch.setattr(session.Path, "home", lambda: session.Path("/"))
    assert session._portable("build/cache") == "build/cache"
