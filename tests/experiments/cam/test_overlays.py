import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from pytorch_grad_cam.utils.image import show_cam_on_image

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.cam import overlays

CLASSES = ["brain", "lips_nose"]


def cases(n=3, side=8):
    rng = np.random.default_rng(0)
    probabilities = np.array([[0.9, 0.1], [0.25, 0.75], [0.6, 0.4]])[:n]
    return rng.random((n, side, side)), rng.random((n, side, side)), probabilities


def saved(folder, *shown, **options):
    """Paths of the overlays of one task, in the order in which they were written."""
    overlays.save_all(folder, {"planes": overlays.Shown(*shown)}, **options)
    _, _, probabilities, classes, targets, ids = shown
    names = overlays.file_names(probabilities, classes, targets, ids)
    return [folder / "planes" / name for name in names]


def test_overlay_blends_each_pixel_by_the_weight():
    image, importance = np.array([[0.0, 0.4], [0.8, 1.0]]), np.array([[0.0, 1.0], [0.5, 1.0]])
    found = overlays.overlay(image, importance)
    colours = mpl.colormaps["inferno"](importance)
    for y, x in np.ndindex(2, 2):
        by_hand = [0.5 * colours[y, x, c] + 0.5 * image[y, x] for c in range(3)]
        assert found[y, x] == pytest.approx(by_hand)
    only = overlays.overlay(image, importance, weight=1)
    assert only == pytest.approx(colours[..., :3])
    assert overlays.overlay(image, importance, 0) == pytest.approx(image[..., None].repeat(3, 2))


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_published_colours_are_the_librarys(weight):
    [image], [importance], _ = cases(1, side=16)
    found = overlays.overlay(0.4 * image, importance, weight, colours="published")
    grey = (0.4 * image)[..., None].repeat(3, 2)
    wanted = show_cam_on_image(grey, importance, use_rgb=True, image_weight=1 - weight)
    assert np.abs(255 * found - wanted).max() < 1 + 1e-6  # the library cuts, where we round


def test_overlay_refuses_other_weights():
    with pytest.raises(ParameterError, match="not from 0 to 1. Where: weight. Found: 1.5"):
        overlays.overlay(np.zeros((2, 2)), np.zeros((2, 2)), 1.5)


def test_names_carry_class_image_prediction_and_confidence():
    _, _, probabilities = cases()
    names = overlays.file_names(probabilities, CLASSES, [0, 0, 1], ["a_1", "b c", "Ü/x.png"])
    assert names == [
        "brain_-_a_1_-_brain_-_90.00.png",
        "brain_-_b-c_-_lips_nose_-_75.00.png",
        "lips_nose_-_x.png_-_brain_-_60.00.png",
    ]
    odd = overlays.file_names(probabilities, CLASSES, [0, 0, 1], ["a_-_b", "a-_-b", "_-_"])
    assert all(len(name.split("_-_")) == 4 for name in [*names, *odd])


def test_names_are_never_alike_empty_or_too_long():
    same = np.array([[0.9, 0.1]] * 6)
    ids = ["a b", "A-b", "a-b", "", "日本", "x" * 999]
    names = overlays.file_names(same, CLASSES, [0] * 6, ids)
    assert names[:3] == [f"brain_-_{x}_-_brain_-_90.00.png" for x in ("a-b", "A-b-2", "a-b-3")]
    assert names[3:5] == [f"brain_-_unnamed{end}_-_brain_-_90.00.png" for end in ("", "-2")]
    sentences = [f"{'a long sentence, ' * 20}{end}" for end in ("a", "b")]
    long = overlays.file_names(same[:2], sentences, [0, 0], ["x" * 999] * 2)
    assert len({*names, *long}) == 8 and max(map(len, [*names, *long])) < 255
    for name in long:
        true, _, predicted, _ = name.split("_-_")
        assert true == predicted and true.startswith("a-long-sentence-a-long-sentence-")


@pytest.mark.parametrize("name", ["../../out", "/etc/passwd", "..", "C:\\x", "a\0b", "-rf", ".x"])
def test_no_name_leaves_the_folder(name, tmp_path):
    folder = tmp_path / "deep" / "overlays"
    images, maps, probabilities = cases(1)
    (path,) = saved(folder, images, maps, probabilities, ["../up", name], [0], [name])
    assert path.resolve().parent == (folder / "planes").resolve() and path.is_file()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert path.name[0].isalnum()


@pytest.mark.parametrize("colours", ["published", "ours"])
def test_saved_files_are_the_overlays_in_the_images_order(tmp_path, colours):
    images, maps, probabilities = cases()
    (tmp_path / "planes").mkdir()
    (tmp_path / "planes" / "kept.txt").write_text("mine")
    shown = images, maps, probabilities, CLASSES, [0, 0, 1], ["c", "b", "a"]
    paths = saved(tmp_path, *shown, weight=0.3, colours=colours)
    assert [path.name.split("_-_")[1] for path in paths] == ["c", "b", "a"]
    for path, image, importance in zip(paths, images, maps, strict=True):
        found = np.asarray(Image.open(path), dtype=float) / 255
        wanted = overlays.overlay(image, importance, 0.3, colours=colours)
        assert found == pytest.approx(wanted, abs=0.5 / 255 + 1e-9)
    assert (tmp_path / "planes" / "kept.txt").read_text() == "mine"
