import pytest
from helpers import write_fass, write_focus, write_heads, write_image, write_planes

from fetalclip_nb.datasets import load_dataset
from fetalclip_nb.errors import DataError, ImageError
from fetalclip_nb.folders import layout, open_folder, unlabelled


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
    assert layout(tmp_path) == kind
    found, expected = open_folder(tmp_path), load_dataset(kind, tmp_path)
    assert found.table.equals(expected.table) and found.fingerprint == expected.fingerprint


def test_images_alone_are_a_data_set_without_labels(tmp_path):
    for name in ("b.png", "a.png", "deep/er/c.png", "deep/.hidden/d.png"):
        write_image(tmp_path / name, seed=len(name))
    (tmp_path / "notes.txt").write_text("not an image")
    found = open_folder(str(tmp_path))
    assert layout(tmp_path) == "" and found.name == "folder" and found.whole
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


def test_another_image_makes_another_fingerprint(tmp_path):
    write_image(tmp_path / "a.png", seed=1)
    first = open_folder(tmp_path).fingerprint
    write_image(tmp_path / "a.png", seed=2)
    assert open_folder(tmp_path).fingerprint != first


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
    with pytest.raises(ImageError, match=r"2 of 3 images are damaged.*a\.png, c\.png"):
        open_folder(tmp_path / "broken")


def test_readers_of_known_layouts_still_complain(tmp_path):
    root = write_planes(tmp_path)
    next((root / "Images").iterdir()).unlink()
    with pytest.raises(DataError, match="1 of 4 image files are missing"):
        open_folder(root)
