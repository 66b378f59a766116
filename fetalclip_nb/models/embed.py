"""Embeddings, computed once per model, data set and preparation, and kept on disk."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from fetalclip_nb import __version__
from fetalclip_nb.data.augmentation import Augmentation, augmented, use_one_thread
from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.images import read_square
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.files import cached, key, slug
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.pixels import PixelEncoder
from fetalclip_nb.models.store import Embeddings, cached_embeddings

PREPARATION = "square-1"
"""Name of the image preparation; it changes when prepared pixels change."""

ImageEncoder = Model | PixelEncoder
"""What can embed images."""


def image_embeddings(
    model: ImageEncoder,
    dataset: Dataset,
    *,
    cache_dir: Path,
    batch_size: int = 64,
    workers: int | None = None,
) -> Embeddings:
    """Embed every image of a data set, or read what an earlier run has computed.

    Finished chunks of 256 images are kept when a run is interrupted; the next one goes on
    after them. One process computes at a time (a lock per key), others wait and read.

    Args:
        model: Encoder.
        dataset: A whole data set as its reader gave it (not a subset).
        cache_dir: Folder that all notebooks share.
        batch_size: Images a forward pass; the result does not depend on it.
        workers: Decoding processes; None for none on a CPU and up to 8 beside a GPU.

    Returns:
        Embeddings in table order.

    Raises:
        ParameterError: If the data set is a subset.
        CacheError: If the cache holds something else than its key promises.
        ImageError: If an image cannot be decoded.
    """
    if not dataset.whole:
        # Its key is the whole's, whose next reader would miss images.
        raise ParameterError(
            "Embeddings of a subset are not kept",
            where="image_embeddings",
            expected="a whole data set, as its reader gave it",
            found=f"{len(dataset)} images picked from {dataset.name}",
            fix="embed the whole data set, then pick the subset's rows with Embeddings.of",
        )
    images = PreparedImages(dataset, model.preprocess)
    return _cached(model, images, image_meta(model, dataset), cache_dir, batch_size, workers)


def augmented_embeddings(
    model: ImageEncoder,
    dataset: Dataset,
    augmentation: Augmentation,
    *,
    copies: int,
    cache_dir: Path,
    batch_size: int = 64,
    workers: int | None = None,
) -> np.ndarray:
    """Embed several randomly changed copies of every image, or read them from the cache.

    Each copy is squared, changed and then preprocessed by the model. Copies are cached one by
    one: ten copies reuse the five of an earlier call, and an interrupted call goes on. An
    image's copies are the same in any subset of its data set.

    Args:
        model: Encoder.
        dataset: A data set or a subset of it, such as the training images.
        augmentation: How far images may be changed, and the seed.
        copies: Copies of each image, at least 1.
        cache_dir: Folder that all notebooks share.
        batch_size: Images a forward pass; the result does not depend on it.
        workers: Decoding processes; None for none on a CPU and up to 8 beside a GPU.

    Returns:
        Un-normalised embeddings in table order, float32 of shape (copies, len(dataset), D).

    Raises:
        ParameterError: If there is no copy or no image to embed.
        CacheError: If the cache holds something else than its key promises.
        ImageError: If an image cannot be decoded.

    Source: Protocol of the paper's probing experiments (5 copies; few-data: 10).
    """
    if not isinstance(copies, int) or copies < 1 or dataset.table.empty:
        raise ParameterError(
            "Nothing to augment",
            where="augmented_embeddings",
            expected="at least one copy of at least one image",
            found=f"{copies} copies of {len(dataset)} images",
        )
    vectors = []
    for copy in range(copies):
        images = PreparedImages(dataset, model.preprocess, augmentation, copy)
        meta = image_meta(model, dataset, augmentation, copy)
        found = _cached(model, images, meta, cache_dir, batch_size, workers)
        vectors.append(found.vectors)
    return np.stack(vectors)


def text_embeddings(model: Model, sentences: Sequence[str], *, cache_dir: Path) -> np.ndarray:
    """Un-normalised text embeddings, each distinct sentence encoded once.

    Args:
        model: Encoder.
        sentences: N sentences.
        cache_dir: Folder that all notebooks share.

    Returns:
        float32 of shape (N, D).
    """
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


class PreparedImages(torch.utils.data.Dataset):
    """Images as an encoder takes them: squared, augmented where asked, preprocessed.

    Args:
        dataset: The images, in the order of its table.
        preprocess: PIL image to tensor.
        augmentation: How far images are changed; None for not at all.
        copy: Number of the augmented copy.
    """

    def __init__(
        self,
        dataset: Dataset,
        preprocess: Callable,
        augmentation: Augmentation | None = None,
        copy: int = 0,
    ) -> None:
        self.dataset = dataset
        self.paths = dataset.paths
        self.names = dataset.table["id"].tolist()
        self.preprocess = preprocess
        self.augmentation = augmentation
        self.copy = copy

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        """What the encoder is given for the image of a row."""
        image = read_square(self.paths[row])
        if self.augmentation is not None:
            image = augmented(image, self.augmentation, name=self.names[row], copy=self.copy)
        return self.preprocess(image)


def _cached(
    model: ImageEncoder,
    images: PreparedImages,
    meta: dict,
    cache_dir: Path,
    batch_size: int,
    workers: int | None,
) -> Embeddings:
    def embed(rows: range) -> np.ndarray:
        return _embed(model, Subset(images, rows), batch_size, workers)

    return cached_embeddings(cache_dir, images.dataset.table, meta, embed)


def _embed(model: ImageEncoder, images: Subset, batch_size: int, workers: int | None) -> np.ndarray:
    loader = image_batches(images, model.device, batch_size=batch_size, workers=workers)
    return np.concatenate([model.encode_images(batch) for batch in loader])


def image_batches(
    images: torch.utils.data.Dataset, device: str, *, batch_size: int, workers: int | None
) -> DataLoader:
    """Batches of images in their order, decoded in other processes where that helps.

    Args:
        images: `PreparedImages` or a subset of them.
        device: The encoder's device.
        batch_size: Images a batch; the last one may have fewer.
        workers: Decoding processes; None for none on a CPU and up to 8 beside a GPU.
    """
    on_gpu = device.startswith("cuda")
    if workers is None:
        workers = min(8, os.cpu_count() or 1) if on_gpu else 0
    return DataLoader(
        images,
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=on_gpu,
        worker_init_fn=use_one_thread,
    )


def image_meta(
    model: ImageEncoder, dataset: Dataset, augmentation: Augmentation | None = None, copy: int = 0
) -> dict:
    """What a cache has to know of encoded images: encoder, preparation, data set, augmentation."""
    if augmentation is None:
        return _meta(model, dataset)
    return _augmented_meta(model, dataset, augmentation, copy)


def _meta(model: ImageEncoder, dataset: Dataset) -> dict:
    return {
        "model": model.name,
        "model_fingerprint": model.fingerprint,
        "preprocess": re.sub(r" at 0x[0-9a-f]+", "", repr(model.preprocess)),
        "preparation": PREPARATION,
        "precision": model.precision,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "augmentation": None,
        "package": __version__,
    }


def _augmented_meta(
    model: ImageEncoder, dataset: Dataset, augmentation: Augmentation, copy: int
) -> dict:
    # A subset shares the whole's fingerprint; its ids tell the two apart.
    ids = "\n".join(dataset.table["id"])
    images = hashlib.sha256(ids.encode()).hexdigest()[:16]
    changes = {**augmentation.settings, "copy": copy}
    return {**_meta(model, dataset), "augmentation": changes, "images": images}
