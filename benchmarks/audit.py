"""Does the audit find repeats that were planted, and nothing else? How long does it take?"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fetalclip_nb import phantoms
from fetalclip_nb.audit.description import Described, describe
from fetalclip_nb.audit.repeats import ALARM, agreeing, candidates, repeats
from fetalclip_nb.data.fetal_planes import read_fetal_planes
from fetalclip_nb.data.hc18 import read_hc18


def _cut(share: float) -> Callable[[np.ndarray], np.ndarray]:
    def cut(image: np.ndarray) -> np.ndarray:
        top, left = (int(side * share) for side in image.shape)
        return image[top : image.shape[0] - top, left : image.shape[1] - left]

    return cut


def _jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], 0)


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG 50": _jpeg,
    "half size": lambda image: cv2.resize(
        image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA
    ),
    "gain x1.3": lambda image: np.clip(image * 1.3, 0, 255).astype(np.uint8),
    "5 % cut off each side": _cut(0.05),
    "15 % cut off each side": _cut(0.15),
    "mirrored": lambda image: image[:, ::-1],
}
"""How an image is changed before it is planted."""


def _described(paths: list[Path], cache: Path) -> list[Described]:
    return describe(paths, [str(path) for path in paths], cache)


def planted(folder: Path, crowd: list[Described]) -> None:
    """Plant a changed copy of every real head, and print how many are found.

    Args:
        folder: HC18.
        crowd: Other images among which the heads lie.
    """
    heads = read_hc18(folder)
    owner = heads.table["patient"].to_numpy()
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        images = _described(heads.paths, room)
        among = images + crowd
        for number, (kind, change) in enumerate(KINDS.items()):
            copies = [room / f"{number}-{row}.png" for row in range(len(heads))]
            for path, copy in zip(heads.paths, copies, strict=True):
                cv2.imwrite(str(copy), change(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)))
            looks = _described(copies, room)
            asked = {pair[:2] for pair in candidates(among, looks)}
            alarms = {(each.first, each.second) for each in repeats(among, looks)}
            own = [(row, row) for row in range(len(heads))]
            print(
                f"{kind:24} candidates {np.mean([pair in asked for pair in own]):.3f}, found "
                f"{np.mean([pair in alarms for pair in own]):.3f}, alarms of other examinations "
                f"{sum(i >= len(owner) or owner[i] != owner[j] for i, j in alarms)}",
                flush=True,
            )
    apart = [
        pair
        for pair in itertools.combinations(range(len(heads)), 2)
        if owner[pair[0]] != owner[pair[1]]
    ]
    for turned in (False, True):
        points = [agreeing(images[i], images[j], turned) for i, j in apart]
        what = "mirrored" if turned else "as they are"
        print(
            f"{len(apart):,} pairs of two examinations, {what}: at most {max(points)} points agree"
        )
        print(f"  (an alarm has more than {ALARM})", flush=True)


def timed(patients: int) -> list[Described]:
    """Print the seconds that a set of phantoms takes, about 6.9 images a patient; the images."""
    with tempfile.TemporaryDirectory() as place:
        room = Path(place)
        phantoms.write_fetal_planes(room / "planes", patients=patients, seed=0)
        paths = read_fetal_planes(room / "planes").paths
        for what in ("keypoints", "keypoints, kept"):
            started = time.perf_counter()
            images = _described(paths, room)
            print(f"{len(paths):,} phantoms, {what}: {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
        pairs = candidates(images)
        print(f"{len(pairs):,} candidates: {time.perf_counter() - started:.1f} s", flush=True)
        started = time.perf_counter()
        found = repeats(images)
        print(f"{len(found)} repeats, candidates included: {time.perf_counter() - started:.1f} s")
    return images


def main() -> None:
    """Take the time of phantoms, plant repeats in a folder of HC18, or among both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=Path, help="folder of HC18")
    parser.add_argument("--patients", type=int, help="of phantoms; 1800 have about 12,400 images")
    options = parser.parse_args()
    crowd = timed(options.patients) if options.patients else []
    if options.heads:
        planted(options.heads, crowd)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
