"""Prediction: probabilities against a slow reference, pictures, and the command."""

import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fetalclip_nb import phantoms
from fetalclip_nb.ask import predict as predictor
from fetalclip_nb.ask import predict_command
from fetalclip_nb.ask.predict import SHOWN_CLASSES, map_sentence, picture, predict
from fetalclip_nb.data import images
from fetalclip_nb.data.images import read_square
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.errors import ImageError, ModelError, ParameterError
from fetalclip_nb.experiments.cam import maps as cam
from fetalclip_nb.experiments.cam.maps import TITLES, Cams
from fetalclip_nb.models.model import Model, load_model
from fetalclip_nb.results import figures
from helpers import write_config, write_image

PROMPTS = {"head": ["a fetal head", "a skull"], "femur": ["a thigh bone"], "cervix": ["a cervix"]}


@pytest.fixture
def files(tmp_path):
    """Five images of odd sizes."""
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        write_image(path, size=(40 + 9 * i, 30), seed=i)
    return paths


@pytest.fixture
def broken(files):
    """The same images, two of them damaged."""
    files[1].write_text("no image")
    files[3].write_bytes(files[3].read_bytes()[:-40])
    return files


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.sqrt((vector**2).sum())


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_probabilities_equal_those_of_one_image_and_sentence_at_a_time(model, files, batch_size):
    found = predict(model, files, PROMPTS, batch_size=batch_size).table
    assert list(found.columns) == ["image", "prediction", *PROMPTS]
    assert found["image"].tolist() == [str(path) for path in files]
    for path, row in zip(files, found.to_dict("records"), strict=True):
        image = unit(model.encode_images(model.preprocess(read_square(path))[None])[0])
        powers = {}
        for name, sentences in PROMPTS.items():
            mean = np.mean([unit(model.encode_text([s])[0]) for s in sentences], axis=0)
            powers[name] = np.exp(100 * np.float64(image @ unit(mean)))
        for name, power in powers.items():
            assert row[name] == pytest.approx(power / sum(powers.values()), abs=1e-4)
        assert row["prediction"] == max(powers, key=powers.get)


def test_a_drawn_phantom_is_what_it_was_drawn_as(model, tmp_path):
    for i, plane in enumerate(("brain", "femur", "cervix")):
        drawn = phantoms.draw(plane, np.random.default_rng(i))
        Image.fromarray(drawn.image).save(tmp_path / f"{i}.png")
    found = predict(model, sorted(tmp_path.glob("*.png")), load_prompts("planes")).table
    assert found["prediction"].tolist() == ["brain", "femur", "cervix"]


def test_all_damaged_images_are_named_before_any_is_encoded(model, broken, monkeypatch):
    monkeypatch.setattr(type(model), "encode_images", lambda *_: pytest.fail("encoded"))
    with pytest.raises(ImageError, match=r"2 of 5 images.*1\.png: .*3\.png: "):
        predict(model, broken, PROMPTS)


def test_a_set_of_one_class_offers_no_choice(model, files):
    found = predictor.choices(model, files[0], {"all": PROMPTS, "one": {"head": ["a head"]}})
    answer = predict(model, files[:1], PROMPTS)
    assert found.index.tolist() == ["all"]
    assert found.loc["all"].tolist() == [answer.table["prediction"][0], answer.confidence[0]]


def test_picture_shows_the_probabilities_and_marks_the_prediction(model, files):
    answers = predict(model, files, PROMPTS, batch_size=1, pictured=2)
    figure, table = picture(model, answers, method="none"), answers.table
    axes = np.array(figure.axes).reshape(2, 2)
    for row, (_, bars) in enumerate(axes):
        shares = [patch.get_width() for patch in bars.patches]
        assert shares == pytest.approx(100 * table.loc[row, list(PROMPTS)].astype(float), abs=1e-3)
        marked = [patch.get_facecolor()[:3] == figures.COLOURS[1] for patch in bars.patches]
        assert marked == [name == table["prediction"][row] for name in PROMPTS]
        labels = [text.get_text() for text in bars.get_yticklabels()]
        assert labels == list(PROMPTS)
    shown = axes[0, 0].images[0].get_array()
    assert np.array_equal(shown, np.asarray(read_square(files[0]).convert("L")))


def test_picture_of_many_classes_shows_the_highest(model, files):
    prompts = {f"class {i}": [f"sentence {i}"] for i in range(SHOWN_CLASSES + 3)}
    answers = predict(model, files, prompts, pictured=1)
    bars = picture(model, answers, method="none").axes[1]
    chances = answers.table.loc[0, list(prompts)].astype(float)
    highest = set(chances.nlargest(SHOWN_CLASSES).index)
    assert [text.get_text() for text in bars.get_yticklabels()] == [
        p for p in prompts if p in highest
    ]
    assert "10 of 13 classes" in bars.get_xlabel()


@pytest.fixture
def asked(monkeypatch):
    """What maps are asked for: number of classes, those of the images, method."""
    calls = []

    def maps(model, pixels, vectors, targets, *, method):
        calls.append((len(vectors), list(targets), method))
        side = pixels.shape[-1]
        return Cams(np.linspace(0, 1, len(pixels) * side**2).reshape(-1, side, side), None)

    monkeypatch.setattr(cam, "cam_maps", maps)
    return calls


def test_maps_are_those_of_the_predicted_classes(model, files, asked):
    answers = predict(model, files[:3], PROMPTS)
    answers.table["prediction"] = ["cervix", "head", "femur"]
    figure = picture(model, answers, method="scorecam")
    assert asked == [(3, [2, 0, 1], "scorecam")]
    assert len(figure.axes) == 9 and "where: " in figure.axes[1].get_title()


def test_the_command_asks_for_the_fast_map_unless_told_otherwise(run, files, tmp_path, asked):
    for words in ([], ["--map", "scorecam"], ["--map", "none"]):
        run(files[0], "--picture", tmp_path / "p.png", *words)
    assert [method for *_, method in asked] == ["gradcam", "scorecam"]


def test_a_dollar_in_names_and_sentences_begins_no_formula_and_long_names_are_cut(model, tmp_path):
    path, long = tmp_path / r"$\a$.png", tmp_path / f"{'long' * 20}.png"
    write_image(path)
    write_image(long)
    prompts = {r"$\b$": ["a head"], r"$\c$": ["a femur"]}
    figure = picture(model, predict(model, [path, long], prompts))
    figure.canvas.draw()
    assert figure.axes[0].get_title() == path.name
    assert [text.get_text() for text in figure.axes[2].get_yticklabels()] == list(prompts)
    title = figure.axes[3].get_title()
    assert title.startswith("longlong") and title.endswith("…") and len(title) < 40


def test_every_map_is_described_by_its_name():
    texts = {method: map_sentence(method) for method in predict_command.MAPS}
    assert set(texts) == {*TITLES, "none"} and len(set(texts.values())) == len(texts)
    assert all(TITLES[method] in texts[method] for method in TITLES)
    assert not any(title in texts["none"] for title in TITLES.values())


def test_a_pictured_image_is_decoded_once_and_a_sentence_encoded_once(
    run, files, tmp_path, monkeypatch, capsys
):
    decoded, encoded = [], []
    square, encode = images.read_square, Model.encode_text

    def read(path):
        decoded.append(Path(path))
        return square(path)

    def encode_text(model, sentences):
        encoded.extend(sentences)
        return encode(model, sentences)

    monkeypatch.setattr(predictor, "read_square", read)
    monkeypatch.setattr(Model, "encode_text", encode_text)
    run(*files, "--prompt", "a head", "--prompt", "a femur", "--picture", tmp_path / "p.png")
    assert sorted(decoded) == files
    assert encoded[1:] == ["a head", "a femur"]  # the first tried the model out
    assert "first" not in capsys.readouterr().err


def test_a_picture_without_images_or_with_an_unknown_map_is_refused(model, files):
    with pytest.raises(ParameterError, match="No image to show"):
        picture(model, predict(model, files[:1], PROMPTS, pictured=0))
    with pytest.raises(ParameterError, match="rollout"):
        picture(model, predict(model, files[:1], PROMPTS), method="rollout")


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory) -> str:
    """A model whose tower maps are not made of."""
    vision = {"timm_model_name": "test_efficientnet", "image_size": 32}
    path = tmp_path_factory.mktemp("config") / "stages.json"
    return f"{write_config(path, vision_cfg=vision)}-untrained"


@pytest.mark.parametrize("words", [[], ["--map", "scorecam"]])
def test_a_model_without_maps_is_refused_before_the_work(
    run, files, tmp_path, monkeypatch, capsys, convolutional, words
):
    monkeypatch.setattr(predictor, "predict", lambda *_, **__: pytest.fail("predicted"))
    with pytest.raises(ModelError, match="no map.*no plain vision transformer.*--map none"):
        run(files[0], "--model", convolutional, "--picture", tmp_path / "p.png", *words)
    assert capsys.readouterr().out == "" and not (tmp_path / "p.png").exists()


def test_a_model_without_maps_gives_all_else(run, files, tmp_path, capsys, convolutional):
    run(files[0], "--model", convolutional, "--picture", tmp_path / "p.png", "--map", "none")
    run(files[0], "--model", convolutional)
    first, second = capsys.readouterr().out.split(f"{files[0]}: ")[1:]
    assert first == second and (tmp_path / "p.png").exists()
    model = load_model(convolutional, device="cpu")
    with pytest.raises(ModelError, match="method `none`"):
        picture(model, predict(model, files[:1], PROMPTS))


def test_json_and_csv_on_standard_output_are_nothing_else(run, files, capsys):
    words = [*files[:2], "--prompt", "a, head", "--prompt", 'a "femur"']
    assert run(*words, "--format", "json") == 0
    captured = capsys.readouterr()
    records = json.loads(captured.out)
    assert [record["image"] for record in records] == [str(path) for path in files[:2]]
    for record in records:
        chances = record["probabilities"]
        assert list(chances) == ["a, head", 'a "femur"']
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert record["prediction"] == max(chances, key=chances.get)
    assert "Not a medical device" in captured.err and "drawn phantoms" in captured.err
    run(*words, "--format", "csv")
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(table.columns) == ["image", "prediction", "a, head", 'a "femur"']
    assert table["a, head"].tolist() == [r["probabilities"]["a, head"] for r in records]


def test_only_the_phantom_model_is_called_one(run, files, capsys):
    run(files[0], "--model", "phantomclip-untrained")
    assert "phantoms" not in capsys.readouterr().err


def test_table_of_one_image_lists_the_classes_from_the_most_probable():
    table = pd.DataFrame({"image": ["a.png"], "prediction": ["b"], "a": [0.25], "b": [0.75]})
    text = predict_command.formatted(table, "table")
    assert text == "a.png: b\nb   75.0 %\na   25.0 %\n"


def test_table_of_several_images_has_a_row_for_each_and_short_headings():
    long = "a sentence that goes on and on without an end"
    columns = ["image", "prediction", "b", long]
    table = pd.DataFrame([("a.png", "b", 0.75, 0.25), ("b.png", long, 0.0, 1.0)], columns=columns)
    rows = predict_command.formatted(table, "table").splitlines()
    assert [" ".join(row.split()) for row in rows] == [
        "image prediction b (%) a sentence that goes on… (%)",
        "a.png b 75.0 25.0",
        "b.png a sentence that goes on… 0.0 100.0",
    ]


def test_output_decides_the_format_and_the_picture_is_written(run, files, tmp_path, capsys):
    names = {form: tmp_path / f"out.{form}" for form in ("json", "csv", "txt")}
    for path in names.values():
        run(files[0], "--prompts", "brain", "--output", path)
    assert json.loads(names["json"].read_text())[0]["image"] == str(files[0])
    assert names["csv"].read_text().startswith("image,prediction,trans-thalamic")
    assert names["txt"].read_text().startswith(f"{files[0]}: trans-")
    assert capsys.readouterr().out == ""
    run(*files, *files, "--picture", tmp_path / "p.png", "--map", "none", "--format", "json")
    with Image.open(tmp_path / "p.png") as found:
        assert found.format == "PNG" and found.width > 300
    assert len(json.loads(capsys.readouterr().out)) == 5


def test_paths_below_the_current_folder_are_shown_short(run, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run(".", "--format", "csv")
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert table["image"].tolist() == [path.name for path in files]


def test_outlines_that_are_left_out_are_counted(run, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("0_Annotation.png", "1_Annotation.png"):
        (tmp_path / name).write_bytes(files[0].read_bytes())
    run(".")
    assert "Left out 2 files (*_Annotation)." in capsys.readouterr().err
    run("0*.png", "0_Annotation.png")
    assert "Left out" not in capsys.readouterr().err


def test_names_that_are_no_utf8_are_shown_byte_by_byte(run, files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    files[0].rename(os.fsdecode(b"f\xf6tus.png"))
    for form in ("csv", "json", "table"):
        run(".", "--format", form, "--picture", "p.svg", "--map", "none")
        assert capsys.readouterr().out.replace(r"\\", "\\").count(r"f\xf6tus.png") == 1


def test_an_old_answer_stays_until_the_new_one_is_whole(run, files, tmp_path, monkeypatch):
    kept, link = tmp_path / "kept.csv", tmp_path / "link.csv"
    link.symlink_to(kept)
    for name in ("kept.csv", "p.png"):
        (tmp_path / name).write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    words = (files[0], "--output", link, "--picture", tmp_path / "p.png", "--map", "none")
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        for chosen in (words[:3], (words[0], *words[3:])):
            with pytest.raises(OSError, match="No space"):
                run(*chosen)
    assert kept.read_text() == (tmp_path / "p.png").read_text() == "old"
    run(*words)
    assert link.is_symlink() and kept.read_text().startswith("image,prediction")
    assert not list(tmp_path.glob("*.tmp"))


def test_pipes_and_devices_are_written_as_they_are(run, files, tmp_path):
    run(files[0], "--output", "/dev/null")
    assert Path("/dev/null").is_char_device()
    os.mkfifo(tmp_path / "p.csv")
    reader = subprocess.Popen(["cat", tmp_path / "p.csv"], stdout=subprocess.PIPE, text=True)
    run(files[0], "--output", tmp_path / "p.csv")
    assert reader.communicate()[0].startswith("image,prediction")
    assert (tmp_path / "p.csv").is_fifo()


def test_a_tie_of_all_classes_is_said(run, files, capsys):
    run(*files, "--prompt", "a head", "--prompt", "A  HEAD")
    assert "All classes are equally likely for " in capsys.readouterr().err
    run(*files, "--prompt", "a head", "--prompt", "a femur")
    assert "equally" not in capsys.readouterr().err


def test_sentences_that_would_be_cut_are_refused_before_an_image_is_read(run, files, monkeypatch):
    monkeypatch.delattr("fetalclip_nb.ask.predict.prepared_embedding")
    with pytest.raises(ParameterError, match="2 sentences are longer than the 117 tokens"):
        run(*files, *(x for i in range(2) for x in ("--prompt", f"{i} {'head ' * 117}")))


def test_skipped_images_are_told_on_standard_error(run, broken, capsys):
    run(*broken, "--skip-bad", "--format", "json")
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)) == 3
    assert f"Skipped 2 images: {broken[1]}, {broken[3]}" in captured.err


def test_sentences_and_a_file_of_sentences_exclude_each_other(run, files, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(files[0], "--prompts", "brain", "--prompt", "a")
    assert "not allowed with" in capsys.readouterr().err


def test_a_real_head_in_less_than_ten_seconds_from_a_cold_start(shared_data):
    """Processor seconds: what else runs on the machine does not count."""
    head = shared_data / "hc18" / "training_set" / "000_HC.png"
    command = [sys.executable, "-m", "fetalclip_nb.cli", "predict", str(head)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--prompts", "planes", "--format", "json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert list(record["probabilities"]) == list(load_prompts("planes"))
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
