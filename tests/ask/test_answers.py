"""Files that commands write."""

from pathlib import Path

import pytest

from fetalclip_nb.ask import answers
from fetalclip_nb.errors import ParameterError


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
