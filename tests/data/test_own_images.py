import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fetalclip_nb.data import own_images, prompts
from fetalclip_nb.data.dataset import PLAIN, kind_of_images
from fetalclip_nb.data.kinds import kind_of, load_dataset
from fetalclip_nb.data.own_images import drawn_images, open_folder, open_images, unlabelled
from fetalclip_nb.errors import DataError, ImageError, ParameterError
from helpers import write_fass, write_focus, write_heads, write_image, write_planes


def write_manifest(root):
    write_image(root / "a.png")
    (root / "manifest.csv").write_text("image,label,patient\na.png,x,p1\n")
    return root


WRITERS = {
    "fetal_planes": write_planes,
    "hc18": write_heads,
    "manifest": write_manifest,
    "fass": write_fass,
    "focus": write_focus,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_known_layouts_are_read_by_their_readers(tmp_path, kind):
    WRITERS[kind](tmp_path)
    assert kind_of(tmp_path) == kind
    found, expected = open_folder(tmp_path), load_dataset(kind, tmp_path)
    assert found.table.equals(expected.table) and found.fingerprint == expected.fingerprint


def test_images_alone_are_a_data_set_without_labels(tmp_path):
    for name in ("b.png", "a.png", "deep/er/c.png", "deep/.hidden/d.png"):
        write_image(tmp_path / name, seed=len(name))
    (tmp_path / "notes.txt").write_text("not an image")
    found = open_folder(str(tmp_path))
    assert kind_of(tmp_path) == "" and found.name == "folder"
    assert list(found.table["path"]) == ["a.png", "b.png", "deep/er/c.png"]
    assert found.table["patient"].is_unique and not found.table["label"].any()
    assert all(path.is_file() for path in found.paths)


def test_images_that_are_named_are_those_of_their_folder(tmp_path):
    for name in ("a.png", "deep/b.png"):
        write_image(tmp_path / name, seed=len(name))
    whole, files = open_folder(tmp_path), [tmp_path / "a.png", tmp_path / "deep/b.png"]
    found = unlabelled("files", tmp_path, files)
    assert found.name == "files" and found.paths == files
    assert found.table.equals(whole.table) and found.fingerprint == whole.fingerprint
    assert unlabelled("files", tmp_path / "deep", files[1:]).table["id"].tolist() == ["b.png"]
    with pytest.raises(DataError, match="no images"):
        unlabelled("files", tmp_path, [])


def test_folder_that_is_a_link_holds_its_images(tmp_path):
    write_image(tmp_path / "real/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert list(open_folder(tmp_path / "link").table["path"]) == ["a.png"]


def test_missing_empty_and_damaged_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="folder is missing"):
        open_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="a folder without images"):
        open_folder(tmp_path / "empty")
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"broken/{name}.png")
    for name in ("a", "c"):
        path = tmp_path / f"broken/{name}.png"
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match=r"2 of 3 images are damaged.*a\.png \(.*, c\.png \("):
        open_folder(tmp_path / "broken")


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
    return [path.relative_to(folder).as_posix() for path in own_images.image_files(words)]


@pytest.mark.parametrize(
    ("word", "files"),
    [
        (".", ["a.JPG", "b.png", "deep/er/c.tif", "x[1].png"]),
        ("*", ["a.JPG", "b.png", "deep/er/c.tif", "x[1].png"]),
        ("deep", ["deep/er/c.tif"]),
        ("*.png", ["b.png", "x1.png", "x[1].png"]),
        ("**/c.*", ["deep/er/c.tif"]),
        ("x[1].png", ["x[1].png"]),
    ],
)
def test_folders_and_patterns_give_the_images_in_them(folder, word, files):
    if word.endswith(".png"):
        write_image(folder / "x1.png")
    assert names(folder, word) == names(folder, str(folder / word)) == files


def test_each_file_once_and_sorted_whatever_the_order_of_words(folder):
    (folder / "z.png").symlink_to(folder / "b.png")
    assert names(folder, "b.png", "a.JPG", "*.png", "./b.png") == ["a.JPG", "b.png", "x[1].png"]


def test_a_named_file_is_taken_whatever_its_ending(folder):
    shutil.move("b.png", "b.scan")
    assert names(folder, "b.scan", "notes.txt") == ["b.scan", "notes.txt"]


@pytest.mark.parametrize("name", ["scans [copy]", "HC [1]", "a*b", "[!x]", "wh?t", "a[b", "~old"])
def test_names_with_signs_of_patterns_are_taken_by_the_letter(folder, name, monkeypatch):
    found = [f"{name}/1.png", f"{name}/sub [2]/2.png"]
    for file in found:
        write_image(folder / name / "sub [2]" / "2.png" if "sub" in file else folder / file)
    assert names(folder, name) == names(folder, f"{name}/") == names(folder, f"{name}/**") == found
    assert names(folder, f"{name}/*.png") == names(folder, f"{folder / name}/[1].png") == found[:1]
    assert names(folder, f"{name}/*/*.png") == names(folder, f"{name}/sub [[]2]/2.png") == found[1:]
    monkeypatch.chdir(folder / name)
    assert names(folder, "*.png") == found[:1] and names(folder, "**/2.png") == found[1:]
    write_image(folder / name / "x[1]y.png")
    assert names(folder, "x[1]*.png") == [f"{name}/x[1]y.png"]


def test_what_a_folder_holds_is_an_image_or_is_named(folder, capsys):
    (folder / ".hidden").rename(folder / ".also")
    taken = ["b.jfif", "c.JPE", "d.jp2", "e.pgm", "f.TGA", "g.mpo", "h.ima", "i"]
    for name in taken:
        (folder / "empty" / name).write_bytes(bytes(128) + b"DICM")
    for name in ("a.pdf", "b.txt", "no_Annotation.png", "n_annotation.PNG", "none"):
        (folder / "empty" / name).write_text("no image")
    for name in (".a.png", "._b.png", "Thumbs.db", "desktop.ini", "DICOMDIR", ".DS_Store"):
        (folder / "empty" / name).write_bytes(bytes(128) + b"DICM")
    os.mkfifo(folder / "empty" / "pipe.png")
    for word in ("empty", "empty/*"):
        assert names(folder, word) == [f"empty/{name}" for name in taken]
        said = capsys.readouterr().err
        assert said == "Left out 6 files (*_Annotation, .pdf, .png, .txt, no ending).\n"
    assert names(folder, "empty/b.jfif", "b.png") == ["b.png", "empty/b.jfif"]
    assert capsys.readouterr().err == ""


def test_links_are_followed_once_and_lead_nowhere_in_silence(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_image(other / "far.png")
    for name, target in (
        *(("deep/loop", folder), ("deep/self", folder / "deep"), ("deep/root", Path("/"))),
        *(("0", folder / "deep/er"), ("far", other), ("gone.png", folder / "nowhere.png")),
    ):
        (folder / name).symlink_to(target)
    found = ["a.JPG", "b.png", "deep/er/c.tif", "far/far.png", "gone.png", "x[1].png"]
    assert names(folder, ".") == names(folder, "**") == names(folder, "*", "**/*") == found
    with pytest.raises(ImageError, match=r"gone.png: cannot be opened \(No such file"):
        own_images.whole_images(own_images.image_files(["."]))


def test_folders_that_nobody_may_read_are_named(folder, monkeypatch, capsys):
    scandir = os.scandir

    def closed(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert names(folder, ".") == ["a.JPG", "b.png", "x[1].png"]
    assert f"Left out {folder / 'deep'} (Permission denied)." in capsys.readouterr().err


def test_data_sets_of_names_that_are_no_utf8_are_refused(folder):
    write_image(folder / "empty" / os.fsdecode(b"f\xf6tus.png"))
    for read, words in ((open_folder, "empty"), (open_images, "empty/*")):
        with pytest.raises(DataError, match=r"not in UTF-8.*f\\xf6tus\.png.*rename"):
            read(words)


@pytest.mark.parametrize("word", ["a\0b", "~nobody/x.png", "./~", "pipe", "/dev/null"])
def test_words_of_any_kind_lead_nowhere_without_another_error(folder, word):
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match="no such file|a device or pipe without"):
        own_images.image_files([word])


def test_a_file_with_a_comma_in_its_name_is_one_file(folder):
    write_image(folder / "one, two.png")
    assert open_images("one, two.png").table["id"].tolist() == ["one, two.png"]
    assert len(open_images("b.png, one*")) == 2


def test_outlines_between_heads_are_no_images_unless_they_are_named(folder):
    for name in ("001_HC.png", "001_HC_Annotation.png"):
        write_image(folder / "heads" / name)
    assert names(folder, "heads") == names(folder, "heads/*") == ["heads/001_HC.png"]
    outline = "heads/001_HC_Annotation.png"
    assert names(folder, outline) == [outline]


def test_dicom_files_without_an_ending_or_named_by_their_uid_are_found_but_no_index(folder):
    uids = ("1.2.840.113619.2.1.5", "IM.0001", "IM_0001", "US.1.2.840.7")
    for name in (*uids, "DICOMDIR"):
        (folder / "empty" / name).write_bytes(bytes(128) + b"DICM")
    (folder / "empty" / "short").write_bytes(b"DICM")
    (folder / "empty" / "table.2019").write_text("no image")
    assert names(folder, "empty") == names(folder, "empty/*") == [f"empty/{name}" for name in uids]


def test_words_are_looked_for_here_first_and_then_in_the_checkout(folder, monkeypatch):
    (folder / "_config.yml").write_text("")
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    assert names(folder, "b.png") == names(folder, "b*.png") == ["b.png"]
    write_image(folder / "notebooks" / "b.png")
    assert names(folder, "b.png") == names(folder, "b*.png") == ["notebooks/b.png"]


def test_all_words_that_lead_nowhere_are_named_at_once(folder):
    with pytest.raises(DataError) as caught:
        own_images.image_files(["b.png", "no.png", "empty", "*.gif"])
    text = str(caught.value)
    assert text.startswith("3 of 4 names lead to no image.")
    for part in ("no.png (no such file)", "empty (a folder without", "*.gif (nothing matches)"):
        assert part in text
    assert "b.png (" not in text
    for function in (own_images.image_files, own_images.whole_images):
        with pytest.raises(DataError, match="No image was named"):
            function([])


def test_all_damaged_images_are_named_or_skipped(folder):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    noise.save("cut.png")
    Path("cut.png").write_bytes(Path("cut.png").read_bytes()[:-200])
    files = [Path(name) for name in ("cut.png", "b.png", "notes.txt", "gone.png")]
    with pytest.raises(ImageError, match=r"3 of 4.*--skip-bad") as caught:
        own_images.whole_images(files)
    text = str(caught.value)
    assert "cut.png: image is damaged: " in text and text.count("What to do") == 1
    assert "notes.txt: not an image (8 bytes), " in text
    assert "gone.png: cannot be opened (No such file or directory). What to do" in text
    assert own_images.whole_images(files, skip_bad=True) == [Path("b.png")]
    with pytest.raises(ImageError, match="1 of 1 images cannot be read"):
        own_images.whole_images(files[:1], skip_bad=True)


@pytest.mark.parametrize("sentences", [["a", " "], ["a", "a "], ["", ""]])
def test_empty_and_repeated_sentences_are_refused(sentences):
    assert prompts.sentence_classes([" a", "b "]) == {"a": ["a"], "b": ["b"]}
    with pytest.raises(ParameterError, match="empty or repeated"):
        prompts.sentence_classes(sentences)


def test_nothing_to_choose_between_is_refused():
    with pytest.raises(ParameterError, match=r"always gets 100 %.*at least two.*Found: a head"):
        prompts.sentence_classes(["a head"])
    with pytest.raises(ParameterError, match="Found: none"):
        prompts.require_choice({})
    with pytest.raises(ParameterError, match="reserved.*Found: image"):
        prompts.require_choice({"image": ["a"], "b": ["b"]})


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Words are looked for in the current folder."""
    monkeypatch.chdir(tmp_path)


def test_files_and_patterns_become_a_data_set_without_labels(tmp_path):
    for i, name in enumerate(("a/1.png", "a/2.png", "b/3.png", "c/4.png")):
        write_image(tmp_path / name, seed=i)
    found = open_images("b/3.png, a/*.png,")
    assert found.table["id"].tolist() == ["a/1.png", "a/2.png", "b/3.png"]
    assert found.paths == [tmp_path / name for name in found.table["id"]]
    assert found.table["patient"].nunique() == 3 and not found.synthetic
    assert set(found.table["label"]) == {""}
    assert open_images("c/4.png").table["id"].tolist() == ["4.png"]


def test_a_folder_is_the_data_set_that_it_holds(tmp_path):
    write_heads(tmp_path / "heads", n=4)
    assert open_images("heads").name == "hc18"
    write_image(tmp_path / "plain, with comma" / "x" / "1.png")
    assert open_images("plain, with comma").table["id"].tolist() == ["x/1.png"]


def test_phantoms_are_known_however_they_are_named(tmp_path):
    for i, name in enumerate(("drawn/clips/A/1.png", "drawn/2.png", "more/Images/3.png")):
        write_image(tmp_path / "all" / name, seed=i)
    for name in ("drawn", "more"):
        (tmp_path / "all" / name / "phantom.json").write_text("{}")
    write_image(tmp_path / "mine" / "4.png", seed=4)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.png").symlink_to(tmp_path / "all/drawn/2.png")
    for words in (
        *("all", "all/drawn", "all/drawn/clips/A", "all/*/*/3.png", "linked"),
        *("all/drawn/2.png", "all/drawn/clips/A/1.png,all/more/Images", "mine,all/more/Images"),
    ):
        found = open_images(words)
        assert found.synthetic, words
        assert kind_of_images(found).startswith("synthetic phantoms"), words


def test_nobody_has_said_where_plain_files_come_from(tmp_path):
    write_image(tmp_path / "mine/deep/1.png")
    for words, name in (("mine", "folder"), ("mine/deep/1.png", "files"), ("mine/*/*", "files")):
        found = open_images(words)
        assert not found.synthetic and found.name == name and name in PLAIN
        assert (
            kind_of_images(found) == "images of your own, of whose origin this book knows nothing"
        )
    assert kind_of_images(open_images(str(write_heads(tmp_path / "heads")))) == (
        "real ultrasound images"
    )


def test_words_that_lead_nowhere_are_named():
    with pytest.raises(DataError, match=r"no\.png .*never"):
        open_images("no.png, never/*.png")
    with pytest.raises(DataError, match="No image was named"):
        open_images(" , ")


def test_a_few_images_are_drawn_with_the_seed_and_stay_in_order(tmp_path):
    found = open_images(str(write_heads(tmp_path / "heads", n=6)))
    draws = {tuple(drawn_images(found, 2, seed=seed).table["id"]) for seed in range(20)}
    names = found.table["id"].tolist()
    assert len(draws) > 5 and all(names.index(a) < names.index(b) for a, b in draws)
    again = [drawn_images(found, 2, seed=3).table["id"].tolist() for _ in range(2)]
    assert again[0] == again[1] and len(again[0]) == 2
    assert len(drawn_images(found, 99, seed=0)) == 6
    with pytest.raises(ParameterError, match="count.*at least 1.*Found: 0"):
        drawn_images(found, 0, seed=0)
