"""Tasks with masks: what is read, what is refused and in which words."""

import io
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fetalclip_nb.data.hc18 import TABLE, read_hc18, semi_axes
from fetalclip_nb.errors import DataError
from fetalclip_nb.growth import perimeter
from fetalclip_nb.tasks.choice import choose_folds
from fetalclip_nb.tasks.masks import STRUCTURES, head_task, ordered, structure_task
from helpers import write_heads, write_image

SIZE = (40, 30)


def write_mask(path, box, size=SIZE, value=255):
    """A grey mask with one filled box (left, top, right, bottom); None for a black one."""
    values = np.zeros((size[1], size[0]), np.uint8)
    if box is not None:
        left, top, right, bottom = box
        values[top:bottom, left:right] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return values > 0


def write_organs(root, n=4, structures=("spine", "stomach"), **columns):
    """A manifest of n images with a box for each structure; returns the boxes' regions."""
    rows, regions = [], []
    for i in range(n):
        write_image(root / f"{i}.png", SIZE, seed=i)
        row = {"image": f"{i}.png", "label": "x", "patient": f"p{i}"}
        row |= {name: values[i] for name, values in columns.items()}
        for k, structure in enumerate(structures):
            row[f"mask_{structure}"] = f"masks/{i}_{structure}.png"
            box = (i, k, i + 5 + k, 9)
            regions.append(write_mask(root / row[f"mask_{structure}"], box))
        rows.append(row)
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    return np.array(regions).reshape(n, len(structures), SIZE[1], SIZE[0])


def write_outlined(root, n=6):
    """HC18 in miniature: boxes as outlines, one of them filled, and what they measure."""
    table = read_hc18(write_heads(root, n)).table
    lines = ["filename,pixel size(mm),head circumference (mm)"]
    for i, name in enumerate(table["id"]):
        values = np.zeros((30, 40), np.uint8)
        values[5:20, 10 : 25 + i] = 255
        lines.append(f"{name}.png,2,{2 * perimeter(*semi_axes(values > 0))}")
        if i:
            values[6:19, 11 : 24 + i] = 0
        Image.fromarray(values).save(root / "training_set" / f"{name}_Annotation.png")
    (root / TABLE).write_text("\n".join(lines))
    return root


# Reading


def test_regions_are_read_in_the_protocols_order(tmp_path):
    regions = write_organs(tmp_path)
    task = structure_task("abdomen", tmp_path)
    assert (task.name, task.structures, task.stand_in) == ("abdomen", ("stomach", "spine"), "")
    for row in range(4):
        found = task.read(row)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, regions[row][::-1])
    areas = regions.sum(axis=(2, 3))[:, ::-1]
    assert areas[0].tolist() == [6 * 8, 5 * 9]
    np.testing.assert_array_equal(task.areas, areas)


def test_structures_of_all_tasks_and_unknown_ones():
    assert len(STRUCTURES["four_chamber"]) == 9
    found = ["zoo", "IVS", "heart", "thorax", "apex"]
    assert ordered("four_chamber", found) == ("thorax", "heart", "IVS", "apex", "zoo")
    assert ordered("kidneys", ["right", "left"]) == ("left", "right")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_any_kind_of_image_are_the_same_region(tmp_path, mode, value):
    write_organs(tmp_path, structures=("spine",))
    inside = np.zeros((30, 40), bool)
    inside[3:9, 4:30] = True
    path = tmp_path / "masks" / "0_spine.png"
    values = inside.astype(np.uint16 if mode == "I;16" else np.uint8) * value
    image = Image.fromarray(values)
    if mode == "P":
        image = Image.fromarray(inside.astype(np.uint8), "P")
        image.putpalette([0, 0, 0, value, 0, 0])
    elif mode == "1":
        image = Image.fromarray(inside)
    elif mode != "I;16":
        image = image.convert(mode)
    image.save(path)
    assert Image.open(path).mode == mode
    np.testing.assert_array_equal(structure_task("abdomen", tmp_path).read(0)[0], inside)


def test_of_a_palette_the_colours_count(tmp_path):
    write_organs(tmp_path, structures=("spine",))
    values = np.full((30, 40), 3, np.uint8)
    values[3:9, 4:30] = 0
    values[9:12, 4:30] = 1
    image = Image.fromarray(values, "P")
    image.putpalette([9, 200, 9, 9, 200, 9, 50, 50, 50, 0, 0, 0])
    image.save(tmp_path / "masks" / "0_spine.png")
    region = structure_task("abdomen", tmp_path).read(0)[0]
    assert region[3:12, 4:30].all() and region.sum() == 9 * 26


def test_head_outlines_are_filled(tmp_path):
    data = read_hc18(write_outlined(tmp_path))
    task = head_task(data)
    assert task.areas[:, 0].tolist() == [15 * (15 + i) for i in range(6)]
    for row in range(6):
        inside = np.argwhere(task.read(row)[0])
        assert inside[[0, -1]].tolist() == [[5, 10], [19, 24 + row]]


ELLIPSE = ((20, 15), (10, 7), 10, 0, 360)  # as long as the table says


def written(path, values, quality=None, **options):
    """Replace an annotation by an image of these values; some formats blur them."""
    image = Image.fromarray(values)
    if quality:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality)
        image = Image.open(data)
    image.save(path, **options)


def outlined(*colour, thickness=1, line=cv2.LINE_8, ground=0, shape=(30, 40)):
    bands = (len(colour),) if len(colour) > 1 else ()
    values = np.full((*shape, *bands), ground, np.uint8)
    return cv2.ellipse(values, *ELLIPSE, colour, thickness, line)


def heads_with(tmp_path, *drawing, **options):
    """Heads of which the second has another annotation, and its path."""
    root = write_outlined(tmp_path)
    path = root / "training_set" / f"{read_hc18(root).table['id'][1]}_Annotation.png"
    written(path, *drawing, **options)
    return root, path


def frame(values):
    values[[0, -1]] = values[:, [0, -1]] = 255
    return values


def turned(tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (outlined(1), {}),
        (outlined(1, thickness=-1), {}),
        (outlined(255, 0, 0), {}),
        (outlined(0, 0, 9), {}),
        (outlined(255, line=cv2.LINE_AA), {}),
        (outlined(0, 255, 0, line=cv2.LINE_AA), {}),
        (outlined(255), {"quality": 75}),
        (outlined(255)[::-1, ::-1], {"exif": turned(3)}),
        (np.rot90(outlined(255)), {"exif": turned(6)}),
    ],
)
def test_outlines_of_any_one_colour_are_the_same_head(tmp_path, values, options):
    root, _ = heads_with(tmp_path, np.ascontiguousarray(values), **options)
    found = head_task(read_hc18(root)).read(1)[0]
    expected = outlined(255, thickness=-1) > 0
    assert (found != expected).sum() < 0.3 * expected.sum()  # the line's width


GROUND = "covers the whole picture.*exchange black and white"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (frame(outlined(255)), GROUND),
        (np.pad(frame(outlined(255, shape=(28, 38))), 1), GROUND),
        (outlined(0, ground=255), GROUND),
        (outlined(0, ground=255, thickness=-1), GROUND),
        (np.maximum(outlined(255), np.arange(0, 240, 6)), "values 0, 6, 12.*of 4"),
        (np.maximum(outlined(255, thickness=-1), 45), "values 45, 255.*not over the picture"),
        (cv2.rectangle(outlined(255), (1, 1), (4, 28), 255, -1), "several outlines, or specks"),
        (cv2.line(outlined(255), (0, 29), (39, 29), 255), "several outlines, or specks"),
        (cv2.rectangle(outlined(0, 255, 0), (2, 1), (37, 28), (255, 0, 0)), "values 0 0 0, 0 255"),
    ],
)
def test_annotation_that_is_no_single_outline_is_refused(tmp_path, values, message):
    root, path = heads_with(tmp_path, values.astype(np.uint8))
    with pytest.raises(DataError, match=f"1 of 6 masks.*{path.name}: .*{message}"):
        head_task(read_hc18(root))


@pytest.mark.parametrize("change", [frame, lambda values: 255 - values])
def test_framed_or_inverted_structures_are_refused(tmp_path, change):
    """A structure may touch a corner or cover the whole picture, but not hold all corners."""
    write_organs(tmp_path, structures=("spine",))
    path = tmp_path / "masks" / "0_spine.png"
    for box in ((0, 0, 40, 30), (0, 0, 40, 20)):
        write_mask(path, box)
        structure_task("abdomen", tmp_path)
    written(path, change(outlined(255, thickness=-1)))
    with pytest.raises(DataError, match="0_spine.png: all four corners inside.*exchange black"):
        structure_task("abdomen", tmp_path)


def test_real_heads_have_nearly_the_area_of_a_circle(shared_data):
    task = head_task(read_hc18(shared_data / "hc18"))
    assert (len(task.items), task.read(0).ndim) == (196, 3)
    table = task.dataset.table
    area = task.areas[:, 0] * table["pixel_mm"] ** 2
    # A circle has the largest area; the redrawn outlines are within 2 % of the circumference.
    assert (area / (table["hc_mm"] ** 2 / (4 * np.pi))).between(0.7, 1.04).all()


def test_reading_works_in_other_processes(tmp_path):
    write_organs(tmp_path / "organs")
    organs = structure_task("abdomen", tmp_path / "organs")
    heads = head_task(read_hc18(write_outlined(tmp_path / "heads")))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for task in (organs, heads):
            np.testing.assert_array_equal(pool.submit(task.read, 1).result(), task.read(1))
    assert pickle.loads(pickle.dumps(heads)).fingerprint == heads.fingerprint


# Items, summary, fingerprint


def test_items_are_split_by_patient_and_keep_what_is_known(tmp_path):
    sides = ["train"] * 5 + ["validation"] * 2 + ["test"] * 3
    write_organs(tmp_path, 10, split=sides, pixel_mm=[0.2] * 10, machine=["A"] * 10)
    task = structure_task("abdomen", tmp_path)
    table = task.items.table
    assert task.items.classes == ("abdomen",)
    assert set(table["label"]) == {"abdomen"}
    assert table["patient"].tolist() == [f"p{i}" for i in range(10)]
    assert table["pixel_mm"].tolist() == [0.2] * 10 and set(table["machine"]) == {"A"}
    split = choose_folds("auto", task.items, task.dataset, None, seed=0)
    assert (split.test, len(split.folds)) == (("p7", "p8", "p9"), 1)


def ring(path):
    values = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    values[2:14, 3:17] = 255
    values[3:13, 4:16] = 0
    Image.fromarray(values).save(path)


def test_outlines_in_place_of_regions_are_refused(tmp_path):
    write_organs(tmp_path)
    for i in range(2):
        ring(tmp_path / "masks" / f"{i}_spine.png")
    assert structure_task("abdomen", tmp_path).areas.shape == (4, 2)  # half of them: regions
    ring(tmp_path / "masks" / "2_spine.png")
    with pytest.raises(
        DataError, match=r"outlines, not regions: thin rings.*Found: spine\..*fill the outl"
    ):
        structure_task("abdomen", tmp_path)


def test_summary_counts_images_with_and_without_a_structure(tmp_path):
    write_organs(tmp_path)
    write_mask(tmp_path / "masks" / "2_spine.png", None)
    task = structure_task("abdomen", tmp_path)
    assert task.summary().to_dict("list") == {
        "structure": ["stomach", "spine"],
        "images": [4, 3],
        "absent": [0, 1],
    }
    assert not task.read(2)[1].any()


def test_fingerprint_follows_images_masks_and_structures(tmp_path):
    for name in "abcd":
        write_organs(tmp_path / name)
    first = structure_task("abdomen", tmp_path / "a").fingerprint
    assert len(first) == 16
    assert structure_task("abdomen", tmp_path / "b").fingerprint == first
    write_mask(tmp_path / "b" / "masks" / "3_spine.png", (0, 0, 2, 2))
    write_image(tmp_path / "c" / "3.png", SIZE, seed=99)
    spine, stomach = (tmp_path / "d" / "masks" / f"0_{s}.png" for s in ("spine", "stomach"))
    swapped = spine.read_bytes(), stomach.read_bytes()
    stomach.write_bytes(swapped[0])
    spine.write_bytes(swapped[1])
    # Of another name the protocol's order does not apply: other channels.
    others = [structure_task("abdomen", tmp_path / name).fingerprint for name in "bcd"]
    others.append(structure_task("own", tmp_path / "a").fingerprint)
    assert len({first, *others}) == 5


def test_head_fingerprint_follows_the_annotations(tmp_path):
    root = write_outlined(tmp_path)
    first = head_task(read_hc18(root))
    write_mask(root / "training_set" / "004_HC_Annotation.png", (10, 5, 30, 20))
    second = head_task(read_hc18(root))
    assert first.dataset.fingerprint == second.dataset.fingerprint
    assert first.fingerprint != second.fingerprint


# What is refused


def spoil_size(path):
    write_mask(path, (1, 1, 5, 5), size=(20, 15))


def spoil_room(path):
    Image.new("L", (60_000, 1)).save(path)  # a few bytes; what follows would take much memory


def spoil_bytes(path):
    path.write_bytes(path.read_bytes()[:60])


def spoil_with(first, second):
    """Write two boxes of these values or colours."""

    def spoil(path):
        values = np.zeros((30, 40, *np.shape(first)), np.uint8)
        values[4:9, 4:9], values[9:12, 4:9] = first, second
        Image.fromarray(values).save(path)

    return spoil


spoil_values = spoil_with(255, 3)


@pytest.mark.parametrize(
    ("spoil", "found", "fix"),
    [
        (spoil_size, "size 20x15, its image 40x30", "save each mask at its image's own size"),
        (spoil_values, "values 0, 3, 255", "threshold masks to 0 and 255"),
        (
            spoil_with((255, 0, 0), (0, 255, 0)),
            "values 0 0 0, 0 255 0, 255 0 0",
            "threshold masks to 0 and 255",
        ),
        (spoil_bytes, "damaged, or no image", "put whole files in place"),
        (spoil_room, "damaged, or no image", "put whole files in place"),
        (
            spoil_with((255,) * 4, (255, 255, 255, 0)),
            "partly transparent",
            "save masks without transparency",
        ),
    ],
)
def test_mask_that_cannot_be_used_is_named(tmp_path, spoil, found, fix):
    write_organs(tmp_path)
    task = structure_task("abdomen", tmp_path)
    spoil(tmp_path / "masks" / "1_spine.png")
    with pytest.raises(DataError) as caught:
        structure_task("abdomen", tmp_path)
    text = str(caught.value)
    assert text.startswith(f"1 of 8 masks cannot be used. Where: {tmp_path}. Expected: for each")
    assert f"Found: masks/1_spine.png: {found}. What to do: {fix}" in text
    # The same if the file is spoilt after the task was opened.
    with pytest.raises(DataError, match=f"^Mask cannot be used: {found}.*1_spine.*{fix}"):
        task.read(1)


def test_all_flaws_are_counted_and_ten_are_named(tmp_path):
    write_organs(tmp_path, n=8)
    for i in range(6):
        spoil_size(tmp_path / "masks" / f"{i}_spine.png")
        spoil_values(tmp_path / "masks" / f"{i}_stomach.png")
    with pytest.raises(DataError) as caught:
        structure_task("abdomen", tmp_path)
    text = str(caught.value)
    assert text.startswith("12 of 16 masks cannot be used")
    assert "4_spine" in text and "5_spine" not in text and "(first 10 of 12)" in text
    assert text.count("threshold masks") == text.count("at its image's own size") == 1


def test_empty_cell_says_how_absent_differs_from_not_looked(tmp_path):
    write_organs(tmp_path)
    table = pd.read_csv(tmp_path / "manifest.csv")
    table.loc[2, "mask_spine"] = ""
    table.to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(
        DataError,
        match=r"1 of 8 masks.*Found: spine of 2\.png: no mask is named\. What to do: where the "
        "structure is absent write a black mask, where nobody looked drop the row",
    ):
        structure_task("abdomen", tmp_path)


def test_structure_that_is_absent_everywhere_is_refused(tmp_path):
    write_organs(tmp_path)
    for i in range(4):
        write_mask(tmp_path / "masks" / f"{i}_spine.png", None)
    with pytest.raises(DataError, match="in no image: all their masks are black.*Found: spine"):
        structure_task("abdomen", tmp_path)


def test_head_annotations_are_checked_when_the_task_is_opened(tmp_path):
    root = write_outlined(tmp_path)
    folder = root / "training_set"
    (folder / "001_HC_Annotation.png").unlink()
    data = read_hc18(root)
    write_mask(folder / "002_HC_Annotation.png", None)
    spoil_size(folder / "003_HC_Annotation.png")
    spoil_bytes(folder / "004_HC_Annotation.png")
    with pytest.raises(DataError) as caught:
        head_task(data)
    text = str(caught.value)
    for part in (
        "4 of 6 masks cannot be used",
        "head of 001_HC: no mask is named",
        "002_HC_Annotation.png: no outline in it",
        "003_HC_Annotation.png: size 20x15, its image 40x30",
        "004_HC_Annotation.png: damaged, or no image",
        "draw missing outlines or drop their rows",
    ):
        assert part in text


def test_folder_without_a_known_layout_lists_the_three(tmp_path):
    (tmp_path / "IMAGES").mkdir()
    for root, found in ((tmp_path, "IMAGES"), (tmp_path / "none", "no such folder")):
        with pytest.raises(
            DataError, match=f"no masks in a known layout.*Found: {found}"
        ) as caught:
            structure_task("abdomen", root)
        text = str(caught.value)
        assert all(part in text for part in ("mask_STRUCTURE", "ARRAY_FORMAT/", "annfiles_mask/"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mask_spine", "Mask_spine", r"small letters.*Found: Mask_spine.*rename"),
        ("mask_", "", r"names no masks.*mask_STRUCTURE.*Found: id, path, label"),
    ],
)
def test_manifest_without_columns_of_masks(tmp_path, old, new, message):
    write_organs(tmp_path)
    path = tmp_path / "manifest.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        structure_task("abdomen", path)
