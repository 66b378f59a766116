"""Embeddings, computed once per model, data set and preparation, and kept on disk."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from fetalclip_nb import __version__
from fetalclip_nb.data.augmentation import Augmentation, augmented, use_one_thread
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.images import read_square, resize_cubic
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.files import cached, key, slug
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.pixels import PixelEncoder
from fetalclip_nb.models.store import Embeddings, Store, stored_arrays

PREPARATIONS = {"published": "square-1 cubic-224", "ours": "square-1"}
"""Names of what is done before a model's own preprocess; they change when its pixels change.

"published" is the paper's for probes, few-data training and segmentation (`resize_cubic`);
"ours" leaves the resizing to the model, which smooths first, as zero-shot of the paper does.
"""

ImageEncoder = Model | PixelEncoder
"""What can embed images."""


def image_embeddings(
    model: ImageEncoder,
    dataset: Dataset,
    *,
    cache_dir: Path,
    batch_size: int = 64,
    preparation: str = "ours",
) -> Embeddings:
    """Embed every image of a data set, in table order, or read what an earlier run has computed.

    Args:
        model: Encoder.
        dataset: A data set or a subset of it; each has an entry of its own.
        cache_dir: Folder that all notebooks share.
        batch_size: Images a forward pass; the result does not depend on it.
        preparation: A key of `PREPARATIONS`.
    """
    images = PreparedImages(dataset, model.preprocess, preparation=preparation)
    store = stored_features(model, images, "embeddings", cache_dir, batch_size)
    vectors = np.array(store.arrays["embeddings"])
    return Embeddings(vectors, tuple(dataset.table["id"]), store.meta)


def augmented_embeddings(
    model: ImageEncoder,
    dataset: Dataset,
    augmentation: Augmentation,
    *,
    copies: int,
    cache_dir: Path,
    batch_size: int = 64,
    preparation: str = "ours",
) -> np.ndarray:
    """Embed several randomly changed copies of every image, or read them from the cache.

    Each copy is squared, changed, prepared and then preprocessed by the model. Copies are cached
    one by one: ten copies reuse the five of an earlier call, and an interrupted call goes on.
    An image's copies are the same in any subset of its data set.

    Args:
        model: Encoder.
        dataset: A data set or a subset of it, such as the training images.
        augmentation: How far images may be changed, and the seed.
        copies: Copies of each image, at least 1.
        cache_dir: Folder that all notebooks share.
        batch_size: Images a forward pass; the result does not depend on it.
        preparation: A key of `PREPARATIONS`.

    Returns:
        Un-normalised embeddings in table order, float32 of shape (copies, len(dataset), D).

    Source: Protocol of the paper's probing experiments (5 copies; few-data: 10).
    """
    if copies < 1 or dataset.table.empty:
        found = f"{copies} copies of {len(dataset)} images"
        raise ParameterError("Nothing to augment", expected="at least one copy", found=found)
    vectors = []
    for copy in range(copies):
        images = PreparedImages(dataset, model.preprocess, augmentation, copy, preparation)
        store = stored_features(model, images, "embeddings", cache_dir, batch_size)
        vectors.append(store.arrays["embeddings"])
    return np.stack(vectors)


def text_embeddings(model: Model, sentences: Sequence[str], *, cache_dir: Path) -> np.ndarray:
    """Un-normalised embeddings (N, D) of N sentences, each distinct one encoded once."""
    distinct = list(dict.fromkeys(sentences))
    name = f"{slug(model.name)}-{key([model.fingerprint, model.precision, distinct])}.npy"
    vectors = cached(Path(cache_dir) / "text" / name, lambda: model.encode_text(distinct))
    index = {sentence: row for row, sentence in enumerate(distinct)}
    return vectors[[index[sentence] for sentence in sentences]]


def text_encoder(model: Model, cache_dir: Path) -> Callable[[list[str]], np.ndarray]:
    """A function from sentences to cached embeddings, as `zero_shot` takes it."""
    return lambda sentences: text_embeddings(model, sentences, cache_dir=cache_dir)


def prepared_embedding(model: Model, images: Iterable) -> np.ndarray:
    """Embed a few square PIL images without a cache, float32 of shape (N, D)."""
    return model.encode_images(torch.stack([model.preprocess(image) for image in images]))


def black_embedding(model: Model) -> np.ndarray:
    """Unit-norm embedding of a black image, float32 of shape (1, D): a control."""
    vector = prepared_embedding(model, [Image.new("L", (224, 224))])
    return vector / np.linalg.norm(vector)


def require_preparation(preparation: str) -> None:
    """Refuse a preparation that is no key of `PREPARATIONS`."""
    if preparation not in PREPARATIONS:
        known = " or ".join(PREPARATIONS)
        raise ParameterError("Unknown preparation", expected=known, found=preparation)


@dataclass
class PreparedImages(torch.utils.data.Dataset):
    """Images as an encoder takes them: squared, augmented where asked, preprocessed.

    Attributes:
        dataset: The images, in the order of its table.
        preprocess: PIL image to tensor.
        augmentation: How far images are changed; None for not at all.
        copy: Number of the augmented copy.
        preparation: A key of `PREPARATIONS`.

    Raises:
        ParameterError: If the preparation is unknown.
    """

    dataset: Dataset
    preprocess: Callable
    augmentation: Augmentation | None = None
    copy: int = 0
    preparation: str = "ours"

    def __post_init__(self) -> None:
        require_preparation(self.preparation)

    def __len__(self) -> int:
        return len(self.dataset)

    @cached_property
    def _named(self) -> list[tuple[str, Path]]:
        return list(zip(self.dataset.table["id"], self.dataset.paths, strict=True))

    def __getitem__(self, row: int) -> torch.Tensor:
        """What the encoder is given for the image of a row."""
        name, path = self._named[row]
        image = read_square(path)
        if self.augmentation is not None:
            image = augmented(image, self.augmentation, name=name, copy=self.copy)
        published = self.preparation == "published"
        return self.preprocess(resize_cubic(image) if published else image)


def stored_features(
    encoder: ImageEncoder, images: PreparedImages, group: str, cache_dir: Path, batch_size: int
) -> Store:
    """What an encoder makes of images, computed once and read from the disk.

    A batch is stored as soon as it is computed: neither the memory needed nor what an
    interrupted run loses depends on the number of images.

    Args:
        encoder: Its `encode_images` takes a batch.
        images: N images.
        group: Kind of features; name of the store's only array, whose rows are in table order.
        cache_dir: Folder that all notebooks share.
        batch_size: Images a forward pass.
    """
    on_gpu = encoder.device.startswith("cuda")
    workers = min(8, os.cpu_count() or 1) if on_gpu else 0
    batches = None

    def compute(rows: range) -> dict[str, np.ndarray]:
        nonlocal batches
        if batches is None:  # the first rows asked for: a run that goes on begins later
            todo = Subset(images, range(rows.start, len(images)))
            options = {"num_workers": workers, "worker_init_fn": use_one_thread}
            batches = iter(DataLoader(todo, batch_size, pin_memory=on_gpu, **options))
        return {group: encoder.encode_images(next(batches))}

    meta = image_meta(encoder, images)
    return stored_arrays(cache_dir, group, meta, len(images), compute, chunk=batch_size)


def image_meta(encoder: ImageEncoder, images: PreparedImages) -> dict:
    """What a cache has to know of encoded images: encoder, preparation, data set, augmentation."""
    dataset, augmentation = images.dataset, images.augmentation
    return {
        "model": encoder.name,
        "model_fingerprint": encoder.fingerprint,
        "preprocess": re.sub(r" at 0x[0-9a-f]+", "", repr(encoder.preprocess)),
        "preparation": PREPARATIONS[images.preparation],
        "precision": encoder.precision,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "images": key(dataset.table["id"].tolist()),  # a subset shares the whole's fingerprint
        "augmentation": augmentation and {**augmentation.settings, "copy": images.copy},
        "package": __version__,
    }
