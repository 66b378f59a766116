import numpy as np
import pytest
from PIL import Image

from fetalclip_nb.data import images
from fetalclip_nb.errors import ImageError


def test_padding_centres_with_the_floor_on_the_left_and_top():
    wide = Image.fromarray(np.full((2, 5), 9, np.uint8))
    square = np.asarray(images.pad_to_square(wide))
    assert square.shape == (5, 5)
    assert square.any(1).tolist() == [False, True, True, False, False]
    tall = np.asarray(images.pad_to_square(Image.fromarray(np.full((4, 1), 9, np.uint8))))
    assert tall.any(0).tolist() == [False, True, False, False]


@pytest.mark.parametrize(
    ("mode", "read"), [("L", "L"), ("RGB", "RGB"), ("RGBA", "RGB"), ("LA", "L")]
)
def test_modes_become_grey_or_rgb(tmp_path, mode, read):
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
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
    with pytest.raises(ImageError, match="PNG, JPEG or DICOM.*not an image .42 bytes") as caught:
        images.read_image(tmp_path / "a.png")
    assert str(caught.value).count("What to do") == 1
    with pytest.raises(ImageError) as caught:
        images.verify_image(b"no img", tmp_path / "a.png")
    assert str(caught.value) == f"Not an image (6 bytes). Where: {tmp_path / 'a.png'}."
    with pytest.raises(ImageError, match="header.*Found: not an image"):
        images.image_size(tmp_path / "a.png")
