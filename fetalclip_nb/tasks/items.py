"""What a probing task classifies: images, or clips of several images.

Clips: several frames of one recording are one example, their features joined into one row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset, require_known
from fetalclip_nb.errors import DataError, ParameterError, refuse
from fetalclip_nb.tasks.classes import class_names, taught_tasks
from fetalclip_nb.tasks.splits import Split, named, require_range, rows_of

CHD_CLASSES = ("normal", "CHD")
"""Labels of clips; the second one is what a probe looks for."""

_SHARED = ("patient", "label", "split")


@dataclass(frozen=True)
class Clips:
    """Clips and where their frames are.

    Attributes:
        table: One row a clip: clip, patient, label, split; made for the functions of `splits`.
        frames: Rows of the data set's table, in frame order, int64 of shape (n_clips, F).
    """

    table: pd.DataFrame
    frames: np.ndarray


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


@dataclass(frozen=True)
class Task:
    """Items of a data set, and who is trained on and who is tested.

    Attributes:
        dataset: The whole data set that the items are from.
        items: What is classified.
        splits: Name or number of training patients to split; all test the same patients.
    """

    dataset: Dataset
    items: Items
    splits: Mapping[str | int, Split]

    @property
    def split(self) -> Split:
        """One of the splits, for what they share: who is tested."""
        return next(iter(self.splits.values()))

    @property
    def tested(self) -> np.ndarray:
        """Which items are of test patients, boolean of shape (N,)."""
        return rows_of(self.items.table, self.split.test)

    @property
    def table(self) -> pd.DataFrame:
        """The tested items."""
        return self.items.table[self.tested]

    @property
    def truth(self) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Classes and patients of the tested items, and the class names, as scores take them."""
        patients = self.table["patient"].to_numpy()
        return self.items.targets[self.tested], patients, self.items.classes

    def by_split(self, values: np.ndarray) -> dict[str | int, np.ndarray]:
        """Cut what was fitted to all folds by split.

        Args:
            values: Shape (H, ...): all runs of the first fold of the first split, then of its
                second fold, and so on.

        Returns:
            Split to its part, shape (folds * runs, ...).
        """
        folds = np.array([len(split.folds) for split in self.splits.values()])
        runs = len(values) // folds.sum()
        parts = np.split(values, runs * folds.cumsum()[:-1])
        return dict(zip(self.splits, parts, strict=True))


def class_items(images: Dataset) -> dict[str, Items]:
    """Items of all that probes are taught on a data set, as of `taught_tasks`."""
    tasks = taught_tasks(images)
    return {name: image_items(name, part, class_names(name, part)) for name, part in tasks.items()}


def image_items(name: str, images: Dataset, classes: Sequence[str]) -> Items:
    """Each image of a data set, or of a subset of one, with a column ``label`` is an item.

    Classes are in the order of the logits' columns.
    """
    require_known(images.table["label"], tuple(classes), column="label", where=images.root)
    table = images.table.reset_index(drop=True)
    return Items(name, tuple(classes), table, images.table.index.to_numpy(np.int64))


def clip_items(name: str, images: Dataset, classes: Sequence[str], *, frames: int) -> Items:
    """Each clip is an item; its frames' features are joined in order.

    Args:
        name: Task.
        images: A whole data set with the columns that `gather_clips` needs.
        classes: Names, in the order of the logits' columns.
        frames: Frames a clip.

    Returns:
        Items in the order of the clips' first rows. The table has clip, patient, label, split
        and all other columns of the data set, as they are at the clip's first picked frame.
    """
    clips = gather_clips(images, frames=frames)
    require_known(images.table["label"], tuple(classes), column="label", where=images.root)
    first = clips.frames[:, 0]
    others = images.table.drop(columns=list(clips.table), errors="ignore").iloc[first]
    table = pd.concat([clips.table, others.reset_index(drop=True)], axis=1)
    return Items(name, tuple(classes), table, first, clips)


def require_enough_rows(
    tasks: Mapping[str, Task], *, copies: int, batch: int, parameter: str
) -> None:
    """Refuse training sets with fewer rows than a batch, before any image is encoded.

    Args:
        tasks: Name to task; the folds of a split are counted from 0, as in the tables.
        copies: Augmented copies of an item that is trained on; 0 for the item itself.
        batch: Rows a step.
        parameter: What the notebook calls the batch.

    Raises:
        ParameterError: Naming all these sets.
    """
    few, smallest = [], batch
    for name, task in tasks.items():
        for part, split in task.splits.items():
            part = f" ({part} patients)" if isinstance(part, int) else ""
            for i, fold in enumerate(split.folds):
                rows = max(copies, 1) * rows_of(task.items.table, fold.train).sum()
                smallest = min(smallest, rows)
                if rows < batch:
                    few.append(f"set {i} of {name}{part}: {rows} training rows")
    more = -(-batch // max(smallest, 1))
    fix = f"set {parameter} to {smallest} at most, take {more} times the copies, or " * bool(
        smallest
    )
    refuse(
        few,
        "Training sets are smaller than a batch",
        error=ParameterError,
        expected=f"{batch} rows or more ({parameter}), counting augmented copies",
        fix=f"{fix}take larger sets",
    )


def gather_clips(dataset: Dataset, *, frames: int) -> Clips:
    """Pick evenly spaced frames of each clip; clips come in the order of their first rows.

    The clip's frames, ordered by number, are cut into ``frames`` equal stretches and the middle
    one of each is taken: all frames if there are as many, the middle frame if one is asked for.

    Args:
        dataset: Its table has the columns patient, label, split and, for clips of several
            frames, clip (a name that no other clip has) and frame (a whole number, 0 or more).
            Without the column clip each image is a clip of one frame.
        frames: Frames a clip, 1 or more.

    Source: FetalCLIP (arXiv 2502.14807), congenital heart disease: clips of four-chamber views.
    """
    require_range("frames", frames, 1)
    table = _frame_table(dataset)
    clips = table[table["clip"] != ""].groupby("clip", sort=False)
    numbered = table["number"] >= 0
    short = [f"{clip} ({n})" for clip, n in clips.size().items() if n < frames]
    several = clips[[*_SHARED]].nunique() > 1
    problems = [
        named("rows without a clip's name", table.loc[table["clip"] == "", "id"]),
        named("frame is no whole number", table.loc[~numbered, "id"]),
        named(
            "frame numbered twice in its clip",
            table.loc[numbered & table.duplicated(["clip", "number"]), "id"],
        ),
        named(f"fewer than {frames} frames", short),
        *(named(f"more than one {name}", several.index[several[name]]) for name in _SHARED),
    ]
    refuse(
        filter(None, problems),
        "Clips cannot be used",
        where=f"{dataset.root}, columns clip and frame",
        expected=f"clips of one patient, label and split, {frames} or more numbered frames",
        fix="correct the table (without a column clip each image is a clip of its own), leave "
        "these clips out or ask for fewer frames",
    )
    rows = [part.sort_values("number")["row"].to_numpy() for _, part in clips]
    middles = 2 * np.arange(frames) + 1  # of equal stretches, in halves of a stretch
    picked = np.stack([part[middles * len(part) // (2 * frames)] for part in rows])
    return Clips(clips[[*_SHARED]].first().reset_index(), picked.astype(np.int64))


def clip_features(vectors: np.ndarray, clips: Clips) -> np.ndarray:
    """Join the features of each clip's frames, in frame order.

    Args:
        vectors: Features of the images that the clips were gathered from, shape (N, D), or of
            K augmented copies of them, shape (K, N, D).
        clips: The clips.

    Returns:
        Shape (n_clips, F * D), or (K, n_clips, F * D).

    Source: FetalCLIP (arXiv 2502.14807), congenital heart disease: frame embeddings are
    concatenated before the linear layer.

    >>> clips = Clips(pd.DataFrame({"clip": ["a"]}), np.array([[2, 0]]))
    >>> clip_features(np.array([[0, 1], [2, 3], [4, 5]]), clips)
    array([[4, 5, 0, 1]])
    """
    joined = vectors[..., clips.frames, :]
    # Not -1: there may be no copies, and then no size to infer it from.
    return joined.reshape(*joined.shape[:-2], joined.shape[-2] * joined.shape[-1])


def _frame_table(dataset: Dataset) -> pd.DataFrame:
    """Columns clip, number (-1 where it is none), row, and what a clip's frames share."""
    table = dataset.table
    if "clip" not in table:
        table = table.assign(clip=table["id"], frame=0)
    if "frame" not in table:
        raise DataError(
            "Table of clips has no column frame",
            where=dataset.root,
            fix="number the frames of each clip in a column frame",
        )
    text = table["frame"].astype(str)
    number = text.where(text.str.fullmatch(r"[0-9]{1,18}"), "-1").astype(np.int64)
    return table[["id", "clip", *_SHARED]].assign(number=number, row=np.arange(len(table)))
