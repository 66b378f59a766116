"""What the chapter embeds: planes, brain sub-planes, heads of known circumference."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.hc18 import counted
from fetalclip_nb.experiments.embeddings.export import export_embeddings
from fetalclip_nb.files import slug
from fetalclip_nb.growth import gestational_age
from fetalclip_nb.models.embed import image_embeddings
from fetalclip_nb.models.model import Model
from fetalclip_nb.tasks.classes import taught_tasks

INPUT_SIDE = 224
"""Side in pixels of the picture in which the size of a head is stated."""

_PARTS = {"six_planes": "planes", "brain_subplanes": "brain"}

Vectors = dict[tuple[str, str], np.ndarray]
"""(Model, part) to un-normalised embeddings (N, D); parts are "planes", "brain", "heads", or
"own_classes" in place of the first two."""


@dataclass(frozen=True)
class Collection:
    """Images of the chapter.

    Attributes:
        whole: The data set of planes, or of own classes, as read.
        heads: All heads, as read; None where none were given.
    """

    whole: Dataset
    heads: Dataset | None

    @cached_property
    def images(self) -> dict[str, Dataset]:
        """Images of the parts "planes" (with "other") and "brain" (the named sub-planes), or of own
        classes; the main part comes first.
        """
        return {_PARTS.get(task, task): part for task, part in taught_tasks(self.whole).items()}

    @property
    def main(self) -> str:
        """The part with all images."""
        return next(iter(self.images))

    @property
    def finest(self) -> str:
        """The part that is hardest to tell apart: "brain", or that of own classes."""
        return [*self.images][-1]

    @property
    def planes(self) -> pd.DataFrame:
        """One row an image of any plane, or own class."""
        return self.images[self.main].table

    @property
    def fine(self) -> pd.DataFrame:
        """One row an image of the finest part."""
        return self.images[self.finest].table

    @property
    def beside(self) -> list[str]:
        """What else may tell images apart: machine, operator, where there is more than one."""
        known = [name for name in ("machine", "operator") if name in self.planes]
        return [name for name in known if self.planes[name].nunique() > 1]

    @property
    def known(self) -> dict[str, pd.Series]:
        """Class, machine and operator of each image, for the colours of a map."""
        return {"class": self.planes["label"], **self.planes[self.beside]}

    @property
    def counted(self) -> np.ndarray:
        """Which heads are of 100 to 342 mm, boolean."""
        return counted(self.heads)

    @property
    def head_table(self) -> pd.DataFrame:
        """Heads that count, with days (of the median age) and pixels (at 224 pixels)."""
        table = self.heads.table[self.counted]
        side = table[["width", "height"]].max(axis=1)
        pixels = table["hc_mm"] / table["pixel_mm"] * INPUT_SIDE / side
        return table.assign(days=gestational_age(table["hc_mm"].to_numpy()), pixels=pixels)


def embed(
    models: Iterable[Model],
    collection: Collection,
    *,
    export: Path,
    cache_dir: Path,
    batch_size: int,
) -> Vectors:
    """Embed everything with each model, and write planes and brains for other programs.

    Args:
        models: One after the other; each is used and let go.
        collection: Images.
        export: Folder of the files embeddings-MODEL-PART.
        cache_dir: Folder of embeddings, shared by all chapters.
        batch_size: Images in a forward pass.
    """
    vectors: Vectors = {}
    for model in models:
        options = {"cache_dir": cache_dir, "batch_size": batch_size}
        embedded = image_embeddings(model, collection.whole, **options)
        for part, images in collection.images.items():
            vectors[model.name, part] = embedded.of(images)
            stem = export / f"embeddings-{slug(model.name)}-{part}"
            export_embeddings(stem, embedded, images)
        if collection.heads:
            heads = image_embeddings(model, collection.heads, **options)
            vectors[model.name, "heads"] = heads.vectors
    return vectors
