"""The maps of the chapter: every model, task and method, and what is shown of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.images import read_square
from fetalclip_nb.errors import ModelError
from fetalclip_nb.experiments.cam.images import PLANES, Chosen, other_targets
from fetalclip_nb.experiments.cam.maps import Cams, class_maps, input_norm
from fetalclip_nb.experiments.cam.overlays import Shown, grey_square
from fetalclip_nb.models.embed import text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.similarity import class_embeddings
from fetalclip_nb.models.tower import vision_tower


@dataclass(frozen=True)
class Gallery:
    """Maps, and the models that made them: they also judge them.

    Attributes:
        chosen: The images.
        models: Name to model, the headline model first.
        vectors: (Model, task) to class vectors, float32 of shape (C, D).
        methods: The method that is tested, then those for comparison.
        cams: (Model, task, method) to maps and probabilities.
        mapped: `class_maps` with the run's cache and batches, for further maps.
    """

    chosen: Chosen
    models: dict[str, Model]
    vectors: dict[tuple[str, str], np.ndarray]
    methods: tuple[str, ...]
    cams: dict[tuple[str, str, str], Cams]
    mapped: Callable[..., Cams]

    @property
    def headline(self) -> str:
        """Name of the first model."""
        return next(iter(self.models))

    @property
    def others(self) -> list[str]:
        """Names of the other models."""
        return list(self.models)[1:]

    @property
    def side(self) -> int:
        """Side of the headline model's maps in pixels."""
        return self.of(PLANES).maps.shape[-1]

    def of(self, task: str, model: str = "", method: str = "") -> Cams:
        """Maps of a task; by the headline model and the tested method where none is named."""
        return self.cams[model or self.headline, task, method or self.methods[0]]

    def named_rightly(self) -> pd.DataFrame:
        """Share of the images of each task that the headline model names rightly, in percent."""
        shares = {
            task: f"{100 * np.mean(self.of(task).probabilities.argmax(1) == targets):.0f}"
            for task, targets in self.chosen.targets.items()
        }
        return pd.DataFrame(shares, index=[f"images that {self.headline} names rightly (%)"])


def make_maps(
    models: Iterable[Model],
    chosen: Chosen,
    methods: Sequence[str],
    *,
    cache_dir: Path,
    batch_size: int | None,
) -> Gallery:
    """Map each image for its own class; further methods map the planes alone.

    Args:
        models: The headline model first. All stay in memory; of the others, one whose tower gives
            no maps is left out, and named with the reason.
        chosen: The images.
        methods: Of `maps.TITLES`, the tested one first.
        cache_dir: Folder that all notebooks share.
        batch_size: Masked images in a forward pass; None for what suits the device.

    Raises:
        ModelError: The headline model's tower gives no maps.
    """
    mapped = partial(class_maps, cache_dir=cache_dir, batch_size=batch_size)
    loaded = {model.name: model for model in _mappable(models)}
    vectors, cams = {}, {}
    for name, model in loaded.items():
        encode = text_encoder(model, cache_dir)
        for task, images in chosen.images.items():
            vectors[name, task] = class_embeddings(encode, chosen.prompts[task])
            asked = (model, images, vectors[name, task], chosen.targets[task])
            for method in methods if task == PLANES else methods[:1]:
                cams[name, task, method] = mapped(*asked, method=method)
    return Gallery(chosen, loaded, vectors, tuple(methods), cams, mapped)


def _mappable(models: Iterable[Model]) -> Iterator[Model]:
    for number, model in enumerate(models):
        try:
            input_norm(vision_tower(model))
        except ModelError as error:
            if number == 0:
                raise
            print(f"No maps of {model.name}. {error}")
        else:
            yield model


def shown(gallery: Gallery) -> dict[str, Shown]:
    """The headline model's images, maps and answers of each task, for overlays."""
    return {
        task: Shown(
            np.stack([grey_square(read_square(path), gallery.side) for path in images.paths]),
            gallery.of(task).maps,
            gallery.of(task).probabilities,
            list(gallery.chosen.prompts[task]),
            gallery.chosen.targets[task],
            images.table["id"].tolist(),
        )
        for task, images in gallery.chosen.images.items()
    }


def another_class(gallery: Gallery) -> np.ndarray:
    """The headline maps of the planes once more, for the most probable of the other classes.

    Returns:
        float32 of shape (N, S, S).
    """
    name = gallery.headline
    return gallery.mapped(
        gallery.models[name],
        gallery.chosen.images[PLANES],
        gallery.vectors[name, PLANES],
        other_targets(gallery.of(PLANES).probabilities, gallery.chosen.targets[PLANES]),
        method=gallery.methods[0],
    ).maps
