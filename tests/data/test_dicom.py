"""DICOM files as pydicom writes them: what is read, and what is refused."""

import re
import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fetalclip_nb.data import dicom, images, own_images
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.errors import DataError, ImageError

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    MPEG4HP41,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundImageStorage,
)

GREY = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)
PATIENT = "Doe^Jane"


def write_dicom(path, values, kind="MONOCHROME2", *, frames=False, syntax=None, data=None, **more):
    """Write pixels; `data` replaces their bytes, `syntax` says how these are compressed."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = syntax or pydicom.uid.ExplicitVRLittleEndian
    found = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    found.PatientName = PATIENT
    found.PatientID = "4711"
    shape = values.shape[1:] if frames else values.shape
    found.Rows, found.Columns = shape[:2]
    found.SamplesPerPixel = 3 if len(shape) == 3 else 1
    if found.SamplesPerPixel == 3:
        found.PlanarConfiguration = 0
    found.PhotometricInterpretation = kind
    bits = 8 * values.dtype.itemsize
    found.BitsAllocated, found.BitsStored, found.HighBit = bits, bits, bits - 1
    found.PixelRepresentation = int(values.dtype.kind == "i")
    if frames:
        found.NumberOfFrames = len(values)
    content = values.tobytes() if data is None else data
    found.PixelData = content + b"\0" * (len(content) % 2)
    found["PixelData"].VR = "OB" if bits == 8 or syntax else "OW"
    for name, value in more.items():
        setattr(found, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save_as(path, enforce_file_format=True)
    return path


def read(path) -> list:
    return np.asarray(dicom.read_dicom(path)).tolist()


def test_grey_is_read_as_it_is_and_low_is_white_in_monochrome1(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", GREY)
    assert dicom.read_dicom(path).mode == "L" and read(path) == GREY.tolist()
    assert read(write_dicom(tmp_path / "b.dcm", GREY, "MONOCHROME1")) == (255 - GREY).tolist()


def test_colours_stay_colours_and_ybr_becomes_rgb(tmp_path):
    rgb = np.array([[[255, 0, 0], [0, 255, 0], [9, 9, 9]]], dtype=np.uint8)
    path = write_dicom(tmp_path / "a.dcm", rgb, "RGB")
    assert dicom.read_dicom(path).mode == "RGB" and read(path) == rgb.tolist()
    planes = write_dicom(
        tmp_path / "p.dcm", rgb, "RGB", data=rgb.transpose(2, 0, 1).tobytes(), PlanarConfiguration=1
    )
    assert read(planes) == rgb.tolist()
    # Luminance alone is grey; red in the coefficients of JPEG (BT.601).
    ybr = np.array([[[77, 128, 128], [76, 85, 255]]], dtype=np.uint8)
    found = np.array(read(write_dicom(tmp_path / "y.dcm", ybr, "YBR_FULL")))
    assert np.abs(found - [[[77, 77, 77], [254, 0, 0]]]).max() <= 1


def test_palette_becomes_rgb(tmp_path):
    tables = {}
    for name, values in {"Red": (0, 10, 20), "Green": (0, 0, 200), "Blue": (255, 1, 0)}.items():
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        words = np.array(values, dtype=np.uint16) * 257
        tables[f"{name}PaletteColorLookupTableData"] = words.tobytes()
    pixels = np.array([[0, 1], [2, 2]], dtype=np.uint8)
    path = write_dicom(tmp_path / "a.dcm", pixels, "PALETTE COLOR", **tables)
    assert read(path) == [[[0, 0, 255], [10, 0, 1]], [[20, 200, 0], [20, 200, 0]]]


def test_sixteen_bits_without_window_span_what_their_bits_can_hold(tmp_path):
    values = np.array([[0, 2048, 4095]], dtype=np.uint16)
    path = write_dicom(tmp_path / "a.dcm", values, BitsStored=12, HighBit=11)
    assert read(path) == [[0, 128, 255]]
    signed = np.array([[-32768, 0, 32767]], dtype=np.int16)
    assert read(write_dicom(tmp_path / "b.dcm", signed)) == [[0, 128, 255]]


def test_window_is_applied_the_first_of_several_and_after_rescaling(tmp_path):
    values = np.array([[0, 100, 150, 200, 5000]], dtype=np.uint16)
    # Linear, PS3.3 C.11.2.1.2.1: (x - 149.5) / 100 + 0.5 between 99.5 and 199.5.
    window = {"WindowCenter": 150, "WindowWidth": 101}
    expected = [[0, 1, 129, 255, 255]]
    assert read(write_dicom(tmp_path / "a.dcm", values, **window)) == expected
    two = {"WindowCenter": [150, 2000], "WindowWidth": [101, 4000]}
    assert read(write_dicom(tmp_path / "b.dcm", values, **two)) == expected
    rescaled = {"WindowCenter": 300, "WindowWidth": 201, "RescaleSlope": 2, "RescaleIntercept": 0}
    found = read(write_dicom(tmp_path / "c.dcm", values, **rescaled))
    assert found == [[0, 1, 128, 255, 255]]
    inverted = write_dicom(tmp_path / "d.dcm", values, "MONOCHROME1", **window)
    assert read(inverted) == [[255, 254, 126, 0, 0]]


def test_tables_of_values_are_applied_over_their_own_range(tmp_path):
    pixels = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    for name, bits in {"VOILUTSequence": 12, "ModalityLUTSequence": 16}.items():
        item = Dataset()
        item.LUTDescriptor = [4, 0, bits]
        item.LUTData = [2**bits - 1, 0, 2 ** (bits - 1), 2**bits - 1]
        item["LUTData"].VR = "US"
        path = write_dicom(tmp_path / f"{name}.dcm", pixels, **{name: [item]})
        assert read(path) == [[255, 0, 128, 255]], name


@pytest.mark.parametrize(("count", "middle"), [(1, 0), (4, 2), (5, 2)])
def test_a_clip_gives_its_middle_frame(tmp_path, count, middle):
    clip = np.stack([GREY // (i + 1) for i in range(count)])
    path = write_dicom(tmp_path / "a.dcm", clip, frames=True)
    assert read(path) == clip[middle].tolist()


def compressed(form: str, **options) -> bytes:
    file = BytesIO()
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    Image.fromarray(smooth).save(file, form, **options)
    return file.getvalue()


def test_compressed_frames_are_decoded(tmp_path):
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    clip = np.stack([smooth, 255 - smooth])
    jpeg = encapsulate([compressed("jpeg", quality=100), compressed("jpeg", quality=100)])
    path = write_dicom(tmp_path / "a.dcm", clip, frames=True, syntax=JPEGBaseline8Bit, data=jpeg)
    assert np.abs(np.array(read(path)) - smooth).max() <= 2
    exact = encapsulate([compressed("jpeg2000", irreversible=False)])
    path = write_dicom(tmp_path / "b.dcm", smooth, syntax=JPEG2000Lossless, data=exact)
    assert read(path) == smooth.tolist()
    plain = pydicom.dcmread(write_dicom(tmp_path / "c.dcm", smooth))
    plain.compress(RLELossless)
    plain.save_as(tmp_path / "d.dcm")
    assert read(tmp_path / "d.dcm") == smooth.tolist()


@pytest.mark.parametrize("syntax", [JPEGLSLossless, MPEG4HP41])
def test_what_cannot_be_decoded_here_is_named(tmp_path, syntax, monkeypatch):
    decoder = pydicom.pixels.decoders.JPEGLSLosslessDecoder
    monkeypatch.setattr(decoder, "_available", {})
    path = write_dicom(tmp_path / "a.dcm", GREY, syntax=syntax, data=encapsulate([b"12"]))
    with pytest.raises(ImageError, match=r"cannot be decoded here.*a\.dcm.*pip install") as caught:
        dicom.read_dicom(path)
    assert syntax.name in str(caught.value)
    with pytest.raises(ImageError, match=r"a\.dcm: is compressed.*pip install pylibjpeg"):
        own_images.whole_images([path])


def damaged(folder):
    """Files that end early, hold no picture, or are no DICOM at all."""
    whole = write_dicom(folder / "whole.dcm", np.zeros((64, 64), dtype=np.uint8)).read_bytes()
    clip = np.zeros((3, 64, 64), dtype=np.uint8)
    frames = write_dicom(folder / "clip.dcm", clip, frames=True).read_bytes()
    cut = encapsulate([compressed("jpeg")[:-300]])
    write_dicom(
        folder / "jpeg.dcm", np.zeros((16, 16), np.uint8), syntax=JPEGBaseline8Bit, data=cut
    )
    bare = pydicom.dcmread(folder / "whole.dcm")
    del bare.PixelData
    bare.save_as(folder / "bare.dcm")
    del bare.Rows
    bare.save_as(folder / "report.dcm")
    half = pydicom.dcmread(folder / "whole.dcm")
    del half.BitsStored
    half.save_as(folder / "half.dcm")
    contents = {
        "pixels": whole[:-100],
        "middle": frames[: len(frames) - 64 * 64 - 500],
        "header": whole[:200],
        "magic": whole[:132],
        "empty": b"",
        "text": b"version https://git-lfs.github.com/spec/v1",
    }
    for name, content in contents.items():
        (folder / f"{name}.dcm").write_bytes(content)
    return [*contents, "jpeg", "bare", "report", "half", "gone"]


def test_damaged_files_are_one_paragraph_that_names_them(tmp_path):
    for name in damaged(tmp_path):
        path = tmp_path / f"{name}.dcm"
        with pytest.raises(ImageError, match=rf"DICOM file .*{name}\.dcm") as caught:
            images.read_image(path)
        assert "\n" not in str(caught.value) and PATIENT not in str(caught.value)
        assert not re.search(r"[A-Z]\w*Error|Exception|: \.", str(caught.value))
        if path.exists():
            with pytest.raises(ImageError, match=rf"{name}\.dcm"):
                images.verify_image(path.read_bytes(), path)


def test_a_file_without_pixels_holds_no_picture(tmp_path):
    damaged(tmp_path)
    for name in ("bare", "report"):
        with pytest.raises(ImageError, match=rf"{name}\.dcm: holds no picture\. What to do: put"):
            own_images.whole_images([tmp_path / f"{name}.dcm"])


def test_nothing_of_the_patient_is_read(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", GREY)
    seen = []
    keep = pydicom.pixels.apply_voi_lut
    monkeypatch.setattr(
        pydicom.pixels,
        "apply_voi_lut",
        lambda values, found: seen.append(found) or keep(values, found),
    )
    picture = dicom.read_dicom(path)
    assert len(seen) == 1 and "PatientName" not in seen[0] and "PatientID" not in seen[0]
    assert PATIENT not in str(picture.info)


def test_images_are_read_by_their_ending_or_their_letters(tmp_path):
    write_dicom(tmp_path / "scan", GREY)
    for name in ("scan", "scan.DICOM", "scan.png"):
        path = tmp_path / name
        path.write_bytes((tmp_path / "scan").read_bytes())
        assert np.asarray(images.read_image(path)).tolist() == GREY.tolist()
        assert images.image_size(path) == (3, 2)
        images.verify_image(path.read_bytes(), path)
    (tmp_path / "short.dcm").write_bytes(b"")
    with pytest.raises(ImageError, match="short.dcm"):
        images.image_size(tmp_path / "short.dcm")
    with pytest.raises(ImageError, match="No such file"):
        images.image_size(tmp_path / "gone.dcm")


def test_a_manifest_of_dicom_files_is_a_data_set(tmp_path):
    write_dicom(tmp_path / "one.dcm", GREY)
    write_dicom(tmp_path / "two.dcm", np.stack([GREY, 255 - GREY]), frames=True)
    lines = ["image,label,patient", "one.dcm,head,1", "two.dcm,head,2"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    found = load_dataset("manifest", tmp_path)
    squares = [np.asarray(images.read_square(path)) for path in found.paths]
    assert squares[1][:2].tolist() == (255 - GREY).tolist() and squares[0].shape == (3, 3)
    (tmp_path / "two.dcm").write_bytes((tmp_path / "two.dcm").read_bytes()[:-6])
    with pytest.raises(ImageError, match=r"1 of 2 images are damaged.*two\.dcm"):
        load_dataset("manifest", tmp_path)


def test_without_pydicom_one_error_says_what_to_install(tmp_path, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", GREY)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    for read_it in (dicom.read_dicom, images.read_image, images.image_size):
        with pytest.raises(DataError, match=r'pip install "fetalclip-nb\[dicom\]"') as caught:
            read_it(path)
        assert not isinstance(caught.value, ImageError)


def test_other_images_do_not_import_pydicom(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    code = (
        "import sys\nfrom fetalclip_nb.data import images\n"
        f"images.read_image({str(tmp_path / 'a.png')!r})\nsys.exit('pydicom' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def changed(path, **elements):
    """The same file with other elements; None takes one away."""
    found = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(found, name)
        else:
            setattr(found, name, value)
    found.save_as(path)
    return path


def refused(path, match):
    for read_it in (images.read_image, lambda p: images.verify_image(p.read_bytes(), p)):
        with pytest.raises(ImageError, match=rf"{match}.*{path.name}"):
            read_it(path)


@pytest.mark.parametrize("form", ["native", "jpeg", "jpeg in parts", "rle"])
def test_frames_are_counted_in_the_pixels(tmp_path, form):
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    clip = np.stack([smooth // 4, smooth // 3, smooth, smooth // 2, smooth // 5])
    more = {}
    if form.startswith("jpeg"):
        files = [BytesIO() for _ in clip]
        for file, frame in zip(files, clip, strict=True):
            Image.fromarray(frame).save(file, "jpeg", quality=100)
        parts = 2 if "parts" in form else 1
        data = encapsulate([file.getvalue() for file in files], parts, has_bot=False)
        more = {"syntax": JPEGBaseline8Bit, "data": data}
    path = write_dicom(tmp_path / "a.dcm", clip, frames=True, **more)
    if form == "rle":
        found = pydicom.dcmread(path)
        found.compress(RLELossless)
        found.save_as(path)
    for count in (5, None, 0):
        found = read(changed(path, NumberOfFrames=count))
        assert np.abs(np.array(found) - smooth).max() <= 2
        changed(path, NumberOfFrames=5)
    for count in (1, 3, 7):
        refused(changed(path, NumberOfFrames=count), f"counts {count} frames, .* those of 5")


@pytest.mark.parametrize(
    "kind", ["YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT", "HSV", "MONOCHROME2", "X"]
)
def test_colours_that_are_not_read_are_named(tmp_path, kind):
    refused(write_dicom(tmp_path / "a.dcm", np.dstack([GREY] * 3), kind), kind)


@pytest.mark.parametrize("kind", ["YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "RGB"])
@pytest.mark.parametrize("inside", [{}, {"keep_rgb": True}])
def test_a_jpeg_says_itself_what_its_colours_are(tmp_path, kind, inside):
    red = np.full((16, 16, 3), (200, 30, 60), dtype=np.uint8)
    red[:8] = (20, 90, 220)
    file = BytesIO()
    Image.fromarray(red).save(file, "jpeg", quality=100, subsampling=0, **inside)
    data = encapsulate([file.getvalue()])
    path = write_dicom(tmp_path / "a.dcm", red, kind, syntax=JPEGBaseline8Bit, data=data)
    assert np.abs(np.array(read(path)) - red).max() <= 3


@pytest.mark.parametrize(
    ("bits", "factor", "words"), [(16, 257, 2), (8, 1, 1), (8, 1, 2), (16, 1, 2)]
)
def test_palettes_are_scaled_by_what_they_hold(tmp_path, bits, factor, words):
    tables = {}
    for colour in ("Red", "Green", "Blue"):
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        entries = np.arange(256, dtype=f"u{words}") * factor
        tables[f"{colour}PaletteColorLookupTableData"] = entries.astype(f"u{words}").tobytes()
    path = write_dicom(tmp_path / "a.dcm", GREY, "PALETTE COLOR", **tables)
    assert read(path) == np.dstack([GREY] * 3).tolist()


def group(center, width, slope=1):
    window, rescale, both = Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = center, width
    rescale.RescaleSlope, rescale.RescaleIntercept = slope, 0
    both.FrameVOILUTSequence, both.PixelValueTransformationSequence = [window], [rescale]
    return both


def test_windows_and_slopes_lie_in_groups_of_all_frames_and_of_one(tmp_path):
    deep = GREY.astype(np.uint16)
    shared = [group(1280, 2560, 10)]
    path = write_dicom(tmp_path / "a.dcm", deep, SharedFunctionalGroupsSequence=shared)
    assert np.abs(np.array(read(path)) - GREY).max() <= 1
    each = [group(5, 2), group(128, 256), group(9, 2)]
    clip = np.stack([deep // 9, deep, deep // 7])
    path = write_dicom(tmp_path / "b.dcm", clip, frames=True, PerFrameFunctionalGroupsSequence=each)
    assert read(path) == GREY.tolist()


def test_empty_windows_are_none_and_falling_slopes_fall(tmp_path):
    nothing = {"WindowCenter": None, "WindowWidth": None, "RescaleSlope": None}
    assert read(write_dicom(tmp_path / "a.dcm", GREY, **nothing)) == GREY.tolist()
    falling = {"RescaleSlope": -1, "RescaleIntercept": 255}
    assert read(write_dicom(tmp_path / "b.dcm", GREY, **falling)) == (255 - GREY).tolist()
    refused(write_dicom(tmp_path / "c.dcm", GREY, RescaleSlope=0, RescaleIntercept=9), "Slope is 0")


@pytest.mark.parametrize(
    ("values", "elements", "message"),
    [
        (GREY.astype(np.uint16), {}, "little of the range"),
        (GREY.astype(np.uint16) * 16, {}, "little of the range"),
        (np.dstack([GREY.astype(np.uint16)] * 3), {}, "little of the range"),
        (GREY.astype(np.uint16) * 16, {"BitsStored": 8}, "says 8 bits, its pixels hold more"),
        (GREY.astype(np.uint16) * 256, {"BitsStored": 12}, "says 12 bits, its pixels hold more"),
        (GREY.astype(np.uint16), {"WindowCenter": 4000, "WindowWidth": 10}, "blank"),
        (np.full_like(GREY, 7), {}, "blank"),
        (GREY, {"WindowCenter": 4, "WindowWidth": 0}, "Window Width"),
        (GREY, {"Rows": 65535, "Columns": 65535}, "too large"),
        (GREY, {"Rows": 9000, "Columns": 9000}, "less than expected"),
        (GREY, {"Rows": 0}, "empty"),
    ],
)
def test_headers_that_contradict_the_pixels_are_refused(tmp_path, values, elements, message):
    kind = "RGB" if values.ndim == 3 else "MONOCHROME2"
    refused(write_dicom(tmp_path / "a.dcm", values, kind, **elements), message)


def test_unused_bits_and_bits_of_overlays_do_not_count(tmp_path):
    signed = ((GREY.astype(np.int16) - 128) * 16).view(np.uint16) & 0xFFF  # no sign in the rest
    path = write_dicom(tmp_path / "a.dcm", signed.view(np.int16), BitsStored=12, HighBit=11)
    assert np.abs(np.array(read(path)) - GREY).max() <= 1
    path = write_dicom(tmp_path / "b.dcm", GREY.astype(np.uint16) + 4096, BitsStored=8, HighBit=7)
    found = pydicom.dcmread(path)
    found.add_new(0x60000102, "US", 12)
    found.save_as(path)
    assert read(path) == GREY.tolist()


@pytest.mark.parametrize(
    ("implicit", "little"), [(True, True), (False, True), (False, False), (None, None)]
)
def test_files_without_header_and_deflated_files_are_read(tmp_path, implicit, little):
    path, bare = (
        write_dicom(tmp_path / "a.dcm", GREY, SOPClassUID=UltrasoundImageStorage),
        BytesIO(),
    )
    if little is None:
        found = pydicom.dcmread(path)
        found.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        found.save_as(tmp_path / "scan")
    else:
        plain = Dataset()
        plain.update(pydicom.dcmread(path))
        pydicom.dcmwrite(bare, plain, implicit_vr=implicit, little_endian=little)
        (tmp_path / "scan").write_bytes(bare.getvalue())
        (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM" + bare.getvalue())
        assert read(tmp_path / "b.dcm") == GREY.tolist()
    assert np.asarray(images.read_image(tmp_path / "scan")).tolist() == GREY.tolist()
    assert images.image_size(tmp_path / "scan") == (3, 2)


def test_compressed_pixels_without_a_header_are_no_grey_values(tmp_path):
    data = encapsulate([compressed("jpeg")])
    content = write_dicom(
        tmp_path / "a.dcm", np.zeros((16, 16), np.uint8), syntax=JPEGBaseline8Bit, data=data
    ).read_bytes()
    start = content.index(bytes((0x28, 0, 2, 0)))
    (tmp_path / "b.dcm").write_bytes(bytes(128) + b"DICM" + content[start:])
    refused(tmp_path / "b.dcm", "how its pixels are compressed")
    twice = bytes(128) + b"DICM" + (tmp_path / "b.dcm").read_bytes()
    (tmp_path / "c.dcm").write_bytes(twice)
    refused(tmp_path / "c.dcm", "cannot be decoded: no header")
