"""What is known of images beside their zero-shot answers.

The authors' released outputs through our metric code: does it give their numbers?
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fetalclip_nb.data.released import released_predictions
from fetalclip_nb.stats.classification import Predictions

COLUMNS = ("label", "plane", "brain_plane")
"""Columns of a data set's table that name what an image shows."""


def unprompted_sentence(table: pd.DataFrame, classes: Sequence[str]) -> str:
    """Which labels no class is named after, so that a zero-shot answer cannot be right.

    Args:
        table: One row an image, with any of `COLUMNS`; an image may have a plane and a
            sub-plane, and a class for one of them is enough. Images without a label are left out.
        classes: Classes that have sentences.

    >>> planes = pd.DataFrame({"plane": ["brain", "other"], "brain_plane": ["other", ""]})
    >>> unprompted_sentence(planes, ["brain", "femur"]).split(":")[0]
    'No class has the name "other", the label of 1 of 2 images'
    >>> unprompted_sentence(planes, ["brain", "femur", "other"])
    'Every known label has a class of its name, so any answer may be right.'
    """
    columns = [name for name in COLUMNS if name in table]
    rows = [
        [name for name in row if name] for row in table[columns].itertuples(index=False, name=None)
    ]
    known = [names for names in rows if names]
    if not known:
        return "What these images show is not known here, so no answer can be checked."
    absent = [names[0] for names in known if not set(names) & set(classes)]
    if not absent:
        return "Every known label has a class of its name, so any answer may be right."
    labels = " or ".join(f'"{name}"' for name in sorted(set(absent)))
    return (
        f"No class has the name {labels}, the label of {len(absent):,} of {len(table):,} images: "
        "unless a class of another name means the same, every answer for such an image is wrong, "
        "however high its probability."
    )


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
