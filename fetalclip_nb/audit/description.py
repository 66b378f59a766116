"""What an image is known by: a digest of its pixels, keypoints, and whether a block is burnt in."""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fetalclip_nb.data.images import read_image
from fetalclip_nb.files import cached, key

SIDE = 320
"""Longer side in pixels at which images are compared."""

POINTS = 400

CORNER = 5
"""Grey levels by which a keypoint stands out: images of dark tissue have few that are brighter."""

BLOCK_SHARE = 0.005
"""Least share of a picture that a burnt-in block covers."""

_VERSION = 2

PROCESSORS = len(os.sched_getaffinity(0))
"""Threads, no processes: what takes time is in OpenCV, Pillow and SciPy, which let others run."""


class Described(NamedTuple):
    """What an image is known by.

    Attributes:
        pixels: SHA-256 of the decoded pixels and their shape, 64 hexadecimal digits.
        block: Whether a black block is burnt into a corner, see `has_block`.
        places: Keypoints (x, y) in the image of `SIDE` pixels, float32 of shape (K, 2).
        codes: Their descriptors, uint8 of shape (K, 32).
        mirrored: Descriptors of the mirrored image's keypoints, with their places.
        mirrored_places: Those places, float32 of shape (K', 2).
    """

    pixels: str
    block: bool
    places: np.ndarray
    codes: np.ndarray
    mirrored: np.ndarray
    mirrored_places: np.ndarray


def describe(paths: Sequence[Path], digests: Sequence[str], cache_dir: Path) -> list[Described]:
    """Keypoints of images, on all processors that this process may use; kept by content.

    Args:
        paths: Image files that can be read.
        digests: What names the content of each.
        cache_dir: Folder of caches.
    """
    folder = cache_dir / "keypoints"
    jobs = zip(paths, digests, strict=True)
    with ThreadPool(PROCESSORS) as pool:
        return pool.starmap(partial(_described, folder), jobs, chunksize=16)


def _described(folder: Path, path: Path, digest: str) -> Described:
    name = key([_VERSION, SIDE, POINTS, CORNER, digest])
    found = cached(folder / name[:2] / f"{name}.npz", partial(_look, path), _load, _store)
    return Described(str(found[0]), bool(found[1]), *found[2:])


def _look(path: Path) -> tuple[np.ndarray, ...]:
    image = np.asarray(read_image(path))
    pixels = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    block = np.array(has_block(grey))
    scale = SIDE / max(grey.shape)
    size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    plain, turned = (_points(each) for each in (grey, np.ascontiguousarray(grey[:, ::-1])))
    return np.array(pixels), block, *plain, *turned[::-1]


def _points(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, codes = cv2.ORB_create(POINTS, fastThreshold=CORNER).detectAndCompute(grey, None)
    places = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
    return places, np.zeros((0, 32), np.uint8) if codes is None else codes


def _load(file) -> tuple[np.ndarray, ...]:
    with np.load(file) as arrays:
        return tuple(arrays[name] for name in Described._fields)


def _store(file, arrays: tuple[np.ndarray, ...]) -> None:
    np.savez(file, **dict(zip(Described._fields, arrays, strict=True)))


def has_block(grey: np.ndarray) -> bool:
    """Whether a black rectangle in a corner cuts into the picture: lit along both inner edges.

    >>> picture = np.full((100, 100), 90, np.uint8); picture[70:, 60:] = 0
    >>> has_block(picture), has_block(np.full((100, 100), 90, np.uint8))
    (True, False)
    """
    corners = (grey, grey[::-1], grey[:, ::-1], grey[::-1, ::-1])
    return any(_cut_corner(corner) for corner in corners)


def _cut_corner(grey: np.ndarray) -> bool:
    """`has_block` of the upper left corner."""
    lit = grey > 0
    runs = np.where(lit.any(1), lit.argmax(1), grey.shape[1])
    widths = np.minimum.accumulate(runs)  # of the black rectangles of 1, 2, ... rows
    for height in np.flatnonzero(np.diff(widths) < 0) + 1:
        width = widths[height - 1]
        if 0 < width < grey.shape[1] and height * width >= BLOCK_SHARE * grey.size:
            below, beside = lit[height : height + 2, :width], lit[:height, width : width + 2]
            if min(below.any(0).mean(), beside.any(1).mean()) > 0.7:
                return True
    return False
