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

from fetalclip_nb.errors import DataError, ImageError, reason

DICOM_SUFFIXES = (".dcm", ".dicom")

_MAGIC_AT, _MAGIC = 128, b"DICM"
_BARE = tuple(bytes((group, 0, first, 0)) for group in (2, 8) for first in (0, 1, 5, 8, 22))
_BARE += tuple(b"\0\x08\0" + bytes((first,)) for first in (5, 8, 22))
"""How files without these letters begin: with their first element, in either order of bytes."""

_GROUPS, _OVERLAY_BIT = (0x0028, 0x5200, 0x7FE0), 0x60000102
"""What is read: pixels, and what describes those of all frames or of one."""

_SCALES = {"WindowWidth", "VOILUTSequence", "ModalityLUTSequence", "RedPaletteColorLookupTableData"}

NOT_DECODED = "DICOM file is compressed in a way that cannot be decoded here"

DECODERS = (
    "install pydicom's decoders (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg; "
    "none reads video), or export it uncompressed"
)
"""What to do about files that are `NOT_DECODED`."""


def is_dicom(path: Path | str, data: bytes | None = None) -> bool:
    """Whether a file is to be read as DICOM: by its ending, its letters at byte 128 or its start.

    It need not exist, nor be opened where its bytes are given.

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
    return data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] == _MAGIC or data.startswith(_BARE)


def read_dicom(path: Path | str, *, data: bytes | None = None) -> Image.Image:
    """Decode a DICOM file, of a clip the middle frame, as grey ("L") or "RGB".

    Grey values go through the file's own tables: modality, then window or table of values of
    interest, the first where there are several; without one, the range that its bits can hold
    becomes black to white. MONOCHROME1 (low is white) is inverted, palettes and YBR become RGB.
    A header that contradicts the pixels is refused. The file is not opened where its bytes are
    given.

    Source: DICOM standard (PS3.3), sections C.7.6.3, C.7.6.16, C.11.1 and C.11.2.
    """
    with _opened(path, data) as (pydicom, found):
        decoder = _decoder(pydicom, found, path)
        frames = _frames(pydicom, found)
        number = frames // 2  # of four, the third
        picture = _jpeg(pydicom, found, number, frames)
        if picture is None:
            options = {"number_of_frames": frames, "correct_unused_bits": False}
            values, seen = decoder.as_array(found, index=number, **options)
            _use_groups(found, number)
            values = _eight_bits(pydicom, values, found, seen["photometric_interpretation"])
            picture = Image.fromarray(values)
        deep = found.BitsStored > 8 and _SCALES.isdisjoint(found.dir())
        require_contrast(picture, path, deep=deep)
        return picture


def dicom_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels, read from the header alone."""
    with _opened(path, pixels=False) as (_, found):
        return int(found.Columns), int(found.Rows)


def require_room(width: int, height: int, path: Path | str) -> None:
    """Refuse an image whose square would not fit into memory, before it is decoded."""
    limit = int((Image.MAX_IMAGE_PIXELS or 2**62) ** 0.5)
    if not 0 < min(width, height) <= max(width, height) <= limit:
        what = f"Image of {width} x {height} pixels is empty or too large"
        raise ImageError(what, where=path, expected=f"1 to {limit} a side", fix="cut or shrink it")


def require_contrast(picture: Image.Image, path: Path | str, *, deep: bool) -> None:
    """Refuse an image on which nothing shows, or one of `deep` values that has fewer bits."""
    bands = picture.getextrema() if picture.mode == "RGB" else [picture.getextrema()]
    if max(high - low for low, high in bands) < (64 if deep else 1):
        few = "Image has values that use little of the range of their bits"
        what = few if deep else "Image is blank: one value everywhere"
        fix = "save it as 8 bits or, as DICOM, with a window" if deep else "leave it out"
        raise ImageError(what, where=path, found=f"{bands} of 0 to 255", fix=fix)


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
def _opened(path: Path | str, data: bytes | None = None, *, pixels: bool = True) -> Iterator[tuple]:
    """Pydicom and a file's elements; whatever goes wrong with them is an error of the image."""
    pydicom = _pydicom()
    try:
        with Path(path).open("rb") if data is None else io.BytesIO(data) as file:
            tags = [tag for tag in pydicom.datadict.DicomDictionary if tag >> 16 in _GROUPS]
            options = {"stop_before_pixels": not pixels, "force": file.read(4) in _BARE}
            file.seek(0)
            found = pydicom.dcmread(file, specific_tags=[*tags, _OVERLAY_BIT], **options)
        if "Rows" not in found or (pixels and "PixelData" not in found):
            if not found.file_meta:
                raise ValueError("no header, and no pixels behind its place")
            what = "DICOM file holds no picture"
            raise ImageError(what, where=path, expected="pixel data", fix="leave it out")
        require_room(found.Columns, found.Rows, path)
        yield pydicom, found
    except ImageError:
        raise
    except Exception as error:  # what its parser stumbles over in a damaged file is any error
        raise ImageError(
            f"DICOM file cannot be decoded: {reason(error)}",
            where=path,
            expected="a whole DICOM file with pixel data",
            fix="export it from the machine again, or as PNG",
        ) from None


def _decoder(pydicom, found, path: Path | str):
    meta = found.file_meta
    if "TransferSyntaxUID" not in meta:  # then it is the one by which the elements were read
        if found["PixelData"].is_undefined_length:
            raise ValueError("it does not say how its pixels are compressed")
        names = ("ExplicitVRBigEndian", "ExplicitVRLittleEndian", "ImplicitVRLittleEndian")
        meta.TransferSyntaxUID = getattr(pydicom.uid, names[sum(found.original_encoding)])
    with contextlib.suppress(NotImplementedError):
        decoder = pydicom.pixels.get_decoder(meta.TransferSyntaxUID)
        if decoder.is_available:
            return decoder
    raise ImageError(NOT_DECODED, where=path, found=meta.TransferSyntaxUID.name, fix=DECODERS)


def _frames(pydicom, found) -> int:
    """Number of frames in the pixels; the header need not give it, but must not contradict."""
    said = int(found.get("NumberOfFrames") or 0)
    if found.file_meta.TransferSyntaxUID.is_encapsulated:
        file = io.BytesIO(found.PixelData)
        pydicom.encaps.parse_basic_offsets(file)
        parts = [part[:4] for part in pydicom.encaps.generate_fragments(file)]
        # A frame may have several parts, of which the first begins as JPEG or RLE do.
        starts = (part[:2] in (b"\xff\xd8", b"\xff\x4f") or part[1:] == bytes(3) for part in parts)
        held = sum(starts) or said or len(parts)
    else:
        bits = found.Rows * found.Columns * found.SamplesPerPixel * found.BitsAllocated
        bits = bits * 2 // 3 if found.PhotometricInterpretation == "YBR_FULL_422" else bits
        held = 8 * len(found.PixelData) // bits
    if said not in (0, held):
        raise ValueError(f"its header counts {said} frames, its pixels are those of {held}")
    return held


def _jpeg(pydicom, found, number: int, frames: int) -> Image.Image | None:
    """A frame, where it is a JPEG of colours that says itself which these are."""
    syntax, size = found.file_meta.TransferSyntaxUID, (found.Columns, found.Rows)
    if syntax != pydicom.uid.JPEGBaseline8Bit or found.SamplesPerPixel != 3:
        return None
    frame = pydicom.encaps.get_frame(found.PixelData, number, number_of_frames=frames)
    with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
        says = {"jfif", "adobe_transform"} & set(image.info)
        return image.convert("RGB") if says and image.size == size else None


def _use_groups(found, number: int) -> None:
    """Take window and slope from the groups of all frames and of one; drop empty ones."""
    everywhere = found.get("SharedFunctionalGroupsSequence") or []
    here = (found.get("PerFrameFunctionalGroupsSequence") or [])[number : number + 1]
    for group in (*everywhere, *here):
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name) or []:
                found.update(item)
    for pair in (("WindowCenter", "WindowWidth"), ("RescaleSlope", "RescaleIntercept")):
        if any(found.get(name) in (None, "") for name in pair):
            for name in pair:
                found.pop(name, None)


def _eight_bits(pydicom, values: np.ndarray, found, kind: str) -> np.ndarray:
    """Decoded values as uint8 of shape (height, width) or (height, width, 3)."""
    grey = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
    if kind not in (("RGB",) if values.ndim > 2 else grey):
        raise ValueError(f"colours of the kind {kind} are not read")
    bits, lowest = found.BitsStored, -found.PixelRepresentation * 2 ** (found.BitsStored - 1)
    if not lowest <= values.min() <= values.max() < 2**bits and _OVERLAY_BIT not in found:
        raise ValueError(f"its header says {bits} bits, its pixels hold more")
    unused = max(0, 8 * values.itemsize - bits)
    values = values << unused >> unused
    if kind == "PALETTE COLOR":
        values = pydicom.pixels.apply_color_lut(values, found)
        # Entries of 8 bits may lie in words of 16, whatever their descriptor says.
        return _scaled(values, 0, 255 if values.max() <= 255 else 65535)
    if kind == "RGB":
        return _scaled(values, 0, 2**bits - 1)
    grey = pydicom.pixels.apply_modality_lut(values, found)
    grey = pydicom.pixels.apply_voi_lut(grey, found)
    grey = _scaled(grey, *_range(pydicom, found))
    return 255 - grey if kind == "MONOCHROME1" else grey


def _range(pydicom, found) -> tuple[float, float]:
    """What becomes black and what becomes white after the tables of a grey picture."""
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        if found.get(name):
            return 0, 2 ** found[name][0].LUTDescriptor[2] - 1
    low = -found.PixelRepresentation * 2 ** (found.BitsStored - 1)
    ends = np.array([low, low + 2**found.BitsStored - 1])
    ends = pydicom.pixels.apply_modality_lut(ends, found)
    if ends[0] == ends[1]:
        raise ValueError("its RescaleSlope is 0")
    # pydicom turns the ends of a window around where the slope falls.
    return tuple(ends if "WindowWidth" in found else sorted(ends))


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    shares = (values.astype(np.float64) - low) / (high - low)
    return np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
