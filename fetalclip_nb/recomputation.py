"""The authors' released outputs through our metric code: does it give their numbers?"""

from pathlib import Path

import numpy as np

from fetalclip_nb.classification import Predictions
from fetalclip_nb.datasets.hc18 import COUNTED_HC_MM
from fetalclip_nb.gestational_age import predict_age
from fetalclip_nb.released import released_age_scores, released_predictions
from fetalclip_nb.released_files import ENTRY

NAME = "FetalCLIP (released outputs)"
"""Name in tables: their model, their predictions, our scoring."""

TASKS = ("five_planes", "brain_subplanes")


def released_available(folder: Path) -> bool:
    """Whether the authors' files were downloaded (`fetalclip-nb download fetalclip-released`)."""
    return (folder / "zero_shot_planes_db").is_dir() and (folder / "zero_shot_hc18").is_dir()


def released_planes(folder: Path) -> dict[str, Predictions]:
    """FetalCLIP's first choices of both plane tasks; patients are not in the files.

    Args:
        folder: Folder in the layout of the authors' repository.

    Raises:
        DataError, DownloadError: A file is missing, malformed or not the released one.
    """
    found = {}
    for task in TASKS:
        released = released_predictions(folder, task)
        ranked = released.predictions[:, None]
        found[task] = Predictions(released.classes, released.labels, ranked, None)
    return found


def released_ages(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """FetalCLIP's ages from its released similarities, for the heads that count.

    Returns:
        Predicted age in days and true head circumference in mm, each of shape (814,).
    """
    released = released_age_scores(folder)
    low, high = COUNTED_HC_MM
    rows = (released.hc_mm >= low) & (released.hc_mm <= high)
    return predict_age(released.scores[rows]), released.hc_mm[rows]
