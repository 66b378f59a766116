"""The FetalCLIP authors' released outputs, prompts and splits, as arrays and plain dicts.

The files are theirs (CC BY-NC 4.0) and not part of this package: ``fetch("fetalclip-released")``
brings them. A ``folder`` is here always one with the layout of the authors' repository.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.downloads.fetch import require_registered
from fetalclip_nb.downloads.registry import file_hash, registered
from fetalclip_nb.errors import DataError


@dataclass(frozen=True)
class ReleasedPredictions:
    """Zero-shot predictions of FetalCLIP, image by image.

    Attributes:
        classes: Class names in the order of the prompt file; distractors included.
        labels: True class of each image, an index into ``classes``, int64 of shape (N,).
        predictions: Predicted class, likewise.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray


@dataclass(frozen=True)
class ReleasedAgeScores:
    """FetalCLIP's similarity of each HC18 image to each gestational age.

    Attributes:
        hc_mm: True head circumference in mm, float64 of shape (999,), in the order of the CSV.
        scores: 100 x cosine, averaged over five sentences, float32 of shape (999, 175); the
            columns are 14w0d to 38w6d (`growth.AGES_DAYS`).
    """

    hc_mm: np.ndarray
    scores: np.ndarray


def released_prompts(folder: str | Path, task: str) -> dict[str, list[str]]:
    """The authors' sentences of each class, in file order.

    The task is "five_planes" (nine classes, four of them distractors) or "brain_subplanes".
    """
    return load_prompts(released_file(folder, f"zero_shot_planes_db/test_{task}_prompts.json"))


def released_predictions(folder: str | Path, task: str) -> ReleasedPredictions:
    """Zero-shot predictions of "five_planes" (8,187 images) or "brain_subplanes" (2,949)."""
    classes = tuple(released_prompts(folder, task))
    content = read_json(folder, f"zero_shot_planes_db/test_{task}_prediction.json")
    code = {name: number for number, name in enumerate(classes)}
    labels, predictions = (
        np.array([code[name] for name in content[key]], dtype=np.int64)
        for key in ("label", "prediction")
    )
    return ReleasedPredictions(classes, labels, predictions)


def is_released(path: Path, relative: str) -> bool:
    """Whether a file, wherever it lies, is byte for byte the released one of this path."""
    return path.is_file() and file_hash(path) == registered(ENTRY).file(relative).hash


def released_available(folder: Path) -> bool:
    """Whether the authors' files were downloaded (`fetalclip-nb download fetalclip-released`)."""
    return (folder / "zero_shot_planes_db").is_dir() and (folder / "zero_shot_hc18").is_dir()


def released_age_scores(folder: str | Path) -> ReleasedAgeScores:
    """The authors' image-to-age similarities on the HC18 training set."""
    rows = _unpickled(released_file(folder, "zero_shot_hc18/FetalCLIP_dot_prods_map.pt"))
    hc_mm = np.array([row["true_hc"] for row in rows], dtype=np.float64)
    scores = np.concatenate([row["text_dot_prods"] for row in rows]).astype(np.float32)
    return ReleasedAgeScores(hc_mm, scores)


def _unpickled(path: Path) -> list[dict]:
    """Content of a pickle, which is read with an allow-list of four NumPy names."""
    import torch

    rebuild = np.empty(0).__reduce__()[0]  # NumPy 1 and 2 keep it in different modules
    allowed = [rebuild, (rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype]
    with torch.serialization.safe_globals([*allowed, type(np.dtype(np.float32))]):
        return torch.load(path, map_location="cpu", weights_only=True)


ENTRY = "fetalclip-released"

AGE_SCRIPT = "zero_shot_hc18/test_ga_dot_prods_map.py"
"""Holds the authors' sentences on age; see `load_age_templates`."""


def released_file(folder: str | Path, relative: str) -> Path:
    """The path of a released file that is there and, byte for byte, the registered one.

    What is in it needs no further check. The path below the folder is that of the registry.
    """
    path = Path(folder).expanduser() / relative
    if not path.is_file():
        fix = f"run fetalclip-nb download {ENTRY}, or name the folder that holds its folders"
        raise DataError("Released file is missing", where=path, fix=fix)
    require_registered(registered(ENTRY).file(relative), path)
    return path


def read_json(folder: str | Path, relative: str) -> dict | list:
    """Content of a released JSON file; arguments as those of `released_file`."""
    return json.loads(released_file(folder, relative).read_text("utf-8"))
