"""Files that commands write."""

from pathlib import Path

import pytest

from fetalclip_nb.ask import answers
from fetalclip_nb.errors import ParameterError


def test_files_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    answers.require_writable(Path("b.csv"), "--output", inputs=[tmp_path / "a.png"])
    answers.require_picture(tmp_path / "b.PNG", "--picture")
    for target, message in {
        ".": "cannot be written there.*--output",
        "no/b.csv": "cannot be written there",
        "./a.png": "would be overwritten",
    }.items():
        with pytest.raises(ParameterError, match=message):
            answers.require_writable(Path(target), "--output", inputs=[tmp_path / "a.png"])
    with pytest.raises(ParameterError, match=r"--picture.*\.png, .*Found: b\.gif"):
        answers.require_picture(Path("b.gif"), "--picture")
    with pytest.raises(ParameterError, match="would be overwritten"):
        answers.require_picture(Path("a.png"), "--picture", inputs=[Path("a.png")])


def test_writing_is_tried_and_leaves_nothing(tmp_path):
    (tmp_path / "old.csv").write_text("old")
    for name in ("old.csv", "new.csv"):
        answers.require_writable(tmp_path / name, "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"
    answers.require_writable(Path("/dev/null"), "--output")
    for name in ("/proc/x.png", "/proc/self/x.png"):
        with pytest.raises(ParameterError, match=f"cannot be written there.*--picture.*{name}"):
            answers.require_picture(Path(name), "--picture")


def test_files_that_are_read_only_are_refused(tmp_path, monkeypatch):
    (tmp_path / "old.csv").touch()

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ParameterError, match=r"old\.csv \(Permission denied\).*you may write to"):
        answers.require_writable(tmp_path / "old.csv", "--output")
