"""Files that commands write, and words that they refuse."""

import shlex
from pathlib import Path

import pytest

from fetalclip_nb.ask import answers
from fetalclip_nb.errors import DataError, FetalClipError, ImageError, ParameterError
from fetalclip_nb.models import model
from helpers import write_image


def test_writing_is_tried_and_leaves_nothing(tmp_path):
    (tmp_path / "old.csv").write_text("old")
    for name in ("old.csv", "new.csv"):
        answers.require_writable(tmp_path / name, "--output")
    answers.require_picture(tmp_path / "b.PNG", "--picture")
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"
    answers.require_writable(Path("/dev/null"), "--output")


def test_files_that_are_read_only_are_refused(tmp_path, monkeypatch):
    (tmp_path / "old.csv").touch()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ParameterError, match=r"old\.csv \(Permission denied\).*you may write to"):
        answers.require_writable(tmp_path / "old.csv", "--output")


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        ("predict no.png", DataError, "no.png"),
        ("predict 0.png --prompt head", ParameterError, "always gets 100 %"),
        ("predict 0.png --prompts nowhere.json", DataError, "Prompt file is missing"),
        ("predict 0.png --prompts gestational_age", DataError, "planes or brain"),
        ("predict 0.png --prompts one.json", ParameterError, "--prompts one.json.*at least two"),
        ("predict 0.png --output q.json --format csv", ParameterError, "format disagree"),
        ("predict 0.png --map none", ParameterError, "A map is part of a picture"),
        ("predict 0.png --picture a.gif", ParameterError, "unknown ending.*a.gif"),
        ("predict 0.png --picture 0.png", ParameterError, "would be overwritten.*0.png"),
        ("predict 0.png --output ./0.png", ParameterError, "would be overwritten.*--output"),
        ("predict 0.png --output no/where.csv", ParameterError, "cannot be written.*--output"),
        ("predict 0.png --output /proc/x.csv", ParameterError, "--output.*/proc/x.csv"),
        ("predict 0.png --picture /proc/x.png", ParameterError, "--picture.*/proc/x.png"),
        ("predict 0.png --output .", ParameterError, "cannot be written"),
        ("search images --text head --k 9", ParameterError, "--k.*1 to 5.*Found: 9"),
        ("search images --text head --k 0", ParameterError, "--k.*1 to 5.*Found: 0"),
        ("search images --image images/1.png --k 5", ParameterError, "1 to 4.*Found: 5"),
        ("search images --text ' '", ParameterError, "Found: an empty sentence"),
        ("search nowhere --text head", DataError, "folder is missing.*plain folder of images"),
        ("search images/1.png --text head", DataError, "Not a folder.*1.png"),
        ("search empty --text head", DataError, "without images"),
        ("search images --image gone.png", ImageError, "missing.*gone.png"),
        ("search images --image bad.png", ImageError, "Not an image.*bad.png"),
        ("search images --text head --picture p.docx", ParameterError, "--picture.*p.docx"),
        ("search images --text head --picture no/p.png", ParameterError, "--picture.*no/p.png"),
        ("search images --text head --picture /proc/p.png", ParameterError, "/proc/p.png"),
        ("search images --text head --picture images/1.png", ParameterError, "overwritten.*1.png"),
    ],
)
def test_bad_words_are_refused_before_the_model_is_loaded(
    run, search, tmp_path, monkeypatch, words, kind, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model, "load_model", lambda *_, **__: pytest.fail("loaded"))
    images = [tmp_path / "0.png", *(tmp_path / f"images/{i}.png" for i in range(5))]
    for seed, path in enumerate(images):
        write_image(path, seed=seed)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "one.json").write_text('{"a head": ["a head"]}')
    before = [path.read_bytes() for path in images]
    command, *rest = shlex.split(words)
    with pytest.raises(FetalClipError, match=message) as caught:
        {"predict": run, "search": search}[command](*rest)
    assert type(caught.value) is kind and [path.read_bytes() for path in images] == before
