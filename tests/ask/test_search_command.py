import csv
import io
import json
import re

import pytest

from fetalclip_nb.data.images import read_image
from fetalclip_nb.errors import ParameterError
from helpers import write_image


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Five images in a checkout of their own, so that nothing else is filled."""
    for name in ("_config.yml", "notebooks"):
        path = tmp_path / name
        path.mkdir() if name == "notebooks" else path.touch()
    for seed in range(5):
        write_image(tmp_path / f"images/{seed}.png", seed=seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "images"


def test_json_and_csv_say_the_same_and_nothing_else_is_on_stdout(search, folder, capsys):
    common = (folder, "--text", "a head", "--k", 3)
    assert search(*common, "--format", "json") == 0
    as_json = json.loads(capsys.readouterr().out)
    assert search(*common, "--format", "csv") == 0
    captured = capsys.readouterr()
    as_csv = list(csv.DictReader(io.StringIO(captured.out)))
    assert [{key: str(value) for key, value in row.items()} for row in as_json] == [
        row | {"similarity": str(float(row["similarity"]))} for row in as_csv
    ]
    assert [row["rank"] for row in as_json] == [1, 2, 3]
    assert all(re.fullmatch(r"images/\d\.png", row["path"]) for row in as_json)
    assert "Not a medical device" in captured.err and "drawn phantoms" in captured.err
    assert (folder.parent / "build/cache/embeddings").is_dir()


def test_table_is_for_the_eye(search, folder, capsys):
    assert search("images", "--text", "a head", "--k", 2) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "similarity", "path"]  # no label is known here
    assert len(rows) == 2
    assert all(re.fullmatch(r" +[12] +-?[01]\.\d{4} images/\d\.png", row) for row in rows)


def test_without_a_number_all_of_a_small_folder_are_found(search, folder, capsys):
    for query, count in ((("--text", "a head"), 5), (("--image", "images/1.png"), 4)):
        assert search("images", *query, "--format", "json") == 0
        assert len(json.loads(capsys.readouterr().out)) == count


def test_a_folder_with_nothing_but_the_query_has_no_answer(search, folder):
    write_image(folder.parent / "alone/a.png")
    with pytest.raises(ParameterError, match="no image to find.*beside the query"):
        search("alone", "--image", "alone/a.png")


def test_plain_files_have_no_patient_and_a_copy_is_told(search, folder, capsys):
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    assert search("images", "--image", "images/3.png", "--format", "json") == 0
    captured = capsys.readouterr()
    assert {row["patient"] for row in json.loads(captured.out)} == {""}
    assert "the same picture? images/copy.png\n" in captured.err
    search("images", "--text", "a head")
    assert "same picture" not in capsys.readouterr().err


def test_query_image_is_left_out_and_named(search, folder, capsys, tmp_path):
    options = ("--k", 4, "--format", "json", "--picture", tmp_path / "p.png")
    assert search("images", "--image", "images/3.png", *options) == 0
    captured = capsys.readouterr()
    found = [row["id"] for row in json.loads(captured.out)]
    assert sorted(found) == ["0.png", "1.png", "2.png", "4.png"]
    assert "Left out, as it is the query itself: 3.png." in captured.err
    width, height = read_image(tmp_path / "p.png").size
    assert width > 2 * height > 0  # five images in a row


@pytest.mark.parametrize("words", [(), ("--text", "a head", "--image", "a.png")])
def test_one_query_is_asked_for(search, capsys, words):
    with pytest.raises(SystemExit) as stopped:
        search("images", *words)
    assert stopped.value.code == 2 and "--text" in capsys.readouterr().err
