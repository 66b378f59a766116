"""The FetalCLIP authors' released outputs, prompts and splits, as arrays and plain dicts.

The files are theirs (CC BY-NC 4.0) and not part of this package: ``fetch("fetalclip-released")``
brings them, in the folders of the authors' repository.

Finding and checking the files that the FetalCLIP authors released.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.downloads.fetch import require_registered
from fetalclip_nb.downloads.registry import registered
from fetalclip_nb.errors import DataError, listing
from fetalclip_nb.growth import AGES_DAYS

HC18_IMAGES = 999

IMAGES_PER_CLASS = {
    "five_planes": {"abdomen": 711, "brain": 3092, "femur": 1040, "heart": 1718, "cervix": 1626},
    "brain_subplanes": {
        "trans-thalamic": 1638,
        "trans-cerebellum": 714,
        "trans-ventricular": 597,
    },
}
"""FETAL_PLANES_DB: images of each class that the zero-shot task counts."""


@dataclass(frozen=True)
class ReleasedPredictions:
    """Zero-shot predictions of FetalCLIP, image by image.

    Attributes:
        task: "five_planes" or "brain_subplanes".
        classes: Class names in the order of the prompt file; distractors included.
        labels: True class of each image, an index into ``classes``, int64 of shape (N,).
        predictions: Predicted class, likewise.
    """

    task: str
    classes: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray


@dataclass(frozen=True)
class ReleasedAgeScores:
    """FetalCLIP's similarity of each HC18 image to each gestational age.

    Attributes:
        hc_mm: True head circumference in mm, float64 of shape (999,), in the order of the CSV.
        planes: Plane that the authors' code predicted first, str of shape (999,).
        scores: 100 x cosine, averaged over five sentences, float32 of shape (999, 175); the
            columns are 14w0d to 38w6d (`growth.AGES_DAYS`).
    """

    hc_mm: np.ndarray
    planes: np.ndarray
    scores: np.ndarray


def released_prompts(
    folder: str | Path, task: str, *, check_hash: bool = True
) -> dict[str, list[str]]:
    """The authors' sentences of each class.

    Args:
        folder: Folder with the layout of the authors' repository.
        task: "five_planes" (nine classes, four of them distractors) or "brain_subplanes".
        check_hash: Whether the file must be byte for byte the released one.

    Returns:
        Class name to sentences, in file order.

    Raises:
        DataError: Missing or malformed file, or unknown task.
        DownloadError: The file is not the released one.
    """
    counts = of_task(IMAGES_PER_CLASS, task)
    path = released_file(folder, f"zero_shot_planes_db/test_{task}_prompts.json", check_hash)
    prompts = load_prompts(path)
    if absent := sorted(set(counts) - set(prompts)):
        raise DataError("Prompt file lacks classes", where=path, found=listing(absent))
    return prompts


def released_predictions(
    folder: str | Path, task: str, *, check_hash: bool = True
) -> ReleasedPredictions:
    """The authors' zero-shot predictions.

    Args:
        folder: Folder with the layout of the authors' repository.
        task: "five_planes" (8,187 images) or "brain_subplanes" (2,949 images).
        check_hash: Whether the files must be byte for byte the released ones.

    Raises:
        DataError: Missing or malformed file, unknown class, or another number of images.
        DownloadError: A file is not the released one.
    """
    counts = of_task(IMAGES_PER_CLASS, task)
    classes = tuple(released_prompts(folder, task, check_hash=check_hash))
    path = released_file(folder, f"zero_shot_planes_db/test_{task}_prediction.json", check_hash)
    content = read_json(path)
    if not isinstance(content, dict) or not {"label", "prediction"} <= set(content):
        raise malformed(path, '{"label": [...], "prediction": [...]}', type(content).__name__)
    labels = _codes(path, "label", content["label"], classes)
    predictions = _codes(path, "prediction", content["prediction"], classes)
    found = {name: int((labels == code).sum()) for code, name in enumerate(classes)}
    if {name: n for name, n in found.items() if n} != counts or len(predictions) != len(labels):
        raise malformed(
            path, f"{counts}", f"{found} and {len(predictions)} predictions", "image counts differ"
        )
    return ReleasedPredictions(task, classes, labels, predictions)


def released_available(folder: Path) -> bool:
    """Whether the authors' files were downloaded (`fetalclip-nb download fetalclip-released`)."""
    return (folder / "zero_shot_planes_db").is_dir() and (folder / "zero_shot_hc18").is_dir()


def released_age_scores(folder: str | Path, *, check_hash: bool = True) -> ReleasedAgeScores:
    """The authors' image-to-age similarities on the HC18 training set.

    The file is a pickle: it is read with an allow-list of four NumPy names and nothing else.

    Args:
        folder: Folder with the layout of the authors' repository.
        check_hash: Whether the file must be byte for byte the released one.

    Raises:
        DataError: Missing or malformed file, or another number of images or ages.
        DownloadError: The file is not the released one.
    """
    path = released_file(folder, "zero_shot_hc18/FetalCLIP_dot_prods_map.pt", check_hash)
    rows = _unpickled(path)
    keys = {"true_hc", "pred_subview", "text_dot_prods"}
    if not isinstance(rows, list) or not all(isinstance(r, dict) and keys <= set(r) for r in rows):
        raise malformed(path, f"a list of dicts with {', '.join(sorted(keys))}", "another form")
    shapes = {np.shape(row["text_dot_prods"]) for row in rows}
    if len(rows) != HC18_IMAGES or shapes != {(1, len(AGES_DAYS))}:
        expected = f"{HC18_IMAGES} images with scores of shape (1, {len(AGES_DAYS)})"
        raise malformed(path, expected, f"{len(rows)} images, shapes {listing(shapes, 3)}")
    hc_mm = np.array([row["true_hc"] for row in rows], dtype=np.float64)
    scores = np.concatenate([row["text_dot_prods"] for row in rows]).astype(np.float32)
    if not (np.isfinite(scores).all() and (hc_mm > 0).all()):
        raise malformed(path, "finite scores, positive circumferences", "others")
    planes = np.array([str(row["pred_subview"]) for row in rows])
    return ReleasedAgeScores(hc_mm, planes, scores)


def _unpickled(path: Path) -> object:
    import torch

    rebuild = np.empty(0).__reduce__()[0]  # NumPy 1 and 2 keep it in different modules
    allowed = [rebuild, (rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype]
    try:
        with torch.serialization.safe_globals([*allowed, type(np.dtype(np.float32))]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        # torch advises to load without the allow-list; only its reason is passed on
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].split("\n")[0][:200]
        raise malformed(path, "a pickle of floats, texts and arrays", reason) from None


def _codes(path: Path, key: str, names: object, classes: tuple[str, ...]) -> np.ndarray:
    if not isinstance(names, list):
        raise malformed(path, f"a list under {key}", type(names).__name__)
    code = {name: number for number, name in enumerate(classes)}
    if unknown := sorted({str(name) for name in names} - set(code)):
        raise malformed(path, ", ".join(classes), listing(unknown), f"unknown classes in {key}")
    return np.array([code[str(name)] for name in names], dtype=np.int64)


ENTRY = "fetalclip-released"

_T = TypeVar("_T")


def released_file(folder: str | Path, relative: str, check_hash: bool) -> Path:
    """The path of a released file that is there and, if asked, byte for byte the registered one.

    Args:
        folder: Folder with the layout of the authors' repository.
        relative: Path below it, as registered.
        check_hash: Whether to compare size and SHA-256.

    Raises:
        DataError: The file is missing.
        DownloadError: It is not the registered one.
    """
    path = Path(folder).expanduser() / relative
    if not path.is_file():
        raise DataError(
            "Released file is missing",
            where=path,
            fix=f"run fetalclip-nb download {ENTRY}, or name the folder that holds zero_shot_hc18 "
            "and zero_shot_planes_db",
        )
    if check_hash:
        require_registered(registered(ENTRY).file(relative), path)
    return path


def read_json(path: Path) -> object:
    """Content of a released JSON file.

    Raises:
        DataError: It is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise malformed(path, "JSON", str(error)) from None


def of_task(table: Mapping[str, _T], task: str) -> _T:
    """What a table holds for a task.

    Raises:
        DataError: The task is unknown; the message lists the known ones.
    """
    if task not in table:
        raise DataError("Unknown task", expected=", ".join(table), found=task)
    return table[task]


def malformed(path: Path, expected: str, found: str, what: str = "unexpected form") -> DataError:
    """The error for a released file with other content than expected."""
    return DataError(
        f"Released file is not what it should be: {what}",
        where=path,
        expected=expected,
        found=found,
        fix=f"delete it and run fetalclip-nb download {ENTRY}",
    )
