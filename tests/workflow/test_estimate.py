"""What a run would take is said before it, from parameters, files and ten seconds of timing."""

import shutil
from pathlib import Path

import pytest
import yaml

from fetalclip_nb import cli
from fetalclip_nb.errors import ModelError
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.workflow import estimate, rates
from fetalclip_nb.workflow.estimate import Work
from helpers import write_heads, write_planes

PHANTOMS = {"patients": 10, "seed": 1}


@pytest.fixture
def profile(tmp_path, monkeypatch, repository):
    """Four planes, six heads, ten hearts still to be drawn; the real notebooks."""
    shutil.copytree(repository / "notebooks", tmp_path / "notebooks")
    (tmp_path / "_config.yml").touch()
    monkeypatch.chdir(tmp_path)
    write_planes(tmp_path / "planes")
    write_heads(tmp_path / "heads")
    data = {
        "planes": {"kind": "fetal_planes", "root": "planes"},
        "heads": {"kind": "hc18", "root": "heads"},
        "hearts": {
            "kind": "manifest",
            "root": "x",
            "phantoms": PHANTOMS | {"view": "four_chamber"},
        },
        "more": {"kind": "hc18", "root": "more", "download": "hc18"},
    }
    notebooks = {
        "02_gestational_age": {"data": "heads"},
        "03_linear_probing": {"data": "planes", "chd_root": "", "copies": 5},
        "04_segmentation": {
            "data": {"data_root": "heads", "heart_root": "hearts"},
            **{"abdomen_root": "", "copies": 2, "head_folds": 5, "organ_folds": 1, "runs": 3},
            **{"epochs": 10, "decoder_batch": 8, "side": 32, "filters": 2},
        },
        "06_cam": {
            "data": {"data_root": "planes", "hc18_root": "heads"},
            **{"abdomen_root": "", "heart_root": "", "per_class": 2, "compare": "gradcam"},
            **{"steps": 4, "random_draws": 1, "region_images": 3},
        },
    }
    content = {"name": "mine", "data": data, "models": ["phantomclip", "other"]}
    Path("mine.yaml").write_text(yaml.safe_dump(content | {"notebooks": notebooks}))
    return load_profile("mine.yaml")


def test_work_follows_from_parameters_and_numbers_of_images(profile):
    found = {(name, spec): work for name, spec, _, work in estimate.works(profile)}
    assert found["02_gestational_age", "other"] == Work(6, 5 * 175 * 6)
    assert found["02_gestational_age", "phantomclip"] == Work(6, 2 * 5 * 175 * 6)
    assert found["03_linear_probing", "other"] == Work(4 + 5 * 0.6 * 4)
    # 6 heads in 5 folds, 12 hearts in 1; 3 runs of 10 epochs, of 0.64 of the images, twice each.
    steps = (6 * 5 + 12) * 3 * 10 * 0.64 * 2 / 8
    segmented = found["04_segmentation", "other"]
    assert segmented.steps == pytest.approx(steps)
    assert segmented.images == segmented.kept == pytest.approx((6 + 12) * (1 + 0.8 * 2))
    image_only = found["04_segmentation", "phantomclip"].steps - steps
    assert image_only == pytest.approx(6 * 5 * 3 * 10 * 0.64 * 2 / 8)
    # Two methods, two models, a random map; deletion, insertion and black; 10 images of planes.
    assert found["06_cam", "phantomclip"] == Work(10 * 4 * 3 * 5, maps=2 * 13 + 3)
    assert found["06_cam", "other"] == Work(10 * 4 * 2, maps=2 * 8 + 3)


def test_few_data_draws_no_more_than_there_is(profile):
    settings = {"data": {"data_root": "planes", "hc18_root": "more"}, "head_sizes": "1, 4"}
    settings |= {"head_sets": 5, "head_copies": 10, "head_epochs": 100, "decoder_batch": 8}
    profile.notebooks["05_few_data"] = settings | {"head_runs": 5}
    ((*_, work), _) = estimate.works(profile, ["05_few_data"])
    drawn = 5 * 1.2 * (1 + 4)
    assert work.steps == pytest.approx(drawn * 10 / 8 * 100 * 5)
    assert work.kept == pytest.approx(drawn * 10 + 999)  # of HC18, which is not here
    assert work.images == pytest.approx(4 + 0.6 * 4 * 10 + work.kept)


def test_minutes_and_gigabytes_follow_from_the_rates(profile, monkeypatch):
    known = {
        "phantomclip": rates.Rates("phantomclip", 2, 10, 100, 1.5),
        "other": rates.Rates("o", 1, 1, 0, 1),
    }
    monkeypatch.setattr(rates, "probe", lambda spec, *_: known[spec])
    monkeypatch.setattr(rates, "steps_a_second", lambda width, *_: width / 10)
    table = rates.table(profile, ["04_segmentation", "06_cam"]).set_index(["notebook", "model"])
    first, _, mapped, other = table.to_dict("records")
    images, steps = first["images"], first["decoder steps"]
    assert first["minutes"] == pytest.approx((images / 2 + steps / 10) / 60)
    assert first["GB on disk"] == pytest.approx(images * 4 * 14 * 14 * 100 * 2 / 1e9)
    assert mapped["images"] == 10 * 4 * 3 * 5 + 29 * 100
    assert (other["images"], other["minutes"]) == (80, pytest.approx(80 / 60))  # no maps of it
    assert table.loc[("04_segmentation", "other"), "decoder steps"] == 0


def test_a_dry_run_times_the_model_and_writes_nothing(profile, capsys):
    before = sorted(Path().rglob("*"))
    words = ["--profile", "mine.yaml", "--dry-run", "04_segmentation"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates.table, "__defaults__", ((), 0.1))
        assert cli.main(["run", *words]) == 1
    shown = capsys.readouterr().out
    row = next(line.split() for line in shown.splitlines() if " phantomclip " in line)
    assert float(row[-5].replace(",", "")) > 0 and row[-1] == "phantomclip"
    assert "other" in shown and "nothing" in shown  # no such model: a row without minutes
    assert (
        "more: its data are not in more (`fetalclip-nb download hc18` fetches them), 0.13 GB"
        in shown
    )
    assert "04_segmentation: no abdomen_root is given" in shown
    assert "from a hub, when first loaded: other" in shown
    assert sorted(Path().rglob("*")) == before


def test_a_dry_run_of_chapters_that_take_little_says_so(profile, capsys):
    path = Path("mine.yaml")
    content = yaml.safe_load(path.read_text())
    chapters = {"00_quickstart": {"data": {"images": "planes"}}}
    path.write_text(yaml.safe_dump(content | {"notebooks": chapters}))
    cli.main(["run", "--profile", "mine.yaml", "--dry-run"])
    assert capsys.readouterr().out.startswith("minutes in all: few\nprofile mine is")
    assert cli.main(["run", "--profile", "mine.yaml", "--dry-run", "01_zero_shot"]) == 2
    assert "No such notebook. Where: profile mine" in capsys.readouterr().err


def test_doctor_names_what_stops_a_chapter(profile, capsys):
    profile.notebooks["02_gestational_age"]["data"] = "more"
    assert estimate.lacking(profile)[-1] == "so these cannot run: 02_gestational_age"
    assert cli.main(["doctor", "--profile", "mine.yaml"]) == 1
    assert "more: its data are not in more" in capsys.readouterr().out


def test_an_architecture_stands_in_for_a_model_of_a_hub(profile, monkeypatch):
    monkeypatch.setitem(rates.LIKE, "clip", "RN50")
    model = rates._stand_in("clip-untrained", profile)
    assert (model.name, model.source) == ("clip-untrained", "RN50, random weights")
    model = rates._stand_in("timm:test_vit", profile)
    assert model.source == "timm:test_vit-untrained"
    with pytest.raises(ModelError, match="Nothing to time"):
        rates._stand_in("hf-hub:a/b", profile)


def test_downloads_are_listed_and_not_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fetalclip_nb.downloads.fetch.transfer", lambda *_, **__: 1 / 0)
    words = ["download", "hc18", "--dry-run", "--folder", str(tmp_path / "hc18")]
    assert cli.main(words) == 1
    shown = capsys.readouterr().out
    assert "training_set.zip: 132926838 bytes" in shown and "2 files, 0.13 GB, to" in shown
    assert not list(tmp_path.iterdir())
    (tmp_path / "hc18.downloads").mkdir()
    (tmp_path / "hc18.downloads/training_set.zip").touch()
    assert cli.main(words) == 1
    assert "1 file, 0.00 GB" in capsys.readouterr().out
    write_heads(tmp_path / "hc18")
    assert cli.main(words) == 0
    assert "0 files" in capsys.readouterr().out
