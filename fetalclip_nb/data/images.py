"""Reading images and the paper's preparation: a centred square with black borders."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from fetalclip_nb.data.dicom import dicom_size, is_dicom, read_dicom
from fetalclip_nb.errors import ImageError

Image.init()
_PICTURES = {
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM"),
    *("SGI", "SUN", "TGA", "TIFF", "WEBP"),
}
FORMATS = tuple(sorted(_PICTURES & set(Image.OPEN)))
"""What Pillow may open: pixels alone, nothing that asks another program such as EPS."""

ENDINGS = tuple(end for end, kind in Image.registered_extensions().items() if kind in _PICTURES)
"""Endings of files of these formats, in lower case."""

_WHOLE = "a whole PNG, JPEG or DICOM file"

DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises that is given a file which is no whole image."""


def read_image(path: Path) -> Image.Image:
    """Decode one image as grey ("L") or "RGB".

    Grey stays grey until the model's own preprocess converts it; RGBA loses its alpha
    channel, palette and 16-bit images are converted. Of a DICOM clip it is the middle frame.

    Args:
        path: A PNG, JPEG or any other file that Pillow reads, or a DICOM file.

    Raises:
        ImageError: If the file is missing, is not an image or is truncated.
        DataError: If it is a DICOM file and pydicom is not installed.

    Source: FetalCLIP repository, preparation of zero-shot inputs.
    """
    if is_dicom(path):
        return read_dicom(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return _grey_or_rgb(image)
    except FileNotFoundError:
        raise ImageError(
            "Image file is missing",
            where=path,
            fix="correct its name (of a data set: download or unpack it again)",
        ) from None
    except DAMAGE as error:
        raise ImageError(
            "Image file cannot be decoded",
            where=path,
            expected=_WHOLE,
            found=f"{_reason(error)} ({path.stat().st_size} bytes)",
            fix="put a whole file in its place (of a data set: download or unpack it again)",
        ) from None


def verify_image(data: bytes, path: Path) -> None:
    """Check that an image is whole, without decoding it where the format allows.

    A PNG carries a checksum for each chunk: testing those finds truncation and bit errors
    without inflating the pixels (`benchmarks/run.py dataset`). Other formats are decoded.

    Args:
        data: The file's bytes.
        path: Its name, for the message.
    """
    if is_dicom(path, data):
        read_dicom(path, data=data)
        return
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.verify() if image.format == "PNG" else image.load()
    except DAMAGE as error:
        # Short, and without advice: whoever checks many files lists these and adds it once.
        foreign = isinstance(error, UnidentifiedImageError)
        what = "Not an image" if foreign else f"Image is damaged: {_reason(error)}"
        raise ImageError(f"{what} ({len(data)} bytes)", where=path) from None


def pad_to_square(image: Image.Image) -> Image.Image:
    """Centre an image on a black square.

    Args:
        image: Width x height pixels, any mode.

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


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, read from the header alone."""
    if is_dicom(path):
        return dicom_size(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.size
    except DAMAGE as error:
        raise ImageError(
            "Image header cannot be read", where=path, expected=_WHOLE, found=_reason(error)
        ) from None


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode not in ("I;16", "I", "F"):
        return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    # Pillow clips 16-bit values at 255 when it converts; scale by the full range instead.
    values = np.asarray(image, dtype=np.float64)
    top = 65535.0 if values.max() > 255 else 255.0
    return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))


def _reason(error: Exception) -> str:
    # Pillow's own text for an unknown format names a memory address.
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or str(error) or "no reason given"
