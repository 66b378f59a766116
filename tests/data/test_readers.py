import re

import cv2
import numpy as np
import pytest
from PIL import Image

from fetalclip_nb.data import dataset, fetal_planes, hc18, kinds, manifest, mask_files
from fetalclip_nb.errors import DataError, ImageError
from fetalclip_nb.growth import perimeter
from helpers import PLANES_HEADER, write_heads, write_image, write_planes


@pytest.mark.parametrize("header", [PLANES_HEADER, PLANES_HEADER.strip()])
def test_fetal_planes_takes_the_real_layout_with_its_blanks(tmp_path, header):
    data = fetal_planes.read_fetal_planes(write_planes(tmp_path, header=header))
    assert data.table["plane"].tolist() == ["other", "brain", "abdomen", "heart"]
    assert data.table["brain_plane"].tolist() == ["", "trans-thalamic", "", ""]
    assert data.table["split"].tolist() == ["train", "train", "test", "test"]
    assert data.table["patient"].tolist()[:2] == ["Patient00001"] * 2
    assert data.table["machine"].tolist()[1] == "Voluson E6"
    assert not data.synthetic


def test_tasks_leave_out_other_and_keep_row_order(tmp_path):
    names = ["Fetal femur", "Other", "Fetal brain", "Fetal abdomen", "Maternal cervix"]
    names += ["Fetal thorax"]
    parts = {"Fetal brain": "Other"}
    rows = [
        f"Patient{i:05d}_P;{i};{name};{parts.get(name, 'Not A Brain')};Other;Aloka;1"
        for i, name in enumerate(names)
    ]
    data = fetal_planes.read_fetal_planes(write_planes(tmp_path, rows))
    five = fetal_planes.five_planes(data)
    assert five.table["label"].tolist() == ["femur", "brain", "abdomen", "cervix", "heart"]
    assert five.fingerprint == data.fingerprint


def test_tasks_without_images_of_a_class_are_refused(tmp_path):
    data = fetal_planes.read_fetal_planes(write_planes(tmp_path))
    with pytest.raises(DataError, match="lacks images of classes.*: femur, cervix"):
        fetal_planes.five_planes(data)
    with pytest.raises(DataError, match="Found: trans-cerebellum, trans-ventricular"):
        fetal_planes.brain_subplanes(data)


def test_missing_images_are_counted_and_the_first_ten_named(tmp_path):
    rows = [f"Patient{i:05d}_Plane1_1_of_1;{i};Other;Not A Brain;Other;Aloka;1" for i in range(15)]
    root = write_planes(tmp_path, rows)
    for i in range(12):
        (root / "Images" / f"Patient{i:05d}_Plane1_1_of_1.png").unlink()
    with pytest.raises(DataError, match=r"12 of 15 .*missing.*Patient00009.*first 10 of 12") as e:
        fetal_planes.read_fetal_planes(root)
    assert "Patient00010" not in str(e.value)


def test_broken_images_are_counted(tmp_path):
    root = write_planes(tmp_path)
    for path in sorted((root / "Images").iterdir())[:2]:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ImageError, match="2 of 4 images are damaged"):
        fetal_planes.read_fetal_planes(root)


PLANE = "Patient00001_Plane1_{}_of_2;{};{};Not A Brain;Other;Aloka;{}"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PLANE.format(i, 1, "Fetal brian", 1) for i in (1, 2)], "Plane in 2 of 2.*'Fetal brian'"),
        ([PLANE.format(i, 1, "Other", 2 - i) for i in (1, 2)], "in two splits.*Patient00001"),
        ([PLANE.format(1, 7, "Other", 1)], "disagree in 1 of 1 rows.*of_2 / '7'"),
        ([PLANE.format(1, 1, "Other", "yes")], "Unknown Train in 1 of 1 rows.*0, 1.*'yes'"),
        *[
            ([PLANE.format(1, number, "Other", 1)], f"disagree in 1 of 1 rows.*of_2 / '{number}'")
            for number in ("", "P1", "1,0", "1.5")
        ],
        ([PLANE.format(1, 1, "Fetal brain", 1)], "contradict each other.*/ Fetal brain / Not A"),
        ([PLANE.format(1, 1, "Other", 1).replace("Not A Brain", "Other")], "contradict.*/ Other"),
        ([PLANE.format("/../../../x", 1, "Other", 1)], "disagree.*\\.\\./x"),
    ],
)
def test_fetal_planes_refuses(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        fetal_planes.read_fetal_planes(write_planes(tmp_path, rows))


def test_missing_column_names_expected_and_found(tmp_path):
    root = write_planes(tmp_path, header=PLANES_HEADER.replace("Brain_plane", "Brain"))
    with pytest.raises(DataError, match=r"lacks columns.*Found: Brain_plane\..*\(Image_name;"):
        fetal_planes.read_fetal_planes(root)


def test_fingerprint_follows_pixels_and_table(tmp_path):
    first = fetal_planes.read_fetal_planes(write_planes(tmp_path / "a")).fingerprint
    assert fetal_planes.read_fetal_planes(write_planes(tmp_path / "b")).fingerprint == first
    write_image(tmp_path / "b" / "Images" / "Patient00001_Plane1_1_of_2.png", seed=99)
    (tmp_path / "b" / "phantom.json").write_text("{}")
    data = fetal_planes.read_fetal_planes(tmp_path / "b")
    assert data.fingerprint != first and data.synthetic and data.units == "patients"


def test_hc18_patients_sizes_and_counted_heads(tmp_path):
    data = hc18.read_hc18(write_heads(tmp_path))
    assert data.table["patient"].tolist() == ["001", "001", "002", "002", "003", "004"]
    assert data.table[["width", "height"]].drop_duplicates().values.tolist() == [[40, 30]]
    table = hc18.pd.DataFrame({"hc_mm": [99.9, 100.0, 342.0, 342.1]})
    data = dataset.Dataset("hc18", None, table, False, "")
    assert hc18.counted(data).tolist() == [False, True, True, False]


def test_hc18_refuses_numbers_and_names_out_of_form(tmp_path):
    table = write_heads(tmp_path) / "training_set_pixel_size_and_HC.csv"
    text = table.read_text()
    table.write_text(text.replace(",140", ",abc").replace(",190", ",-3"))
    with pytest.raises(DataError, match=r"2 of 6 values .*'abc', '-3'"):
        hc18.read_hc18(tmp_path)
    table.write_text(text.replace("001_2HC.png", "head.png"))
    with pytest.raises(DataError, match=r"not of the HC18 form.*head\.png"):
        hc18.read_hc18(tmp_path)


def test_tables_that_cannot_be_read_and_missing_images_are_refused(tmp_path):
    table = write_heads(tmp_path) / hc18.TABLE
    (tmp_path / "training_set" / "002_HC.png").unlink()
    with pytest.raises(DataError, match=r"1 of 6 image files are missing.*002_HC\.png"):
        hc18.read_hc18(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match="Table is missing.*unpack the data set again"):
        hc18.read_hc18(tmp_path)


def write_outlines(root, scale=1.0, pixel_mm=0.5, hc_mm=None, outline_scale=None, fill=1):
    """Three heads of 80, 100 and 120 mm at two pixels a mm, perhaps resized with their outlines."""
    lines = ["filename,pixel size(mm),head circumference (mm)"]
    for i, hc in enumerate((80, 100, 120)):
        axes = np.array([1.15, 0.85]) * hc / perimeter(1.15, 0.85) / 0.5
        for ending, size in (("", scale), ("_Annotation", outline_scale or scale)):
            shape, centre = (round(160 * size), round(120 * size)), (80 * size, 60 * size)
            path = root / "training_set" / f"00{i}_HC{ending}.png"
            if not ending:
                write_image(path, shape)
                continue
            values = np.zeros(shape[::-1], np.uint8)
            box = (centre, tuple(2 * axes * size), 20)
            cv2.ellipse(values, box, 255, fill)
            Image.fromarray(values).save(path)
        lines.append(f"00{i}_HC.png,{pixel_mm},{hc_mm or hc}")
    (root / hc18.TABLE).write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("change", [{}, {"fill": -1}, {"scale": 2, "pixel_mm": 0.25}])
def test_hc18_whose_outlines_and_table_agree_is_read_without_a_word(tmp_path, change, capsys):
    root = write_outlines(tmp_path, **change)
    assert len(hc18.read_hc18(root)) == 3
    for path in (root / "training_set").glob("*_Annotation.png"):
        path.write_bytes(b"left to those who need it")
    assert len(hc18.read_hc18(root)) == 3
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": 0.5}, r"3 heads.*within 5%.*000_HC \(table 80\.0 mm, outline 4.*by 2"),
        ({"scale": 0.5, "outline_scale": 1}, r"3 heads.*outline 4.*multiply pixel sizes by 2"),
        (
            {"pixel_mm": 0.05},
            r"3 heads.*outline 8\..*sizes by 10.*both columns in mm",
        ),
        ({"hc_mm": 100}, r"2 heads.*000_HC.*002_HC.*correct these rows"),
        ({"hc_mm": 12}, r"3 of 3 values are not from 30 to 500 mm.*circumference.*'12'.*in mm"),
        ({"pixel_mm": 500}, "from 0.02 to 5 mm.*column pixel size.*'500'.*do not swap"),
        ({"pixel_mm": 1e300}, "from 0.02 to 5 mm"),
        ({"pixel_mm": "'0,5'"}, "other fields than the 3 of the header.*line 2, line 3, line 4"),
    ],
)
def test_hc18_of_another_scale_or_unit_is_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        hc18.read_hc18(write_outlines(tmp_path, **change))


def test_pictures_that_were_flattened_beside_their_outlines_are_refused(tmp_path):
    root = write_outlines(tmp_path)
    for i in range(3):
        write_image(root / "training_set" / f"00{i}_HC.png", (160, 90))
    with pytest.raises(DataError, match=r"3 heads.*table 80\.0 mm, outline 6"):
        hc18.read_hc18(root)


def test_outline_and_filled_annotation_give_the_same_head(tmp_path):
    outline, filled = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint8)
    cv2.ellipse(outline, (40, 30), (25, 18), 10, 0, 360, 255, 1)
    cv2.ellipse(filled, (40, 30), (25, 18), 10, 0, 360, 255, -1)
    from_outline = mask_files.fill_outline(outline > 0)
    assert (from_outline == mask_files.fill_outline(filled > 0)).mean() > 0.995
    assert from_outline.sum() == pytest.approx(np.pi * 25 * 18, rel=0.05)


@pytest.mark.parametrize("cut", ["edge", "gap"])
def test_open_outline_is_closed_by_straight_lines(cut):
    outline = np.zeros((120, 160), np.uint8)
    cv2.ellipse(outline, (80, 60), (60, 45), 20, 0, 360, 1, 1)
    whole = mask_files.fill_outline(outline > 0)
    if cut == "edge":
        outline, whole = outline[25:], whole[25:]
    else:
        outline[50:60, 125:] = 0
    found = mask_files.fill_outline(outline > 0)
    assert (found != whole).sum() < 0.02 * whole.sum()
    assert outline.sum() < 0.1 * found.sum()


def test_stray_pixels_do_not_open_a_closed_outline():
    outline = np.zeros((120, 160), np.uint8)
    cv2.ellipse(outline, (80, 60), (50, 40), 0, 0, 360, 1, 1)
    closed = mask_files.fill_outline(outline > 0)
    outline[8, 150] = 1
    assert mask_files.fill_outline(outline > 0).sum() == closed.sum() + 1


def test_real_hc18_images_are_read(shared_data):
    data = hc18.read_hc18(shared_data / "hc18")
    assert len(data) == 196
    assert data.table["patient"].nunique() == 160
    assert not data.synthetic and data.units == "examinations"


def write_manifest(root, text):
    for name in ("a", "b", "c"):
        write_image(root / "images" / f"{name}.png")
    (root / "manifest.csv").write_text(text)
    return root / "manifest.csv"


def test_manifest_with_and_without_split(tmp_path):
    path = write_manifest(
        tmp_path,
        "image,label,patient,split\nimages/a.png,x,1,train\nimages/b.png,y,2,test\n",
    )
    data = manifest.read_manifest(path)
    assert data.table["split"].tolist() == ["train", "test"]
    assert kinds.load_dataset("manifest", tmp_path).fingerprint == data.fingerprint
    path.write_text("image,label,patient\nimages/a.png,x,1\n")
    assert manifest.read_manifest(path).table["split"].tolist() == [""]


ROWS = "image,label,patient\nimages/a.png,x,1\nimages/b.png,y,2\n"


@pytest.mark.parametrize(
    "content",
    [
        ROWS.replace("\n", ",\n"),
        ROWS.replace("1\n", "1,,\n"),
        ROWS.replace("patient", "patient,"),
        ROWS.replace("\n", "\n,,\n\n"),
        ROWS.replace("\n", "\r\n"),
        ROWS.replace(",", ";"),
        "sep=;\r\n" + ROWS.replace(",", " ; "),
        ROWS.replace(",", "\t"),
        ROWS.replace("image,label,patient", '"image";"label";"patient"').replace(",", ";"),
        ROWS.replace("\nim", "\n7,im").replace("image,", ",image,"),
        ROWS.replace("a.png", "./a.png").replace("images/b", "./images//b"),
        ROWS.encode("utf-8-sig"),
        ROWS.replace(",", "\t").encode("utf-16"),
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, content):
    path = write_manifest(tmp_path, ROWS)
    expected = manifest.read_manifest(path)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = manifest.read_manifest(path)
    assert found.fingerprint == expected.fingerprint
    assert found.table.equals(expected.table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Table lacks columns.*image, label, patient"),
        (b"\xff\xfe", "Table lacks columns.*image, label, patient"),
        (b'a\n"', "Table cannot be read.*unexpected end.*UTF-8"),
        (ROWS.replace("x", "f\xf6tus").encode("cp1252"), "cannot be read.*can't decode.*code page"),
        (ROWS.encode("utf-16-le"), "cannot be read.*zero bytes, as UTF-16"),
        (ROWS.replace("x", "x\0").encode(), "cannot be read.*zero bytes"),
        (
            ROWS.replace("x,1", "x,y,1").encode(),
            "other fields than the 3 .*: line 2\\.",
        ),
        (ROWS.replace(",2", "").encode(), "other fields than the 3 .*: line 3\\."),
        (ROWS.replace("x,1", '"x,1').encode(), "Table cannot be read"),
        (ROWS.replace("\n", ",label\n").encode(), "Columns have no name or the same one.*'label'"),
        (ROWS.replace("label", "Label").encode(), r"lacks columns.*\(image,Label,patient\)"),
        (ROWS.splitlines()[0].encode(), "no images"),
        (ROWS.replace("y", "X").encode(), "only in capitals.*column label.*x, X"),
        (ROWS.replace("1", "p").replace("2", "P").encode(), "only in capitals.*patient.*p, P"),
        (ROWS.replace("images/a", "a" * 300).encode(), "1 of 2 images are damaged.*too long"),
        (ROWS.replace("images/a", "images/b.png/a").encode(), "1 of 2 image files are missing"),
        (ROWS.replace("images/b", "./images/a").encode(), "occur twice.*: images/a.png"),
    ],
)
def test_tables_that_would_be_misread_are_refused(tmp_path, content, message):
    path = write_manifest(tmp_path, ROWS)
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        manifest.read_manifest(path)
    assert str(tmp_path) in str(caught.value)


def test_tables_of_hc18_and_planes_without_rows_are_refused(tmp_path):
    for read, root in (
        (hc18.read_hc18, write_heads(tmp_path / "heads")),
        (fetal_planes.read_fetal_planes, write_planes(tmp_path / "planes")),
    ):
        (table,) = root.glob("*.csv")
        table.write_text(table.read_text().splitlines()[0])
        with pytest.raises(DataError, match="no images"):
            read(root)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("a.png,x,1,train", "b.png,x,2,test"), "patients.*images/a.png = images/b.png.*one row"),
        (("a.png,x,1,", "b.png,y,1,"), "different labels.*images/a.png = images/b.png"),
        (("a.png,x,1,train", "b.png,x,1,train"), ""),
        (("a.png,x,1,", "b.png,x,2,"), "Note: Equal pictures .*: images/a.png = images/b.png"),
        (("a.png,x,1,test", "c.png,y,2,train"), ""),
    ],
)
def test_equal_pictures_with_two_labels_or_on_two_sides(tmp_path, rows, message, capsys):
    text = "image,label,patient,split\n" + "".join(f"images/{row}\n" for row in rows)
    path = write_manifest(tmp_path, text)
    (tmp_path / "images/b.png").write_bytes((tmp_path / "images/a.png").read_bytes())
    if "Note" in message or not message:
        assert len(manifest.read_manifest(path)) == 2
        assert re.match(message or "$", capsys.readouterr().err)
    else:
        with pytest.raises(DataError, match=message):
            manifest.read_manifest(path)


def test_equal_pictures_of_a_published_data_set_are_noted(tmp_path, capsys):
    root = write_planes(tmp_path)
    first, *_, last = sorted((root / "Images").iterdir())
    last.write_bytes(first.read_bytes())
    assert len(fetal_planes.read_fetal_planes(root)) == 4
    assert f"{first.stem} = {last.stem}" in capsys.readouterr().err


def test_manifest_heads_must_have_the_size_of_their_masks(tmp_path):
    root = write_outlines(tmp_path, fill=-1) / "training_set"
    rows = [f"00{i}_HC.png,x,{i},00{i}_HC_Annotation.png,0.5,{{}}" for i in range(3)]
    text = "\n".join(["image,label,patient,mask_head,pixel_mm,hc_mm", *rows])
    (root / "manifest.csv").write_text(text.format(85, 95, 125))  # of a report: near enough
    assert len(manifest.read_manifest(root)) == 3
    (root / "manifest.csv").write_text(text.format(80, 200, 120))
    with pytest.raises(DataError, match=r"in 1 heads.*: 001_HC\.png \(table 200\.0 mm, outline 1"):
        manifest.read_manifest(root)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("images/c.png,x,1,test", "Patients occur in two splits.*1"),
        ("images/c.png,x,3,dev", "Unknown split in 1 of 2 rows.*test, empty.*dev"),
        ("images/c.png,x,,test", "Empty value.*column patient.*line 3"),
        ("../c.png,x,3,test", "lead out of the manifest"),
        ("/c.png,x,3,test", "lead out of the manifest"),
        ("images/d.png,x,3,test", r"1 of 2 image files are missing.*d\.png"),
        ("images/a.png,x,3,test", "occur twice"),
    ],
)
def test_manifest_errors(tmp_path, row, message):
    text = f"image,label,patient,split\nimages/a.png,x,1,train\n{row}\n"
    path = write_manifest(tmp_path, text)
    with pytest.raises(DataError, match=message):
        manifest.read_manifest(path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("id", "7", "reserved.*id"), ("path", "x", "reserved"), ("hc_mm", "abc", "30 to 500 mm.*abc")],
)
def test_manifest_columns_that_cannot_be_used(tmp_path, column, value, message):
    text = f"image,label,patient,{column}\nimages/a.png,x,1,{value}\n"
    with pytest.raises(DataError, match=message):
        manifest.read_manifest(write_manifest(tmp_path, text))


def test_manifest_masks_of_all_structures_must_exist_inside_the_folder(tmp_path):
    path = write_manifest(
        tmp_path,
        "image,label,patient,mask_heart,mask_spine\nimages/a.png,x,1,h.png,images/b.png\n"
        "images/b.png,x,2,,s.png\n",
    )
    with pytest.raises(DataError, match=r"2 of 3 masks are missing.*: h\.png, s\.png\. .*put them"):
        manifest.read_manifest(path)
    path.write_text(path.read_text().replace(",h.png", ",/h.png"))
    with pytest.raises(DataError, match=r"lead out of the manifest.*column mask_heart.*/h\.png"):
        manifest.read_manifest(path)
    path.write_text("image,label,patient,mask_heart\nimages/a.png,x,1,\n")
    assert manifest.read_manifest(path).table["mask_heart"].tolist() == [""]


def test_unknown_kind_and_missing_folder(tmp_path):
    with pytest.raises(DataError, match="Unknown kind"):
        kinds.load_dataset("mri", tmp_path)
    with pytest.raises(DataError, match="Data folder is missing.*name the folder"):
        kinds.load_dataset("hc18", tmp_path / "none")


def test_of_an_own_manifest_no_download_is_advised(tmp_path):
    for root, place in ((tmp_path / "none", "none"), (tmp_path, "manifest.csv")):
        match = rf"Table is missing.*{place}\. .*image,label,patient.*name the folder that holds"
        with pytest.raises(DataError, match=match) as caught:
            kinds.load_dataset("manifest", root)
        assert "download" not in str(caught.value)
    path = write_manifest(tmp_path, "image,label,patient\nimages/d.png,x,1\n")
    with pytest.raises(DataError, match="put them there .* or drop these rows"):
        manifest.read_manifest(path)
    path.write_text("image,label,patient\nimages/a.png,x,1\n")
    (tmp_path / "images" / "a.png").write_bytes(b"none")
    with pytest.raises(ImageError, match="put whole files in their place .* or drop their rows"):
        manifest.read_manifest(path)
