"""Repeated images: the same pixels, or the same frame saved, cut, brightened or mirrored.

Every image is described by keypoints. Pairs that share several of them are found first, by keys
made of some of the descriptors' bits, so that 12,400 images need no 77 million comparisons; only
these are compared point by point. The same patient in *other* images is not found in this way.
"""

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from fetalclip_nb.data.images import read_image
from fetalclip_nb.files import cached, key

SIDE = 320
"""Longer side in pixels at which images are compared."""

POINTS = 400

CORNER = 5
"""Grey levels by which a keypoint stands out: images of dark tissue have few that are brighter."""

NEAR = 50
"""Bits of 256 in which two descriptors of the same point may differ."""

ALARM = 20
"""More points than these that agree on one shift, turn and scale mean the same frame."""

_TABLES, _BITS, _MOST = 10, 24, 40  # keys of a descriptor, bits of a key, images that share one
_VOTES, _BEST = 4, 5  # keys that two images share at least, pairs that are compared an image

_VERSION = 1

# Threads and no processes: what takes time is in OpenCV and Pillow, which let others run.
_PROCESSORS = len(os.sched_getaffinity(0))


class Described(NamedTuple):
    """What an image is known by.

    Attributes:
        pixels: SHA-256 of the decoded pixels and their shape, 64 hexadecimal digits.
        places: Keypoints (x, y) in the image of `SIDE` pixels, float32 of shape (K, 2).
        codes: Their descriptors, uint8 of shape (K, 32).
        mirrored: Descriptors of the mirrored image's keypoints, with their places.
        mirrored_places: Those places, float32 of shape (K', 2).
    """

    pixels: str
    places: np.ndarray
    codes: np.ndarray
    mirrored: np.ndarray
    mirrored_places: np.ndarray


class Repeat(NamedTuple):
    """Two images that show the same frame.

    Attributes:
        first, second: Numbers of the images.
        points: Keypoints that agree; -1 where the decoded pixels are equal.
        mirrored: Whether the second is a mirror image.
    """

    first: int
    second: int
    points: int
    mirrored: bool


def describe(paths: Sequence[Path], digests: Sequence[str], cache_dir: Path) -> list[Described]:
    """Keypoints of images, on all processors that this process may use; kept by content.

    Args:
        paths: Image files that can be read.
        digests: What names the content of each.
        cache_dir: Folder of caches.
    """
    folder = cache_dir / "keypoints"
    jobs = zip(paths, digests, strict=True)
    with ThreadPool(_PROCESSORS) as pool:
        return pool.starmap(partial(_described, folder), jobs, chunksize=16)


def _described(folder: Path, path: Path, digest: str) -> Described:
    name = key([_VERSION, SIDE, POINTS, CORNER, digest])
    found = cached(folder / name[:2] / f"{name}.npz", partial(_look, path), _load, _store)
    return Described(str(found[0]), *found[1:])


def _look(path: Path) -> tuple[np.ndarray, ...]:
    image = np.asarray(read_image(path))
    pixels = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = SIDE / max(grey.shape)
    size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    plain, turned = (_points(each) for each in (grey, np.ascontiguousarray(grey[:, ::-1])))
    return np.array(pixels), *plain, *turned[::-1]


def _points(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, codes = cv2.ORB_create(POINTS, fastThreshold=CORNER).detectAndCompute(grey, None)
    places = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
    return places, np.zeros((0, 32), np.uint8) if codes is None else codes


def _load(file) -> tuple[np.ndarray, ...]:
    with np.load(file) as arrays:
        return tuple(arrays[name] for name in Described._fields)


def _store(file, arrays: tuple[np.ndarray, ...]) -> None:
    np.savez(file, **dict(zip(Described._fields, arrays, strict=True)))


def repeats(images: Sequence[Described], others: Sequence[Described] | None = None) -> list[Repeat]:
    """Pairs of images that show the same frame.

    Args:
        images: Of one data set.
        others: Of another one that it is compared with; None for the images among themselves.

    Returns:
        Equal pixels first, then by falling number of points; numbers of the second image are
        those of ``others`` where these are given.
    """
    second = images if others is None else others
    equal = _equal(images, second, within=others is None)
    known = {(each.first, each.second) for each in equal}
    asked = [pair for pair in candidates(images, others) if pair[:2] not in known]
    with ThreadPool(_PROCESSORS) as pool:
        pairs = ((images[i], second[j], mirrored) for i, j, mirrored in asked)
        points = pool.starmap(agreeing, pairs, chunksize=64)
    best: dict[tuple[int, int], Repeat] = {}
    for (i, j, mirrored), count in zip(asked, points, strict=True):
        if count > ALARM and count > best.get((i, j), Repeat(i, j, 0, False)).points:
            best[i, j] = Repeat(i, j, count, mirrored)
    return equal + sorted(best.values(), key=lambda each: -each.points)


def _equal(
    images: Sequence[Described], others: Sequence[Described], *, within: bool
) -> list[Repeat]:
    """Pairs of equal pixels; of a group within one data set each with the first."""
    places: dict[str, list[int]] = {}
    for number, image in enumerate(others):
        places.setdefault(image.pixels, []).append(number)
    if within:
        groups = [numbers for numbers in places.values() if len(numbers) > 1]
        return [Repeat(first, each, -1, False) for first, *rest in groups for each in rest]
    return [
        Repeat(number, each, -1, False)
        for number, image in enumerate(images)
        for each in places.get(image.pixels, [])[:1]
    ]


def candidates(
    images: Sequence[Described], others: Sequence[Described] | None = None
) -> list[tuple[int, int, bool]]:
    """Pairs that share several keys of their descriptors, and whether the second is mirrored.

    Keys that many images share (a logo, a scale, the edge of a fan) are no sign of a repeat.
    """
    second = images if others is None else others
    found = []
    for mirrored in (False, True):
        votes = csr_matrix((len(images), len(second)), dtype=np.int16)
        for bits in _chosen_bits():
            mine = _keys([each.codes for each in images], bits)
            theirs = mine
            if mirrored or others is not None:
                theirs = _keys([each.mirrored if mirrored else each.codes for each in second], bits)
            rare = np.bincount(mine[1], minlength=1 << _BITS) <= _MOST
            rare &= np.bincount(theirs[1], minlength=1 << _BITS) <= _MOST
            left, right = (
                _table(keys, rare, n) for keys, n in ((mine, len(images)), (theirs, len(second)))
            )
            votes += left @ right.T
        found += _best(votes, mirrored, within=others is None)
    return found


def _chosen_bits() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.choice(256, _BITS, replace=False) for _ in range(_TABLES)]


def _keys(codes: Sequence[np.ndarray], bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image and key of each descriptor, an image's equal keys once."""
    owner = np.repeat(np.arange(len(codes)), [len(each) for each in codes])
    whole = np.concatenate([*codes, np.zeros((0, 32), np.uint8)])
    picked = (whole[:, bits // 8] >> (bits % 8)) & 1
    keys = picked.astype(np.int64) @ (1 << np.arange(_BITS))
    unique = np.unique(owner << _BITS | keys)
    return unique >> _BITS, unique & ((1 << _BITS) - 1)


def _table(keys: tuple[np.ndarray, np.ndarray], rare: np.ndarray, images: int) -> csr_matrix:
    owner, key_ = (each[rare[keys[1]]] for each in keys)
    ones = np.ones(len(owner), np.int16)
    return coo_matrix((ones, (owner, key_)), (images, 1 << _BITS)).tocsr()


def _best(votes: csr_matrix, mirrored: bool, *, within: bool) -> list[tuple[int, int, bool]]:
    """The pairs with the most votes of each image, each pair once."""
    pairs = set()
    for i in range(votes.shape[0]):
        row = slice(votes.indptr[i], votes.indptr[i + 1])
        others, counts = votes.indices[row], votes.data[row]
        kept = (counts >= _VOTES) & ((others != i) | (not within))
        others, counts = others[kept], counts[kept]
        for j in others[np.argsort(-counts, kind="stable")[:_BEST]].tolist():
            pairs.add((min(i, j), max(i, j)) if within else (i, j))
    return [(i, j, mirrored) for i, j in sorted(pairs)]


def agreeing(one: Described, other: Described, mirrored: bool) -> int:
    """Keypoints of two images that agree on one shift, turn and scale."""
    places = other.mirrored_places if mirrored else other.places
    codes = other.mirrored if mirrored else other.codes
    if min(len(one.codes), len(codes)) < 3:
        return 0
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(one.codes, codes)
    matches = [match for match in matches if match.distance < NEAR]
    if len(matches) <= ALARM:
        return 0
    start = one.places[[match.queryIdx for match in matches]]
    end = places[[match.trainIdx for match in matches]]
    cv2.setRNGSeed(0)
    _, inside = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=3)
    return 0 if inside is None else int(inside.sum())
