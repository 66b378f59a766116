"""Which images are mapped, and for which class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import ParameterError, refuse
from fetalclip_nb.models.embed import PreparedImages
from fetalclip_nb.models.model import Model
from fetalclip_nb.tasks.classes import asked_tasks, class_names, task_sentences

CHOICES = ("published", "ours")
"""The first images of each class in the table, or drawn ones of different patients."""


@dataclass(frozen=True)
class Chosen:
    """A few images of each class.

    Attributes:
        source: The whole data set.
        every: Task ("five_planes", "brain_subplanes", "own_classes") to all its images.
        images: Task to the chosen ones.
        prompts: Task to the sentences of its classes, which may be more than have images; a task
            without sentences is for models that read none.
    """

    source: Dataset
    every: dict[str, Dataset]
    images: dict[str, Dataset]
    prompts: dict[str, dict[str, list[str]]]

    @property
    def main(self) -> str:
        """The first task, whose maps are put to the test."""
        return next(iter(self.images))

    def classes(self, task: str) -> tuple[str, ...]:
        """Classes of a task that have images, in the order of tables."""
        return class_names(task, self.every[task])

    def labels(self, task: str) -> np.ndarray:
        """Class name of each image of a task, shape (N,)."""
        return self.images[task].table["label"].to_numpy()

    def counts(self) -> pd.DataFrame:
        """Images and patients of each class."""
        summaries = {task: images.summary("label") for task, images in self.images.items()}
        return pd.concat(summaries, names=["task", ""]).droplevel(1)


def choose(
    source: Dataset, prompts: Sequence[str], per_class: int, seed: int, choice: str = "published"
) -> Chosen:
    """Choose images of each class of each task that sentences are asked (`asked_tasks`).

    Args:
        source: FETAL_PLANES_DB, or a manifest of any classes.
        prompts: Names or files of the sentences, for one task after the other; empty for none.
        per_class: Images of each class.
        seed: Seed of a draw.
        choice: One of `CHOICES`.

    Raises:
        ParameterError: Nothing to draw, a class without an image or without sentences, or an
            unknown choice.
    """
    if choice not in CHOICES:
        known = " or ".join(CHOICES)
        raise ParameterError("Unknown choice", where="choice", expected=known, found=choice)
    drawn = seed if choice == "ours" else None
    every = asked_tasks(source)
    images = {
        task: some_per_class(part, class_names(task, part), per_class, drawn)
        for task, part in every.items()
    }
    return Chosen(source, every, images, task_sentences(every, *prompts))


def pixels_of(model: Model, dataset: Dataset) -> torch.Tensor:
    """Preprocessed images of a (small) data set, float32 of shape (N, 3, S, S)."""
    pictures = PreparedImages(dataset, model.preprocess)
    return torch.stack([pictures[row] for row in range(len(pictures))])


def other_targets(probabilities: np.ndarray, targets: Sequence[int]) -> list[int]:
    """The most probable of the other classes for each image.

    >>> other_targets(np.array([[0.7, 0.1, 0.2], [0.7, 0.1, 0.2]]), [0, 2])
    [2, 0]
    """
    others = np.array(probabilities, dtype=np.float64)
    others[np.arange(len(others)), np.asarray(targets)] = -1
    return others.argmax(axis=1).tolist()


def some_per_class(
    dataset: Dataset, labels: Sequence[str], count: int, seed: int | None
) -> Dataset:
    """Draw a few images of each class, of different patients as long as there are any.

    Args:
        dataset: Has the columns label and patient.
        labels: Classes to draw from.
        count: Images of each; all of them where a class has fewer.
        seed: Seed of the draw; None takes the first of each class, whosever they are.

    Returns:
        The images drawn, in the order of the data set.

    Raises:
        ParameterError: If nothing is to be drawn, or a class has no image.
    """
    table = dataset.table
    if count < 1:
        raise ParameterError("No images to map", where="images of each class", found=count)
    absent = [label for label in labels if not (table["label"] == label).any()]
    refuse(absent, "No images to map of classes", error=ParameterError)
    mixed = table.reset_index(drop=True)
    if seed is not None:
        mixed = mixed.iloc[np.random.default_rng(seed).permutation(len(table))]
        repeats = mixed.groupby(["label", "patient"]).cumcount().sort_values(kind="stable")
        mixed = mixed.loc[repeats.index]
    picked = mixed[mixed["label"].isin(labels)].groupby("label").head(count)
    return dataset.where(np.isin(np.arange(len(table)), picked.index))
