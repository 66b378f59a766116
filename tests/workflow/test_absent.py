"""A chapter without its data, and a model that cannot be had, are left out with a reason."""

import json
from pathlib import Path

import nbformat
import pytest
import yaml

from fetalclip_nb import cli
from fetalclip_nb.errors import ModelError, NotebookError
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.results import result_files
from fetalclip_nb.workflow import absent, gate, runner
from helpers import write_heads
from tiny import PARAMETERS, notebook, project, results_cell

HEADS = {"kind": "hc18", "root": "data/hc18", "download": "hc18"}
ROOT = 'data_root: str = "demo"  # heads\n'
WHY = "heads: its data are not in data/hc18 (`fetalclip-nb download hc18` fetches them)"


def leaving_out(folder: Path, **changes: object) -> Path:
    """The project's profile, which now goes on without."""
    path = folder / "profiles/demo.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"missing": "leave out"} | changes))
    return folder


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """Two chapters, of which one needs heads; two models, of which one is not there."""
    monkeypatch.chdir(tmp_path)
    one = notebook("print(models)", results_cell("one", 0.5), parameters=ROOT + PARAMETERS)
    two = notebook("from fetalclip_nb.results import result_files", "print(models)")
    one.cells[0].source = "(one)=\n# One\n\nWhy? It was {glue:text}`x`. More.\n\nAnswer."
    one.cells.append(nbformat.v4.new_markdown_cell("(part)=\n## A part", id="part"))
    project(tmp_path, {"one": {"data": "heads"}}, one=one, two=two)
    return leaving_out(tmp_path, data={"heads": HEADS}, models=["a=local-dir:gone", "phantomclip"])


def test_a_chapter_without_data_is_left_out_and_stops_no_other(tiny):
    outcomes = runner.run_profile(load_profile("demo"))
    assert [o.status for o in outcomes] == ["left out", "done"]
    assert WHY in runner.summary(outcomes)
    runner.require_success(outcomes)
    written = json.loads((tiny / "build/demo/results/left_out.json").read_text())
    gone = "gone/open_clip_config.json is not there"
    assert written == {"one": WHY, "models": {"a": gone}}
    assert written == result_files.left_out(tiny / "build/demo/results")
    shown = nbformat.read(tiny / "build/demo/notebooks/two.ipynb", 4).cells[-1].outputs[0].text
    assert shown == "phantomclip\n"
    gate.check_notebooks(["one", "two"], repository=tiny, built=tiny / "build/demo")
    statuses = [o.status for o in runner.run_profile(load_profile("demo"))]
    assert statuses == ["left out", "up to date"]


def test_a_chapter_runs_without_data_that_it_may_lack(tiny):
    far = notebook("print('far', [far_root])", parameters='far_root: str = ""\n' + PARAMETERS)
    project(tiny, {"two": {"data": {"far_root": "heads"}}}, two=far)
    leaving_out(tiny, data={"heads": HEADS}, models=["phantomclip"])
    (outcome,) = runner.run_profile(load_profile("demo"))
    assert outcome.status == "done"
    shown = nbformat.read(tiny / "build/demo/notebooks/two.ipynb", 4).cells[-1].outputs[0].text
    assert shown == "far ['']\n"


def test_its_page_has_its_labels_its_question_and_the_reason(tiny):
    runner.run_profile(load_profile("demo"), ["one"])
    (cell,) = nbformat.read(tiny / "build/demo/notebooks/one.ipynb", 4).cells
    assert cell.source.startswith("(one)=\n(part)=\n# One\n\n:::{admonition} Not run\n")
    assert "\n- heads: its data are not in data/hc18 (`fetalclip-nb download hc18`" in cell.source
    assert cell.source.endswith(":::\n\nWhy?")
    signs = absent.page(nbformat.v4.new_notebook(cells=[cell]), "a_b: `x_y`, *z*; c").cells[0]
    assert "\n- a\\_b: `x_y`, \\*z\\*\n- c\n" in signs.source
    path = tiny / "build/demo/notebooks/one.ipynb"
    path.write_text(path.read_text().replace("are not in", "are in"))
    with pytest.raises(NotebookError, match="changed after it"):
        gate.check_notebooks(["one"], repository=tiny, built=tiny / "build/demo")


def test_it_runs_once_its_data_are_there_and_goes_once_they_are_gone(tiny):
    write_heads(tiny / "data/hc18")
    profile = load_profile("demo")
    assert [o.status for o in runner.run_profile(profile, ["one"])] == ["done"]
    assert "one" not in result_files.left_out(tiny / "build/demo/results")
    (tiny / "data/hc18/training_set_pixel_size_and_HC.csv").unlink()
    assert [o.status for o in runner.run_profile(profile, ["one"])] == ["left out"]
    assert not (tiny / "build/demo/results/one").exists()  # of the run before


def test_a_chapter_without_any_model_or_without_a_file_is_left_out(tiny):
    settings = {"one": {"models": "a=local-dir:gone", "data_root": "data/hc18/no.json"}, "two": {}}
    profile = load_profile(leaving_out(tiny, notebooks=settings) / "profiles/demo.yaml")
    reason = runner.plan(profile, "one")[-1]
    assert reason == (
        "heads: no.json are not in data/hc18 (`fetalclip-nb download hc18` fetches them); "
        "a: gone/open_clip_config.json is not there"
    )


def test_a_chapter_that_reads_others_is_left_out_with_all_of_them(tiny):
    reads = 'chapters: str = "one"  # read\n' + PARAMETERS
    nbformat.write(notebook("1", parameters=reads), tiny / "notebooks/two.ipynb")
    profile = load_profile("demo")
    assert runner.plan(profile, "two")[-1] == "none of the chapters that it reads was run"
    write_heads(tiny / "data/hc18")
    assert runner.plan(profile, "two")[-1] == ""


def test_other_profiles_know_of_nothing_missing(tiny):
    profile = load_profile(leaving_out(tiny, missing="stop") / "profiles/demo.yaml")
    assert absent.absent_data(profile) == absent.absent_models(profile) == {}
    assert runner.plan(profile, "one")[-1] == ""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run_notebook", lambda *_, **__: None)
        runner.run_profile(profile, ["two"])
    assert not (tiny / "build/demo/results/left_out.json").exists()


def test_data_and_embed_go_on_without_and_note_why(tiny, monkeypatch, capsys):
    monkeypatch.setattr("fetalclip_nb.downloads.fetch.transfer", lambda *_, **__: 1 / 0)
    write_heads(tiny / "other")
    data = {"heads": HEADS | {"download": None}, "more": {"kind": "hc18", "root": "other"}}
    leaving_out(tiny, data=data, models=["a=local-dir:gone", "hf-hub:b/c", "phantomclip"])
    assert cli.main(["data"]) == 0
    said = capsys.readouterr().out
    assert "heads: left out, its data are not in data/hc18 (nobody offers them" in said
    assert "more: 6 images" in said

    def load(spec, **_):
        raise ModelError(
            "Model cannot be loaded", where=spec, found="no /root/.cache/hf/b here", fix="x"
        )

    monkeypatch.setattr("fetalclip_nb.models.model.load_model", load)
    assert cli.main(["embed"]) == 0
    models = absent.absent_models(load_profile("demo"))
    assert models["hf-hub:b/c"].endswith(
        "Where: hf-hub:b/c. Found: no b here. (`fetalclip-nb embed` tries again)"
    )
    noted = sorted(path.stem for path in (tiny / "build/demo/absent").iterdir())
    assert noted == ["hf-hub-b-c", "phantomclip"]  # of files that are lost there is no need
    absent.note_model(load_profile("demo"), "hf-hub:b/c", None)
    assert "hf-hub:b/c" not in absent.absent_models(load_profile("demo"))
    leaving_out(tiny, missing="stop")
    assert cli.main(["embed"]) == 2


def test_a_download_that_fails_leaves_out_or_stops(tiny, monkeypatch, capsys):
    def fail(*_, **__):
        raise cli.DownloadError("No network")

    monkeypatch.setattr("fetalclip_nb.data.sources.fetch.prepare_dataset", fail)
    assert cli.main(["data"]) == 0
    streams = capsys.readouterr()
    assert "error: No network" in streams.err and f"{WHY[:5]}: left out, its" in streams.out
    leaving_out(tiny, missing="stop")
    assert cli.main(["data"]) == 2
