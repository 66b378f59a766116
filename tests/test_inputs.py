"""Words of a command line: which files they name, and what is wrong with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import write_image
from PIL import Image

from fetalclip_nb import inputs
from fetalclip_nb.errors import DataError, ImageError, ParameterError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images, and what else lies in a folder."""
    for name in ("b.png", "a.JPG", "deep/er/c.tif", ".hidden/d.png", "._b.png", "x[1].png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "README").write_text("no image")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path, *words: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in inputs.image_files(words)]


def test_a_folder_gives_the_images_in_it_and_in_its_folders(folder):
    assert names(folder, ".") == ["a.JPG", "b.png", "deep/er/c.tif", "x[1].png"]
    assert names(folder, "deep") == ["deep/er/c.tif"]


def test_patterns_are_expanded_and_folders_they_match_are_searched(folder):
    assert names(folder, "*.png") == ["b.png", "x[1].png"]
    assert names(folder, "*") == names(folder, ".")
    assert names(folder, "**/c.*") == ["deep/er/c.tif"]
    assert names(folder, str(folder / "?.png")) == ["b.png"]


def test_a_name_with_brackets_is_that_file(folder):
    write_image(folder / "x1.png")
    assert names(folder, "x[1].png") == ["x[1].png"]


def test_each_file_once_and_sorted_whatever_the_order_of_words(folder):
    (folder / "z.png").symlink_to(folder / "b.png")
    assert names(folder, "b.png", "a.JPG", "*.png", "./b.png") == ["a.JPG", "b.png", "x[1].png"]


def test_a_named_file_is_taken_whatever_its_ending(folder):
    shutil.move("b.png", "b.scan")
    assert names(folder, "b.scan", "notes.txt") == ["b.scan", "notes.txt"]


def test_outlines_between_heads_are_no_images_unless_they_are_named(folder):
    for name in ("001_HC.png", "001_HC_Annotation.png"):
        write_image(folder / "heads" / name)
    assert names(folder, "heads") == names(folder, "heads/*") == ["heads/001_HC.png"]
    outline = "heads/001_HC_Annotation.png"
    assert names(folder, outline) == [outline]


def test_dicom_files_without_an_ending_are_found_but_no_index(folder):
    for name in ("IM_0001", "DICOMDIR"):
        (folder / "empty" / name).write_bytes(bytes(128) + b"DICM")
    (folder / "empty" / "short").write_bytes(b"DICM")
    assert names(folder, "empty") == ["empty/IM_0001"]


def test_dicom_files_named_by_their_uid_are_found(folder):
    for name in ("1.2.840.113619.2.1.5", "US.1.2.840.7", "IM.0001"):
        (folder / "empty" / name).write_bytes(bytes(128) + b"DICM")
    (folder / "empty" / "table.2019").write_text("no image")
    found = ["empty/1.2.840.113619.2.1.5", "empty/IM.0001", "empty/US.1.2.840.7"]
    assert names(folder, "empty") == names(folder, "empty/*") == found


def test_words_are_looked_for_here_first_and_then_in_the_checkout(folder, monkeypatch):
    (folder / "_config.yml").write_text("")
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    assert names(folder, "b.png") == names(folder, "b*.png") == ["b.png"]
    write_image(folder / "notebooks" / "b.png")
    assert names(folder, "b.png") == names(folder, "b*.png") == ["notebooks/b.png"]


def test_all_words_that_lead_nowhere_are_named_at_once(folder):
    with pytest.raises(DataError) as caught:
        inputs.image_files(["b.png", "no.png", "empty", "*.gif"])
    text = str(caught.value)
    assert text.startswith("3 of 4 names lead to no image.")
    for part in ("no.png (no such file)", "empty (a folder without", "*.gif (nothing matches)"):
        assert part in text
    assert "b.png (" not in text
    for function in (inputs.image_files, inputs.whole_images):
        with pytest.raises(DataError, match="No image was named"):
            function([])


def test_all_damaged_images_are_named_or_skipped(folder):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    noise.save("cut.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:-200])
    files = [Path(name) for name in ("cut.png", "b.png", "notes.txt", "gone.png")]
    with pytest.raises(ImageError, match=r"3 of 4.*--skip-bad") as caught:
        inputs.whole_images(files)
    text = str(caught.value)
    assert "cut.png: image is damaged: " in text and text.count("What to do") == 1
    assert "notes.txt: not an image (8 bytes), " in text
    assert "gone.png: cannot be opened (No such file or directory). What to do" in text
    assert inputs.whole_images(files, skip_bad=True) == [Path("b.png")]
    with pytest.raises(ImageError, match="1 of 1 images cannot be read"):
        inputs.whole_images(files[:1], skip_bad=True)


def test_sentences_are_classes_of_their_own():
    assert inputs.sentence_classes([" a", "b "]) == {"a": ["a"], "b": ["b"]}


@pytest.mark.parametrize("sentences", [["a", " "], ["a", "a "], ["", ""]])
def test_empty_and_repeated_sentences_are_refused(sentences):
    with pytest.raises(ParameterError, match="empty or repeated"):
        inputs.sentence_classes(sentences)


def test_nothing_to_choose_between_is_refused():
    with pytest.raises(ParameterError, match=r"always gets 100 %.*at least two.*Found: a head"):
        inputs.sentence_classes(["a head"])
    with pytest.raises(ParameterError, match="Found: none"):
        inputs.require_choice({})
    with pytest.raises(ParameterError, match="reserved.*Found: image"):
        inputs.require_choice({"image": ["a"], "b": ["b"]})
