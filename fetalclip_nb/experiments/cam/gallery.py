"""The maps of the chapter: every model, task and method, and what is shown of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.images import read_square
from fetalclip_nb.experiments.cam.images import Chosen, other_targets
from fetalclip_nb.experiments.cam.maps import Cams, class_maps
from fetalclip_nb.experiments.cam.overlays import Shown, grey_square
from fetalclip_nb.models.embed import image_embeddings, text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.similarity import class_embeddings


@dataclass(frozen=True)
class Gallery:
    """Maps, and the models that made them: they also judge them.

    Attributes:
        chosen: The images.
        models: Name to model, the headline model first.
        classes: (Model, task) to the C classes between which it chooses.
        vectors: (Model, task) to class vectors, float32 of shape (C, D).
        methods: The method that is tested, then those for comparison.
        cams: (Model, task, method) to maps and probabilities.
        mapped: `class_maps` with the run's cache and batches, for further maps.
    """

    chosen: Chosen
    models: dict[str, Model]
    classes: dict[tuple[str, str], tuple[str, ...]]
    vectors: dict[tuple[str, str], np.ndarray]
    methods: tuple[str, ...]
    cams: dict[tuple[str, str, str], Cams]
    mapped: Callable[..., Cams]

    @property
    def headline(self) -> str:
        """Name of the first model."""
        return next(iter(self.models))

    @property
    def main(self) -> str:
        """The task whose maps are put to the test."""
        return self.chosen.main

    def targets(self, task: str, model: str = "") -> list[int]:
        """Class number of each image of a task, its own class, as a model counts them."""
        classes = self.classes[model or self.headline, task]
        return [classes.index(label) for label in self.chosen.labels(task)]

    @property
    def others(self) -> list[str]:
        """Names of the other models."""
        return list(self.models)[1:]

    @property
    def side(self) -> int:
        """Side of the headline model's maps in pixels."""
        return self.of(self.main).maps.shape[-1]

    def of(self, task: str, model: str = "", method: str = "") -> Cams:
        """Maps of a task; by the headline model and the tested method where none is named."""
        return self.cams[model or self.headline, task, method or self.methods[0]]

    def named_rightly(self) -> pd.DataFrame:
        """Share of the images of each task that the headline model names rightly, in percent."""
        shares = {}
        for task in self.chosen.images:
            right = self.of(task).probabilities.argmax(1) == self.targets(task)
            shares[task] = f"{100 * np.mean(right):.0f}"
        return pd.DataFrame(shares, index=[f"images that {self.headline} names rightly (%)"])


def make_maps(
    models: Iterable[Model],
    chosen: Chosen,
    methods: Sequence[str],
    *,
    cache_dir: Path,
    batch_size: int | None,
) -> Gallery:
    """Map each image for its own class; further methods map the first task alone.

    Args:
        models: The headline model first. All stay in memory.
        chosen: The images.
        methods: Of `maps.TITLES`, the tested one first.
        cache_dir: Folder that all notebooks share.
        batch_size: Masked images in a forward pass; None for what suits the device.

    Raises:
        ModelError: A model's tower gives no maps.
    """
    mapped = partial(class_maps, cache_dir=cache_dir, batch_size=batch_size)
    loaded = {model.name: model for model in models}
    gallery = Gallery(chosen, loaded, {}, {}, tuple(methods), {}, mapped)
    for name, model in loaded.items():
        for task, images in chosen.images.items():
            classes, vectors = class_vectors(model, chosen, task, cache_dir)
            gallery.classes[name, task], gallery.vectors[name, task] = classes, vectors
            asked = (model, images, vectors, gallery.targets(task, name))
            for method in methods if task == chosen.main else methods[:1]:
                gallery.cams[name, task, method] = mapped(*asked, method=method)
    return gallery


def class_vectors(
    model: Model, chosen: Chosen, task: str, cache_dir: Path
) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes between which a model chooses, and their unit vectors, float32 of shape (C, D).

    Those of sentences; for a model that reads none, or where there are none, the mean of the
    images of each class, of patients whose images are not mapped wherever there are others.
    """
    if model.reads_text and task in chosen.prompts:
        prompts = chosen.prompts[task]
        return tuple(prompts), class_embeddings(text_encoder(model, cache_dir), prompts)
    embedded, table = (
        image_embeddings(model, chosen.source, cache_dir=cache_dir),
        chosen.every[task].table,
    )
    others = table[~table["patient"].isin(chosen.images[task].table["patient"])]
    named = {
        **dict(iter(table.groupby("label")["id"])),
        **dict(iter(others.groupby("label")["id"])),
    }
    rows = {name: row for row, name in enumerate(embedded.ids)}
    classes = chosen.classes(task)
    vectors = class_embeddings(
        lambda ids: embedded.vectors[[rows[name] for name in ids]],
        {name: named[name].tolist() for name in classes},
    )
    return classes, vectors


def shown(gallery: Gallery) -> dict[str, Shown]:
    """The headline model's images, maps and answers of each task, for overlays."""
    return {
        task: Shown(
            np.stack([grey_square(read_square(path), gallery.side) for path in images.paths]),
            gallery.of(task).maps,
            gallery.of(task).probabilities,
            list(gallery.classes[gallery.headline, task]),
            gallery.targets(task),
            images.table["id"].tolist(),
        )
        for task, images in gallery.chosen.images.items()
    }


def another_class(gallery: Gallery) -> np.ndarray:
    """The headline maps of the first task again, for the most probable of the other classes.

    Returns:
        float32 of shape (N, S, S).
    """
    name, task = gallery.headline, gallery.main
    return gallery.mapped(
        gallery.models[name],
        gallery.chosen.images[task],
        gallery.vectors[name, task],
        other_targets(gallery.of(task).probabilities, gallery.targets(task)),
        method=gallery.methods[0],
    ).maps
