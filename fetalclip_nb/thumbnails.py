"""Thumbnails of image files, and a sheet of them in one picture file."""

import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from fetalclip_nb.images import read_square


def thumbnails(paths: Sequence[Path], side: int) -> list[Image.Image]:
    """Images as the encoder is given them (squares with black borders), made small.

    Args:
        paths: Image files.
        side: Width and height in pixels.

    Returns:
        One image a path, "L" where the file is grey and "RGB" where it is not.

    Raises:
        ImageError: If an image is missing or cannot be decoded.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(partial(_thumbnail, side=side), paths))


def contact_sheet(pictures: Sequence[Image.Image], side: int, quality: int) -> tuple[bytes, int]:
    """Put thumbnails beside and below each other, row by row, in one JPEG.

    Args:
        pictures: Square images.
        side: Width and height that each is brought to, in pixels; with a multiple of 8 no
            block of the JPEG holds parts of two images that are grey.
        quality: Of the JPEG, 1 to 95.

    Returns:
        The file, and how many thumbnails stand in a row.

    >>> contact_sheet([Image.new("L", (8, 8))] * 5, 8, 75)[1]
    3
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    sheet = Image.new(mode, (columns * side, rows * side))
    for number, picture in enumerate(pictures):
        sheet.paste(_small(picture, side), (number % columns * side, number // columns * side))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue(), columns


def _thumbnail(path: Path, side: int) -> Image.Image:
    return _small(read_square(path), side)


def _small(picture: Image.Image, side: int) -> Image.Image:
    if picture.size == (side, side):
        return picture
    return picture.resize((side, side), Image.Resampling.LANCZOS)
