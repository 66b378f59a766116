"""Reading masks: what is wrong with one is text that is collected, so that all are named."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from fetalclip_nb.data.dicom import require_room
from fetalclip_nb.data.images import FORMATS, pad_to_square
from fetalclip_nb.errors import DataError, listing

RULE = (
    "for each image one mask a structure, of the image's size: 0 outside, one other value inside; "
    "black where the structure is absent"
)


class Flaw(NamedTuple):
    """What is wrong with a mask, and what to do about it."""

    text: str
    fix: str


MISSING = Flaw("file is missing or unreadable", "put whole files in place of such files")

NOT_ANNOTATED = Flaw(
    "no mask is named",
    "where the structure is absent write a black mask, where nobody looked drop the row",
)

_CORNERS = ([0, 0, -1, -1], [0, -1, 0, -1])

_VALUES = "threshold masks to 0 and 255"

_GROUND = "draw white on black, without a frame: exchange black and white where the ground is white"


@dataclass(frozen=True)
class MaskReader:
    """Masks of a data set's images, by row; it can be sent to other processes.

    Attributes:
        root: Folder that the files are relative to.
        structures: C names.
        ids: Name of each image, for messages.
        sizes: Width and height of each image in pixels.
        files: The mask files of each image: one a structure ("" where none is named), or one
            for all structures.
        decode: Turns a file's bytes and the names of its structures into one array or flaw for
            each of them; arrays are (height, width), 0 outside and one other value inside.
    """

    root: Path
    structures: tuple[str, ...]
    ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    files: tuple[tuple[str, ...], ...]
    decode: Callable[[bytes, tuple[str, ...]], list[np.ndarray | Flaw]]

    def __call__(self, row: int) -> np.ndarray:
        """Regions of the image in a row of the table: bool (C, height, width)."""
        found = self.inspect(row)
        for name, region in found:
            if isinstance(region, Flaw):  # the file has changed since it was checked
                what = f"Mask cannot be used: {region.text}"
                raise DataError(what, where=name, expected=RULE, fix=region.fix)
        return np.stack([region for _, region in found])

    def inspect(self, row: int) -> list[tuple[str, np.ndarray | Flaw]]:
        """Name of each mask (for a message), and its region or what is wrong with it."""
        files, groups = self.files[row], [(structure,) for structure in self.structures]
        if len(files) < len(groups):
            groups = [self.structures]  # one file for all
        found = []
        for file, structures in zip(files, groups, strict=True):
            data = self.data(file)
            flawed = isinstance(data, Flaw)
            regions = [data] * len(structures) if flawed else self.decode(data, structures)
            for structure, values in zip(structures, regions, strict=True):
                whole = values is regions[0] is regions[-1]  # one flaw of the whole file
                label = file if whole else f"{file} {structure}"
                label = label if file else f"{structure} of {self.ids[row]}"
                found.append((label, region_of(values, self.sizes[row])))
        return found

    def data(self, name: str) -> bytes | Flaw:
        """A file's bytes, or why there are none."""
        if not name:
            return NOT_ANNOTATED
        try:
            return (self.root / name).read_bytes()
        except (OSError, ValueError):  # a ValueError: no disk has such a name
            return MISSING


def region_of(values: np.ndarray | Flaw, size: Sequence[int] = ()) -> np.ndarray | Flaw:
    """A mask's region as bool (height, width), or what is wrong with the mask.

    Args:
        values: Grey values (height, width) or colours (height, width, bands); a flaw passes.
        size: Width and height of the image; any by default.

    >>> region_of(np.array([[0, 7]]), (2, 1)).tolist()
    [[False, True]]
    >>> region_of(np.array([[0, 7, 9]]), (3, 1)).text
    'values 0, 7, 9'
    >>> region_of(np.array([[0, 7]]), (3, 1)).text
    'size 2x1, its image 3x1'
    """
    if isinstance(values, Flaw):
        return values
    height, width = values.shape[:2]
    if size and (width, height) != tuple(size):
        fix = "save each mask at its image's own size"
        return Flaw(f"size {width}x{height}, its image {size[0]}x{size[1]}", fix)
    inside = values.any(axis=2) if values.ndim == 3 else values != 0
    found = values[inside]
    if len(found) and (found != found[0]).any():
        return Flaw(f"values {_values(values)}", _VALUES)
    if inside[_CORNERS].all() and not inside.all():
        return Flaw("all four corners inside: framed, or black and white exchanged", _GROUND)
    return inside


def decode_image(data: bytes, structures: tuple[str, ...]) -> list[np.ndarray | Flaw]:
    """Values of a mask that is an image: grey (height, width) or colours (height, width, 3)."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            require_room(*image.size, "")
            return [_pixels(image)]
    except Exception:  # over a damaged file Pillow may raise any
        return [Flaw("damaged, or no image", MISSING.fix)]


def decode_bright(data: bytes, structures: tuple[str, ...]) -> list[np.ndarray | Flaw]:
    """What is drawn on black in a mask that is an image, bool (height, width).

    Of two values, whatever is not black is inside. Soft edges are cut in the middle.
    """
    (values,) = decode_image(data, structures)
    region = region_of(values)
    soft = isinstance(region, Flaw) and not isinstance(values, Flaw)
    return [_without_soft_edges(values) if soft else region]


def decode_outline(data: bytes, structures: tuple[str, ...]) -> list[np.ndarray | Flaw]:
    """The inside of an outline that is drawn on black; a filled region stays as it is."""
    (drawn,) = decode_bright(data, structures)
    if isinstance(drawn, Flaw):
        return [drawn]
    if not drawn.any():
        return [Flaw("no outline in it", "draw missing outlines or drop their rows")]
    filled = fill_outline(drawn)
    if filled.mean() > 0.85 or filled[_CORNERS].sum() > 2:  # an ellipse has 0.79 at most
        return [Flaw("it covers the whole picture, as a frame or a white ground", _GROUND)]
    *_, pieces, _ = cv2.connectedComponentsWithStats(without_holes(drawn).astype(np.uint8))
    largest = pieces[1:, cv2.CC_STAT_AREA].max()
    if 0.15 < largest / filled.sum() < 0.95:  # less: dashes of one outline
        return [Flaw("several outlines, or specks beside one", "leave one outline in each")]
    return [filled]


def _without_soft_edges(values: np.ndarray) -> np.ndarray | Flaw:
    """The brighter half of a soft shape of one colour; greys apart from its edge are a flaw."""
    colours = np.atleast_3d(values).astype(np.float32) / values.max()
    share = colours.max(axis=2)
    inside, grey = share > 0.5, (share > 0.125) & (share < 0.875)
    edge = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((9, 9))) > 0
    hue = colours[inside].mean(axis=0)
    others = np.abs(colours - share[..., None] * hue / hue.max()).max(axis=2) > 0.5
    if (others | grey & ~edge).sum() > 0.2 * inside.sum():
        return Flaw(f"values {_values(values)}", "draw one shape on black, not over the picture")
    return inside


def _pixels(image: Image.Image) -> np.ndarray | Flaw:
    """Grey values or colours; of a palette, the colours that are seen."""
    if getattr(image, "n_frames", 1) > 1:
        return Flaw("several pictures in one file", "save each mask as a PNG")
    image = ImageOps.exif_transpose(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))  # its own bytes are not what NumPy takes for True
    if image.mode in ("P", "PA", "LA", "RGBA", "CMYK") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getextrema()[3][0] < 255:
            return Flaw("partly transparent", "save masks without transparency")
        image = image.convert("RGB")
    return np.asarray(image)


def _values(values: np.ndarray) -> str:
    found = np.unique(values.reshape(-1, *values.shape[2:]), axis=0)
    return listing(" ".join(map(str, np.atleast_1d(value))) for value in found)


def fill_outline(mask: np.ndarray) -> np.ndarray:
    """Everything inside the outermost contours of a mask, boolean (height, width) and not empty.

    An outline with a gap, or one that the picture's edge cuts, has no inside: it is closed by
    straight lines, as the convex hull of its pixels. Heads are drawn as ellipses, which are
    convex. A filled annotation comes back unchanged.
    """
    closed, hull = without_holes(mask), cv2.convexHull(cv2.findNonZero(mask.astype(np.uint8)))
    if closed.sum() < 0.8 * cv2.contourArea(hull):
        closed = _drawn([hull], mask.shape)
    return closed


def without_holes(mask: np.ndarray) -> np.ndarray:
    """A mask and all that its outermost contours enclose, boolean (height, width)."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _drawn(contours, mask.shape)


def _drawn(contours: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The inside of contours, boolean of a shape."""
    filled = np.zeros(shape, np.uint8)
    cv2.drawContours(filled, contours, -1, 1, thickness=cv2.FILLED)
    return filled.astype(bool)


def padded_mask(mask: np.ndarray) -> np.ndarray:
    """A mask (height, width) on the square that its image is padded to, 0 or 1."""
    return np.asarray(pad_to_square(Image.fromarray(mask.astype(np.uint8))))


def sampled_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask on a coarser (or finer) grid: what lies at the upper left corner of each new pixel.

    All that is inside moves by about half a new pixel to the right and down.

    Source: FetalCLIP repository, masks of segmentation (OpenCV's nearest interpolation).

    >>> (sampled_mask(np.array([[1, 0, 0, 0]] * 4), 2) * 1).tolist()
    [[1, 0], [1, 0]]
    """
    values = mask.astype(np.uint8)
    return cv2.resize(values, (side, side), interpolation=cv2.INTER_NEAREST) > 0


def reduced_mask(mask: np.ndarray, side: int) -> np.ndarray:
    """A mask on a coarser (or finer) grid: pixels of which at least half are inside."""
    shares = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return shares >= 0.5
