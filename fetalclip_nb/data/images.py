"""Reading images and the paper's preparation: a centred square with black borders."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fetalclip_nb.data.dicom import dicom_size, is_dicom, read_dicom, require_contrast, require_room
from fetalclip_nb.errors import FetalClipError, ImageError, reason

Image.init()
_PICTURES = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TGA", "TIFF", "WEBP"}
FORMATS = tuple(sorted(_PICTURES & set(Image.OPEN)))
"""What Pillow may open: pixels alone, nothing that asks another program such as EPS."""

ENDINGS = tuple(end for end, kind in Image.registered_extensions().items() if kind in _PICTURES)
"""Endings of files of these formats, in lower case."""


def read_image(path: Path) -> Image.Image:
    """Decode one image as grey ("L") or "RGB", upright as EXIF says.

    Grey stays grey until the model's own preprocess converts it; RGBA loses its alpha channel;
    palettes, 16 bits (0 to 65,535) and floats (0 to 1) are converted. Of a clip or of several
    pages it is the middle one. The file is one of `FORMATS`, such as PNG or JPEG, or DICOM.

    Raises:
        ImageError: If the file is missing, is no whole image, is too large or blank, or does not
            say which of its values are black and white.
        DataError: If it is a DICOM file and pydicom is not installed.

    Source: FetalCLIP repository, preparation of zero-shot inputs.
    """
    if is_dicom(path):
        return read_dicom(path)
    with _opened(path) as (image, _):
        return _picture(image, path)


def verify_image(data: bytes, path: Path) -> None:
    """Check that a file's bytes are a whole image, without decoding it where the format allows.

    A PNG carries a checksum for each chunk: testing those finds truncation and bit errors
    without inflating the pixels (`benchmarks/run.py dataset`). Other formats are decoded, and
    PNGs of 16 bits, of several frames, or so small that they may be blank. The path is for the
    message.
    """
    if is_dicom(path, data):
        read_dicom(path, data=data)
        return
    with _opened(path, data) as (image, _):
        usual = len(data) > 1500 + image.width * image.height / 50
        if usual and image.format == "PNG" and image.n_frames == 1 and not _deep(image):
            image.verify()
        else:
            _picture(image, path)


def pad_to_square(image: Image.Image) -> Image.Image:
    """Centre an image of any mode, width w x height h, on a black square.

    Returns:
        An image of side max(width, height); floor((side - w) / 2) black columns on the
        left and floor((side - h) / 2) black rows on top.

    Source: FetalCLIP repository, image preparation of all experiments.

    >>> pad_to_square(Image.new("L", (5, 2))).size
    (5, 5)
    """
    width, height = image.size
    side = max(width, height)
    if width == height:
        return image
    square = Image.new(image.mode, (side, side))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def read_square(path: Path) -> Image.Image:
    """Read an image and pad it to a square: what every encoder is given."""
    return pad_to_square(read_image(path))


def resize_cubic(square: Image.Image, side: int = 224) -> Image.Image:
    """Bring a square to a side by OpenCV's cubic interpolation, which does not smooth first.

    Each new pixel is made of the 4 x 4 old ones around it, however many it stands for: speckle
    of a large picture becomes coarse noise in a small one. Mode "L" or "RGB", 8 bits, as it was.

    Source: FetalCLIP repository, images of probing, few-data training and segmentation.

    >>> resize_cubic(Image.new("L", (540, 540))).size
    (224, 224)
    """
    size = (side, side)
    return Image.fromarray(cv2.resize(np.asarray(square), size, interpolation=cv2.INTER_CUBIC))


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as they are read, from the header alone."""
    if is_dicom(path):
        return dicom_size(path)
    with _opened(path) as (image, data):
        # Pillow turns TIFF itself, and decodes a PNG to look for turns behind its pixels.
        marks = {"PNG": (b"eXIf", b"exif", b"XML:com.adobe.xmp"), "TIFF": ()}
        turns = any(mark in data for mark in marks.get(image.format, (b"",)))
        swapped = turns and image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return image.size[::-1] if swapped else image.size


@contextlib.contextmanager
def _opened(path: Path, data: bytes | None = None) -> Iterator[tuple[Image.Image, bytes]]:
    """An image that is not decoded yet, and its bytes; whatever goes wrong is one error."""
    try:
        data = Path(path).read_bytes() if data is None else data
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            require_room(*image.size, path)
            yield image, data
    except FetalClipError:
        raise
    except Exception as error:  # over a damaged file Pillow raises anything
        what = f"Image is damaged: {reason(error)}"
        if isinstance(error, UnidentifiedImageError):  # which names a memory address
            tiff = data.startswith((b"II*", b"MM\0*"))
            what = "Image is a TIFF of rare values (save it as PNG)" if tiff else "Not an image"
        raise ImageError(
            f"Image is missing: {reason(error)}" if data is None else f"{what} ({len(data)} bytes)",
            where=path,
            expected="a whole PNG, JPEG or DICOM file",
            fix="put a whole file in its place (of a data set: download or unpack it again)",
        ) from None


def _picture(image: Image.Image, path: Path) -> Image.Image:
    """The pixels of an opened file, of several frames the middle one, as grey or RGB."""
    size = image.size
    # What else is in an MPO are no frames but previews.
    if image.format != "MPO" and (frame := getattr(image, "n_frames", 1) // 2):
        image.seek(frame)
    if image.size != size:
        what = f"Image has pages of several sizes, such as {size} and {image.size}"
        raise ImageError(what, where=path, fix="save one of them")
    deep = _deep(image)
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    picture = _grey_or_rgb(image, path)
    require_contrast(picture, path, deep=deep)
    return picture


def _deep(image: Image.Image) -> bool:
    """Whether a file has more than 8 bits a sample, of which Pillow may keep 8."""
    return image.mode[0] in "IF" or ";16" in str(image.tile)


def _grey_or_rgb(image: Image.Image, path: Path) -> Image.Image:
    tags = getattr(image, "tag_v2", {})  # of TIFF: 258 bits, 262 what zero is, 339 their format
    signed = 2 in tags.get(339, ())
    if image.mode[0] not in "IF" and not signed:
        image = image.convert("LA") if image.mode == "La" else image
        return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    # Pillow clips 16-bit values at 255 when it converts; scale by the full range instead.
    values = np.asarray(image, dtype=np.float64)
    top = 1.0 if image.mode == "F" else 2.0 ** min(tags.get(258, (16,))[0], 16) - 1
    low, high = values.min(), values.max()
    # Whole numbers of 32 bits have no white, unless Pillow has scaled them (PGM).
    if signed or (image.mode == "I" and image.format != "PPM") or not 0 <= low <= high <= top:
        what = f"Image has values from {low:g} to {high:g} that do not say what is white"
        raise ImageError(what, where=path, fix="save it as 8 or 16 bits, or floats from 0 to 1")
    values = top - values if tags.get(262) == 0 else values
    return Image.fromarray((values * (255.0 / top)).astype(np.uint8))
