"""Images out of DICOM files, through pydicom where it is installed.

Nothing but what describes the pixels is read: no name, date or number of a patient. What a
machine has written into the picture itself stays there.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fetalclip_nb.errors import DataError, ImageError

DICOM_SUFFIXES = (".dcm", ".dicom")

_MAGIC_AT, _MAGIC = 128, b"DICM"

NOT_DECODED = "DICOM file is compressed in a way that cannot be decoded here"

DECODERS = (
    "install pydicom's decoders (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg; "
    "none reads video), or export it uncompressed"
)
"""What to do about files that are `NOT_DECODED`."""


def is_dicom(path: Path | str, data: bytes | None = None) -> bool:
    """Whether a file is to be read as DICOM: by its ending, or by its letters at byte 128.

    Args:
        path: The file; it need not exist.
        data: Its bytes, where they have been read.

    >>> is_dicom("scan.DCM"), is_dicom("scan", bytes(128) + b"DICM"), is_dicom("scan.png", b"")
    (True, True, False)
    """
    path = Path(path)
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if data is None:
        try:
            with path.open("rb") as file:
                data = file.read(_MAGIC_AT + len(_MAGIC))
        except OSError:  # whoever reads it will say why it cannot be opened
            return False
    return data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC


def read_dicom(path: Path | str, *, data: bytes | None = None) -> Image.Image:
    """Decode a DICOM file, of a clip the middle frame, as grey ("L") or "RGB".

    Grey values go through the file's own tables: modality, then window or table of values of
    interest, the first where there are several; without one, the range that its bits can hold
    becomes black to white. MONOCHROME1 (low is white) is inverted, palettes and YBR become RGB.

    Args:
        path: The file.
        data: The file's bytes, where they have been read.

    Source: DICOM standard (PS3.3), sections C.7.6.3, C.11.1 and C.11.2.
    """
    with _opened(path, data) as (pydicom, file, header):
        number = int(header.get("NumberOfFrames") or 1) // 2  # of four, the third
        _require_decoder(pydicom, header, path)
        file.seek(0)
        found = pydicom.Dataset()
        values = pydicom.pixels.pixel_array(file, ds_out=found, index=number)
        return Image.fromarray(_eight_bits(pydicom, values, found))


def dicom_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels, read from the header alone."""
    with _opened(path) as (_, _, header):
        return int(header.Columns), int(header.Rows)


def _pydicom():
    # Not an ImageError: that images are skipped must not hide that none could be read.
    try:
        import pydicom
        import pydicom.pixels
    except ImportError:
        raise DataError(
            "DICOM files need the package pydicom",
            fix='install it: pip install "fetalclip-nb[dicom]"',
        ) from None
    return pydicom


@contextlib.contextmanager
def _opened(path: Path | str, data: bytes | None = None) -> Iterator[tuple]:
    """Pydicom, a file and its header; whatever goes wrong with them is an error of the image."""
    pydicom = _pydicom()
    empty = ImageError(
        "DICOM file holds no picture", where=path, expected="pixel data", fix="leave it out"
    )
    try:
        with Path(path).open("rb") if data is None else io.BytesIO(data) as file:
            tags = ["Rows", "Columns", "NumberOfFrames"]
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
            if "Rows" not in header:
                raise empty
            yield pydicom, file, header
    except ImageError:
        raise
    except Exception as error:  # what its parser stumbles over in a damaged file is any error
        if "no 'Pixel Data'" in str(error):
            raise empty from None
        if reason := getattr(error, "strerror", None):
            raise ImageError("DICOM file cannot be opened", where=path, found=reason) from None
        raise ImageError(
            "DICOM file cannot be decoded",
            where=path,
            expected="a whole DICOM file with pixel data",
            found=" ".join(str(error).split()),
            fix="export it from the machine again, or as PNG",
        ) from None


def _require_decoder(pydicom, header, path: Path | str) -> None:
    syntax = header.file_meta.TransferSyntaxUID
    try:
        known = pydicom.pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise ImageError(NOT_DECODED, where=path, found=syntax.name, fix=DECODERS)


def _eight_bits(pydicom, values: np.ndarray, found) -> np.ndarray:
    """Decoded values as uint8 of shape (height, width) or (height, width, 3)."""
    kind = found.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        values = pydicom.pixels.apply_color_lut(values, found)
        return _scaled(values, 0, np.iinfo(values.dtype).max)
    if found.SamplesPerPixel > 1:
        return _scaled(values, 0, 2**found.BitsStored - 1)
    grey = pydicom.pixels.apply_modality_lut(values, found)
    grey = pydicom.pixels.apply_voi_lut(grey, found)
    grey = _scaled(grey, *_range(pydicom, found))
    return 255 - grey if kind == "MONOCHROME1" else grey


def _range(pydicom, found) -> tuple[float, float]:
    """What becomes black and what becomes white after the tables of a grey picture."""
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        if found.get(name):
            return 0, 2 ** found[name][0].LUTDescriptor[2] - 1
    signed = found.PixelRepresentation == 1
    low = -(2 ** (found.BitsStored - 1)) if signed else 0
    ends = np.array([low, low + 2**found.BitsStored - 1])
    return tuple(pydicom.pixels.apply_modality_lut(ends, found))


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    shares = (values.astype(np.float64) - low) / (high - low)
    return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
