"""Repeated images: the same pixels, or the same frame saved, cut, brightened or mirrored.

Every image is described by keypoints. Pairs that share several of them are found first, by keys
made of some of the descriptors' bits, so that 12,400 images need no 77 million comparisons; only
these are compared point by point. The same patient in *other* images is not found in this way.
"""

from collections.abc import Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import cv2
import numpy as np
from scipy.sparse import csr_matrix

from fetalclip_nb.audit.description import PROCESSORS, Described

NEAR = 50
"""Bits of 256 in which two descriptors of the same point may differ."""

ALARM = 20
"""More points than these that agree on one shift, turn and scale mean the same frame."""

_MOST = 40  # images that share a key
_VOTES, _BEST = 4, 5  # keys that two images share at least, pairs that are compared an image

_PICKED = np.random.default_rng(0).permutation(32)[:30].reshape(10, 3)
"""Bytes of a descriptor that make one of its ten keys of 24 bits."""

_ROWS = 512  # images whose pairs are held in memory at once


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
    with ThreadPool(PROCESSORS) as pool:
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
        theirs = [each.mirrored if mirrored else each.codes for each in second]
        mine, theirs = _shared_keys([each.codes for each in images], theirs)
        best = partial(_best, mine, theirs.T.tocsr(), within=others is None)
        with ThreadPool(PROCESSORS) as pool:
            rows = pool.map(best, range(0, len(images), _ROWS), chunksize=1)
        found += [(*pair, mirrored) for pair in sorted(set().union(*rows))]
    return found


def _shared_keys(
    mine: Sequence[np.ndarray], theirs: Sequence[np.ndarray]
) -> tuple[csr_matrix, csr_matrix]:
    """Which image has which key, of the keys that both sides have and few images share.

    Returns:
        One row an image and one column a key, the same keys on both sides.
    """
    sides, keys = ([], []), 0
    for picked in _PICKED:
        owners = [_keys(codes, picked) for codes in (mine, theirs)]
        counts = [np.bincount(each[1], minlength=1 << 24) for each in owners]
        kept = (np.minimum(*counts) > 0) & (np.maximum(*counts) <= _MOST)
        column = keys + np.cumsum(kept) - 1
        for side, (owner, key) in zip(sides, owners, strict=True):
            side.append((owner[kept[key]], column[key[kept[key]]]))
        keys += int(kept.sum())
    return tuple(
        csr_matrix((np.ones(len(places[0]), np.int16), places), (len(codes), keys))
        for codes, places in zip((mine, theirs), map(np.hstack, sides), strict=True)
    )


def _keys(codes: Sequence[np.ndarray], picked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image and key of each descriptor, an image's equal keys once."""
    owner = np.repeat(np.arange(len(codes)), [len(each) for each in codes])
    first, second, third = np.concatenate([*codes, np.zeros((0, 32), np.uint8)])[:, picked].T
    key = first.astype(np.int64) << 16 | second.astype(np.int64) << 8 | third
    pairs = np.sort(owner << 24 | key)  # np.unique takes a hundred times as long
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return pairs >> 24, pairs & ((1 << 24) - 1)


def _best(
    mine: csr_matrix, theirs: csr_matrix, start: int, *, within: bool
) -> set[tuple[int, int]]:
    """The pairs with the most votes of each of the `_ROWS` images from ``start`` on."""
    votes, pairs = mine[start : start + _ROWS] @ theirs, set()
    for row in range(votes.shape[0]):
        i, part = start + row, slice(votes.indptr[row], votes.indptr[row + 1])
        others, counts = votes.indices[part], votes.data[part]
        kept = (counts >= _VOTES) & ((others != i) | (not within))
        others, counts = others[kept], counts[kept]
        for j in others[np.argsort(-counts, kind="stable")[:_BEST]].tolist():
            pairs.add((min(i, j), max(i, j)) if within else (i, j))
    return pairs


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
