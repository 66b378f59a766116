import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from fetalclip_nb.data import images
from fetalclip_nb.errors import ImageError

GREY = np.linspace(0, 255, 16 * 24).reshape(16, 24).astype(np.uint8)


def test_padding_centres_with_the_floor_on_the_left_and_top():
    wide = Image.fromarray(np.full((2, 5), 9, np.uint8))
    square = np.asarray(images.pad_to_square(wide))
    assert square.shape == (5, 5)
    assert square.any(1).tolist() == [False, True, True, False, False]
    tall = np.asarray(images.pad_to_square(Image.fromarray(np.full((4, 1), 9, np.uint8))))
    assert tall.any(0).tolist() == [False, True, False, False]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_cubic_resize_of_three_by_three_pixels_by_hand(mode):
    """New pixel 1 of 6 lies at 0.25 of 3: four old ones weigh -0.1055, 0.8789, 0.2617, -0.0352.

    These are the cubic weights for a = -0.75; pixels at the border are repeated.
    """
    near, far, over, beyond = 0.87890625, 0.26171875, -0.10546875, -0.03515625
    middle = [200 * over, 200 * far + 100 * beyond, 200 * near + 100 * over]
    middle += [200 * near + 100 * (far + beyond), 200 * far + 100 * (near + over)]
    middle += [200 * over + 100 * (near + far + beyond)]
    rows = np.outer([over, far, near, near, far, over], middle)
    small = Image.fromarray(np.array([[0, 0, 0], [0, 200, 100], [0, 0, 0]], np.uint8))
    large = images.resize_cubic(small.convert(mode), 6)
    assert large.mode == mode
    assert np.array_equal(np.asarray(large.convert("L")), rows.clip(0).round())


def test_cubic_resize_does_not_smooth_first():
    wide = np.zeros((9, 9), np.uint8)
    wide[:, 3] = 255  # new pixels lie on old 1, 4 and 7
    assert not np.asarray(images.resize_cubic(Image.fromarray(wide), 3)).any()


@pytest.mark.parametrize(
    ("mode", "read"), [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGB"), ("LA", "L")]
)
def test_modes_become_grey_or_rgb(tmp_path, mode, read):
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    assert images.read_image(tmp_path / "a.png").mode == read


def test_sixteen_bit_grey_keeps_its_range(tmp_path):
    values = np.array([[0, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.asarray(images.read_image(tmp_path / "a.png")).tolist() == [[0, 127, 255]]


def test_truncated_file_is_one_paragraph_that_names_it(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ImageError, match=r"a\.png.*What to do: put a whole file") as caught:
        images.read_image(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ImageError, match="damaged"):
        images.verify_image(path.read_bytes(), path)


def test_a_flipped_bit_is_found_without_decoding(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    data = bytearray(path.read_bytes())
    images.verify_image(bytes(data), path)
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        images.verify_image(bytes(data), path)


def test_missing_file_and_text_file(tmp_path):
    with pytest.raises(ImageError, match="missing"):
        images.read_image(tmp_path / "none.png")
    (tmp_path / "a.png").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ImageError, match="Not an image .42 bytes.*PNG, JPEG or DICOM") as caught:
        images.read_image(tmp_path / "a.png")
    assert str(caught.value).count("What to do") == 1
    with pytest.raises(ImageError) as caught:
        images.verify_image(b"no img", tmp_path / "a.png")
    assert caught.value.what == "Not an image (6 bytes)"
    with pytest.raises(ImageError, match=r"Not an image.*a\.png"):
        images.image_size(tmp_path / "a.png")


def write_tiff(path, values, zero=1, kind=1):
    """A grey TIFF in the values' order of bytes: `zero` 0 is white, `kind` 2 signed, 3 float."""
    order, (height, width) = ">" if values.dtype.byteorder == ">" else "<", values.shape
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: zero, 273: 8, 277: 1}
    tags |= {278: height, 279: values.nbytes, 339: kind}
    entries = [struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items()]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + values.nbytes)
    count = struct.pack(order + "H", len(tags))
    path.write_bytes(head + values.tobytes() + count + b"".join(entries) + bytes(4))
    return path


def chunk(name: bytes, content: bytes) -> bytes:
    sealed = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + sealed


def refused(path, match):
    """Whoever reads an image, and whoever checks a data set before work, is told the same."""
    for read in (images.read_image, lambda path: images.verify_image(path.read_bytes(), path)):
        with pytest.raises(ImageError, match=f"{match}.*{path.name}"):
            read(path)


def read_like(path, grey=GREY, within=1):
    """An image is read as this grey picture, and its size is that of what is read."""
    images.verify_image(path.read_bytes(), path)
    found = images.read_image(path)
    assert found.size == images.image_size(path) == grey.shape[::-1]
    assert np.abs(np.asarray(found.convert("L")).astype(int) - grey).max() <= within


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize(("turn", "stored"), [(2, 0), (3, 3), (5, 5), (6, 2), (7, 6), (8, 4)])
def test_images_are_turned_upright_as_exif_says(tmp_path, ending, turn, stored):
    exif, path = Image.Exif(), tmp_path / f"a.{ending}"
    exif[274] = turn
    lying = Image.fromarray(GREY).transpose(Image.Transpose(stored))
    lying.save(
        path, exif=exif, **{"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(ending, {})
    )
    read_like(path, within=2)


def test_a_turn_behind_the_pixels_of_a_png_counts_for_its_size_too(tmp_path):
    path, exif = tmp_path / "a.png", Image.Exif()
    exif[274] = 6
    Image.fromarray(GREY).transpose(Image.Transpose.ROTATE_90).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + data[-12:])
    read_like(path)


@pytest.mark.parametrize("ending", ["gif", "webp", "tif", "png"])
@pytest.mark.parametrize(("count", "middle"), [(2, 1), (4, 2), (5, 2)])
def test_of_several_frames_the_middle_one_is_read(tmp_path, ending, count, middle):
    frames = [Image.fromarray(np.full_like(GREY, 3 * number)) for number in range(count)]
    frames[middle] = Image.fromarray(GREY)
    path, more = tmp_path / f"a.{ending}", {"lossless": True} if ending == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **more)
    read_like(path)


def test_previews_are_no_frames_and_pages_of_several_sizes_no_clip(tmp_path):
    whole, small = Image.fromarray(GREY), Image.fromarray(GREY[:4, :4])
    whole.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[small], quality=100)
    read_like(tmp_path / "a.jpg", within=2)
    whole, small = Image.fromarray(GREY), Image.fromarray(GREY[:4, :4])
    whole.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    refused(tmp_path / "a.tif", "pages of several sizes")


@pytest.mark.parametrize("order", "<>")
def test_deep_tiffs_are_read_in_either_order_of_bytes(tmp_path, order):
    deep, share = GREY.astype(order + "u2") * 257, (GREY / 255).astype(order + "f4")
    for values, kind in ((deep.astype(order + "u2"), 1), (share, 3)):
        read_like(write_tiff(tmp_path / "a.tif", values, kind=kind))
    read_like(write_tiff(tmp_path / "a.tif", (255 - GREY).astype(order + "u1"), zero=0))
    white = write_tiff(tmp_path / "a.tif", (65535 - deep).astype(order + "u2"), zero=0)
    refused(white, "rare values.*PNG") if order == ">" else read_like(white)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (GREY.astype("f4"), 3),
        ((GREY / 127.5 - 1).astype("f4"), 3),
        (np.where(GREY > 9, GREY / 255, np.nan).astype("f4"), 3),
        (np.where(GREY > 9, GREY / 255, np.inf).astype("f4"), 3),
        (GREY.astype("i2") * 128, 2),
        (GREY.astype("u4"), 1),
        ((GREY // 2).astype("i1"), 2),
    ],
)
def test_values_that_do_not_say_what_is_white_are_refused(tmp_path, values, kind):
    refused(write_tiff(tmp_path / "a.tif", values, kind=kind), "do not say what is white")


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_fewer_bits_than_the_file_says_are_refused_in_grey_and_colour(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    for used in (1, 4, 16):
        for values in (
            GREY.astype(np.uint16) * used,
            np.dstack([GREY.astype(np.uint16) * used] * 3),
        ):
            cv2.imwrite(str(path), values)
            refused(path, "little of the range of their bits")
    cv2.imwrite(str(path), np.dstack([GREY.astype(np.uint16) * 257] * 3))
    read_like(path)
    cv2.imwrite(str(path), GREY.astype(np.uint16) * 128)  # dim, but more than a quarter
    read_like(path, GREY // 2)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA"])
def test_an_image_of_one_value_is_blank(tmp_path, mode):
    for size, value in (((24, 16), 0), ((640, 480), 255)):
        path = tmp_path / "a.png"
        Image.new("L", size, value).convert(mode).save(path)
        refused(path, "blank")
    hidden = Image.fromarray(np.dstack([np.zeros_like(GREY)] * 3 + [GREY]))
    hidden.save(tmp_path / "alpha.png")
    with pytest.raises(ImageError, match="blank"):
        images.read_image(tmp_path / "alpha.png")


@pytest.mark.parametrize(
    ("size", "fits"), [((1, 60_000), False), ((9460, 2), False), ((9400, 2), True)]
)
def test_a_square_that_does_not_fit_is_refused_before_decoding(tmp_path, size, fits):
    path = tmp_path / "a.png"
    values = np.zeros(size[::-1], np.uint8)
    values[0, 0] = 255
    Image.fromarray(values).save(path)
    if fits:
        return read_like(path, values)
    with pytest.raises(ImageError, match=r"too large.*1 to 9459"):
        images.image_size(path)
    return refused(path, "too large")


def test_whatever_pillow_raises_is_an_error_of_the_image(tmp_path):
    path = write_tiff(tmp_path / "a.tif", GREY)
    content = path.read_bytes()
    at = content.index(struct.pack("<HH", 273, 4))
    path.write_bytes(content[:at] + struct.pack("<HH", 273, 5) + content[at + 4 :])
    refused(path, "damaged")
    (tmp_path / "b.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    )
    refused(tmp_path / "b.png", "Not an image")
