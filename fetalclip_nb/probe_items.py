"""What a probing task classifies: images, or clips of several images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fetalclip_nb.clips import Clips, gather_clips
from fetalclip_nb.datasets.table import Dataset, require_known
from fetalclip_nb.splits import Split, rows_of

CHD_CLASSES = ("normal", "CHD")
"""Labels of clips; the second one is what a probe looks for."""


@dataclass(frozen=True)
class Items:
    """The items of a task, made by `image_items` or `clip_items`.

    Attributes:
        name: Task ("six_planes").
        classes: C names.
        table: One row an item with at least patient, label (one of the classes) and split.
        rows: Row of each item's image in the whole data set, int64 of shape (N,); of clips,
            the first frame's.
        clips: The clips, or None where each item is an image.
    """

    name: str
    classes: tuple[str, ...]
    table: pd.DataFrame
    rows: np.ndarray
    clips: Clips | None = None

    def __len__(self) -> int:
        """Number of items."""
        return len(self.table)

    @property
    def images(self) -> np.ndarray:
        """Rows of all images that the items consist of, int64."""
        return self.rows if self.clips is None else self.clips.frames.ravel()

    @property
    def targets(self) -> np.ndarray:
        """Class of each item, int64 of shape (N,)."""
        return pd.Index(self.classes).get_indexer(self.table["label"]).astype(np.int64)

    def tested(self, split: Split) -> np.ndarray:
        """Which items are of test patients, boolean of shape (N,)."""
        return rows_of(self.table, split.test)

    def truth(self, split: Split) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Classes and patients of the tested items, and the class names, as scores take them."""
        rows = self.tested(split)
        return self.targets[rows], self.table["patient"].to_numpy()[rows], self.classes


def image_items(name: str, images: Dataset, classes: Sequence[str]) -> Items:
    """Each labelled image is an item.

    Args:
        name: Task.
        images: A data set, or a subset of one, with a ``label`` column.
        classes: Names, in the order of the logits' columns.

    Raises:
        DataError: If a label is not one of the classes.
    """
    require_known(images.table["label"], tuple(classes), column="label", where=images.root)
    table = images.table.reset_index(drop=True)
    return Items(name, tuple(classes), table, images.table.index.to_numpy(np.int64))


def clip_items(name: str, images: Dataset, classes: Sequence[str], *, frames: int) -> Items:
    """Each clip is an item; its frames' features are joined in order.

    Args:
        name: Task.
        images: A whole data set with the columns that `clips.gather_clips` needs.
        classes: Names, in the order of the logits' columns.
        frames: Frames a clip.

    Returns:
        Items in the order of the clips' first rows. The table has clip, patient, label, split
        and all other columns of the data set, as they are at the clip's first picked frame.

    Raises:
        DataError: If the table's clips cannot be used, or a label is not one of the classes.
        ParameterError: If the number of frames is out of range.
    """
    clips = gather_clips(images, frames=frames)
    require_known(images.table["label"], tuple(classes), column="label", where=images.root)
    first = clips.frames[:, 0]
    others = images.table.drop(columns=list(clips.table), errors="ignore").iloc[first]
    table = pd.concat([clips.table, others.reset_index(drop=True)], axis=1)
    return Items(name, tuple(classes), table, first, clips)
