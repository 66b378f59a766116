"""Class activation maps: where in an image the probability of a class comes from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fetalclip_nb.array_store import stored_arrays
from fetalclip_nb.datasets.table import Dataset
from fetalclip_nb.embeddings import Pictures, image_meta
from fetalclip_nb.errors import DataError, ModelError, ParameterError, ShapeError, listing
from fetalclip_nb.fast_tower import fast_tower
from fetalclip_nb.models import Model
from fetalclip_nb.vision_tower import Tower, vision_tower
from fetalclip_nb.zero_shot import SCALE

METHODS = ("scorecam", "gradcam", "layercam")
"""ScoreCAM as published; two that need a single backward pass, for comparison."""

TITLES = {"scorecam": "ScoreCAM", "gradcam": "GradCAM", "layercam": "LayerCAM"}
"""Methods as they are written in texts."""

PUBLISHED_IMAGES, PUBLISHED_WEIGHT = 10, 0.5
"""Images of each class, and weight of the map in an overlay."""

MADE = "cam-1"
"""Name of how maps are made; it changes when maps would."""

_IMAGES = 16
"""Images that are looked at together, and kept by an interrupted run."""


@dataclass(frozen=True)
class Cams:
    """Maps of N images, each for one class.

    Attributes:
        maps: float32 of shape (N, S, S) at the side of the model's input, from 0 to 1.
        probabilities: Of all classes for the whole images, float32 of shape (N, C).
    """

    maps: np.ndarray
    probabilities: np.ndarray


class Classifier(nn.Module):
    """Pixels to the logits of classes whose vectors were computed once.

    Args:
        model: Encoder.
        class_vectors: Unit-norm rows, float32 of shape (C, D).
        encode: Pixels to un-normalised embeddings, in place of the model's own tower.
    """

    def __init__(
        self, model: Model, class_vectors: np.ndarray, encode: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.network = model.network
        self.encode = encode or model.network.encode_image
        self.precision = model.autocast
        classes = torch.as_tensor(class_vectors, dtype=torch.float32, device=model.device)
        self.register_buffer("classes", classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (N, 3, S, S) to float32 (N, C)."""
        with self.precision():
            found = self.encode(pixels)
        # CoCa's tower gives the tokens, too.
        vectors = found[0] if isinstance(found, tuple) else found
        vectors = nn.functional.normalize(vectors.float(), dim=-1)
        return SCALE * vectors @ self.classes.T


@dataclass(frozen=True)
class LogOdds:
    """What gradients are taken of: the log odds of a class, in place of its probability.

    Both gradients have the same direction, so that the maps are the same. But that of a
    probability near 1 vanishes in float32, and the map with it.

    Attributes:
        category: Number of the class.
    """

    category: int

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (C,) of one image to a number."""
        others = torch.cat([logits[: self.category], logits[self.category + 1 :]])
        return logits[self.category] - others.logsumexp(0)


def scorer(model: Model, class_vectors: np.ndarray) -> Callable[[torch.Tensor], np.ndarray]:
    """A function from pixels to probabilities, for thousands of forward passes.

    Args:
        model: Encoder.
        class_vectors: Unit-norm rows, float32 of shape (C, D).

    Returns:
        Maps preprocessed images (N, 3, S, S) to float32 (N, C): the softmax of 100 x cosine.

    Raises:
        ShapeError: If the class vectors have another width than the model's embeddings.
    """
    classify = _classifier(model, class_vectors, fast_tower(model))

    @torch.inference_mode()
    def score(pixels: torch.Tensor) -> np.ndarray:
        return classify(pixels.to(model.device)).softmax(-1).cpu().numpy()

    return score


def cam_maps(
    model: Model,
    pixels: torch.Tensor,
    class_vectors: np.ndarray,
    targets: Sequence[int],
    *,
    method: str = "scorecam",
    batch_size: int | None = None,
) -> Cams:
    """Map each image for one class.

    As published, maps are made of the tokens that enter the attention of the last block (its
    input norm), without class and register tokens, on the grid of the patches.

    Args:
        model: Its image tower is a plain vision transformer.
        pixels: Preprocessed images, float32 of shape (N, 3, S, S).
        class_vectors: Unit-norm rows, float32 of shape (C, D).
        targets: Number of the class that each image is mapped for, N of them.
        method: One of `METHODS`.
        batch_size: Masked pictures a forward pass; None for 32 on a CPU and 256 elsewhere.

    Returns:
        The maps, and what the model says of the whole images.

    Raises:
        ParameterError: Unknown method, or a batch of nothing.
        ShapeError: Not one known class an image, or class vectors of another width.
        ModelError: If the tower has no tokens of patches or no input norm.

    Source: FetalCLIP (arXiv 2502.14807), class activation maps; the library grad-cam.
    """
    _require(pixels, class_vectors, targets, method, batch_size)
    tower = vision_tower(model)
    maker = _maker(model, tower, class_vectors, method, batch_size)
    maps, probabilities = [], []
    try:
        for rows in torch.arange(len(pixels)).split(_IMAGES):
            batch = pixels[rows].to(model.device)
            maps.append(_mapped(maker, batch, [targets[row] for row in rows]))
            probabilities.append(maker.outputs.detach().softmax(-1).cpu().numpy())
    finally:
        maker.activations_and_grads.release()
    return Cams(np.concatenate(maps), np.concatenate(probabilities))


def class_maps(
    model: Model,
    dataset: Dataset,
    class_vectors: np.ndarray,
    targets: Sequence[int],
    *,
    cache_dir: Path,
    method: str = "scorecam",
    batch_size: int | None = None,
) -> Cams:
    """Maps of a data set or a part of it, computed once and kept on disk.

    Every sixteen images are kept when a run is interrupted.

    Args:
        model: As in `cam_maps`.
        dataset: The images.
        class_vectors: Unit-norm rows, float32 of shape (C, D).
        targets: Number of the class that each image is mapped for.
        cache_dir: Folder that all notebooks share.
        method: One of `METHODS`.
        batch_size: As in `cam_maps`; results do not depend on it.

    Returns:
        Maps in table order.

    Raises:
        CacheError: If the cache holds something else than its key promises.
        ImageError: If an image cannot be decoded.
        ModelError: As `cam_maps`, as well as ParameterError and ShapeError.
    """
    pictures = Pictures(dataset, model.preprocess)
    _require(pictures, class_vectors, targets, method, batch_size)
    vision_tower(model)

    def compute(rows: range) -> dict[str, np.ndarray]:
        pixels = torch.stack([pictures[row] for row in rows])
        chosen = [targets[row] for row in rows]
        options = {"method": method, "batch_size": batch_size}
        return vars(cam_maps(model, pixels, class_vectors, chosen, **options))

    meta = _meta(model, dataset, class_vectors, targets, method)
    store = stored_arrays(cache_dir, "cams", meta, len(dataset), compute, chunk=_IMAGES)
    return Cams(**{name: np.array(array) for name, array in store.arrays.items()})


def pixels_of(model: Model, dataset: Dataset) -> torch.Tensor:
    """Preprocessed images of a (small) data set, float32 of shape (N, 3, S, S)."""
    pictures = Pictures(dataset, model.preprocess)
    return torch.stack([pictures[row] for row in range(len(pictures))])


def class_numbers(prompts: Mapping[str, object], labels: Sequence[str]) -> list[int]:
    """Number of each label among the classes of a prompt set.

    Raises:
        DataError: Naming the labels that have no sentences.

    >>> class_numbers({"brain": [], "femur": []}, ["femur", "femur", "brain"])
    [1, 1, 0]
    """
    absent = [label for label in dict.fromkeys(labels) if label not in prompts]
    if absent:
        raise DataError(
            "Prompts lack classes that images have",
            where="prompts",
            expected=f"sentences for {listing(dict.fromkeys(labels))}",
            found=f"{listing(prompts)}; none for {listing(absent)}",
            fix="add sentences for these classes",
        )
    names = list(prompts)
    return [names.index(label) for label in labels]


def other_targets(probabilities: np.ndarray, targets: Sequence[int]) -> list[int]:
    """The most probable of the other classes for each image.

    >>> other_targets(np.array([[0.7, 0.1, 0.2], [0.7, 0.1, 0.2]]), [0, 2])
    [2, 0]
    """
    others = np.array(probabilities, dtype=np.float64)
    others[np.arange(len(others)), np.asarray(targets)] = -1
    return others.argmax(axis=1).tolist()


def some_per_class(dataset: Dataset, labels: Sequence[str], count: int, seed: int) -> Dataset:
    """Draw a few images of each class, of different patients as long as there are any.

    Args:
        dataset: Has the columns label and patient.
        labels: Classes to draw from.
        count: Images of each; all of them where a class has fewer.
        seed: Seed of the draw.

    Returns:
        The images drawn, in the order of the data set.

    Raises:
        ParameterError: If nothing is to be drawn, or a class has no image.
    """
    table = dataset.table
    absent = [label for label in labels if not (table["label"] == label).any()]
    if count < 1 or absent:
        raise ParameterError(
            "No images to map",
            where="images of each class",
            expected="at least one image of each class",
            found=f"{count} of each; none of {', '.join(absent) or 'no class'}",
        )
    order = np.random.default_rng(seed).permutation(len(table))
    mixed = table.assign(row=np.arange(len(table))).iloc[order]
    mixed = mixed.assign(repeat=mixed.groupby(["label", "patient"]).cumcount())
    mixed = mixed.sort_values("repeat", kind="stable")
    picked = mixed[mixed["label"].isin(list(labels))].groupby("label").head(count)
    return dataset.where(np.isin(np.arange(len(table)), picked["row"]))


def parse_methods(*texts: str) -> list[str]:
    """Methods of comma-separated lists, each once, as a notebook takes them.

    Raises:
        ParameterError: If there is none, or one does not exist.

    >>> parse_methods("scorecam", "gradcam, scorecam,")
    ['scorecam', 'gradcam']
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    methods = [word for word in dict.fromkeys(words) if word]
    require_methods(methods or [""])
    return methods


def twin_text(others: Sequence[str]) -> str:
    """Whether an untrained model was run beside, as a sentence.

    >>> twin_text(["ours-untrained", "clip"])
    'Untrained here: ours-untrained.'
    """
    untrained = [name for name in others if name.endswith("-untrained")]
    if untrained:
        return f"Untrained here: {', '.join(untrained)}."
    return (
        "No untrained model was run, so this question stays open: add CONFIG.json-untrained to the "
        "models."
    )


def deviation_text(method: str, per_class: int, weight: float) -> str:
    """In what maps of a run differ from the published ones, as a sentence.

    Args:
        method: One of `METHODS`.
        per_class: Images of each class.
        weight: Of the map in an overlay.

    >>> deviation_text("gradcam", 10, 0.5)
    'Not as published: GradCAM (published: ScoreCAM).'
    """
    unlike = []
    if method != METHODS[0]:
        unlike.append(f"{TITLES[method]} (published: {TITLES[METHODS[0]]})")
    if per_class != PUBLISHED_IMAGES:
        unlike.append(f"{per_class} images of each class ({PUBLISHED_IMAGES})")
    if weight != PUBLISHED_WEIGHT:
        unlike.append(f"weight of the overlay {weight:g} ({PUBLISHED_WEIGHT})")
    if not unlike:
        return "Method, images of each class and weight of the overlay are the published ones."
    return f"Not as published: {'; '.join(unlike)}."


def require_methods(methods: Sequence[str]) -> None:
    """Refuse methods that do not exist, before anything is computed.

    Raises:
        ParameterError: Naming all of them.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ParameterError(
            "No such method to make maps",
            where="method",
            expected=", ".join(METHODS),
            found=", ".join(unknown) or "nothing",
        )


def _require(
    images: Sequence,
    class_vectors: np.ndarray,
    targets: Sequence[int],
    method: str,
    batch_size: int | None,
) -> None:
    require_methods([method])
    if batch_size is not None and batch_size < 1:
        raise ParameterError(
            "Batches are empty", where="batch_size", expected="1 or more", found=batch_size
        )
    unknown = [target for target in targets if not 0 <= target < len(class_vectors)]
    if len(targets) != len(images) or not len(images) or unknown:
        raise ShapeError(
            "Each image is mapped for one class",
            expected=f"{len(images)} numbers from 0 to {len(class_vectors) - 1}, at least one",
            found=f"{len(targets)} numbers; unknown: {unknown[:10] or 'none'}",
        )
    if len(class_vectors) < 2:
        raise ShapeError(
            "A single class has a probability of 1, wherever one looks",
            expected="at least two classes",
            found=len(class_vectors),
        )


def _classifier(
    model: Model, class_vectors: np.ndarray, encode: nn.Module | None = None
) -> Classifier:
    width = getattr(model.network.visual, "output_dim", None)
    if width not in (None, class_vectors.shape[-1]):
        raise ShapeError(
            "Image embeddings and class vectors differ in width",
            expected=width,
            found=class_vectors.shape[-1],
        )
    return Classifier(model, class_vectors, encode).eval()


def _maker(
    model: Model, tower: Tower, class_vectors: np.ndarray, method: str, batch_size: int | None
) -> object:
    """The library's object that makes maps. Importing the library takes seconds."""
    from pytorch_grad_cam import GradCAM, LayerCAM

    from fetalclip_nb.score_cam import BatchedScoreCAM

    layer = input_norm(tower)
    reshape = lambda tokens: tower.maps(len(tower.blocks), tokens)  # noqa: E731
    classify = _classifier(model, class_vectors)
    if method != "scorecam":
        kind = {"gradcam": GradCAM, "layercam": LayerCAM}[method]
        return kind(classify, [layer], reshape)
    fast = _classifier(model, class_vectors, fast_tower(model))
    score = nn.Sequential(fast, nn.Softmax(dim=-1))
    size = batch_size or (32 if model.device == "cpu" else 256)
    return BatchedScoreCAM(classify, layer, reshape, score=score, batch_size=size)


def _mapped(maker: object, pixels: torch.Tensor, targets: Sequence[int]) -> np.ndarray:
    # Weights are frozen: gradients reach the layer only if the pixels ask for them.
    with torch.set_grad_enabled(maker.uses_gradients):
        pixels = pixels.requires_grad_(maker.uses_gradients)
        return maker(pixels, [LogOdds(target) for target in targets])


def input_norm(tower: Tower) -> nn.Module:
    """The norm through which tokens enter the last block: ln_1 in open_clip, norm1 in timm.

    Raises:
        ModelError: If the block has neither.
    """
    last = tower.blocks[-1]
    for name in ("ln_1", "norm1"):
        if hasattr(last, name):
            return getattr(last, name)
    raise ModelError(
        "Last block has no input norm",
        where=tower.name,
        expected="ln_1 or norm1",
        found=", ".join(name for name, _ in last.named_children()),
        fix="use a vision transformer whose blocks begin with a norm",
    )


def _meta(
    model: Model,
    dataset: Dataset,
    class_vectors: np.ndarray,
    targets: Sequence[int],
    method: str,
) -> dict:
    # Ids tell a part of a data set from the whole, whose fingerprint it shares.
    parts = ["\n".join(dataset.table["id"]).encode(), np.asarray(targets, np.int64).tobytes()]
    parts.append(np.ascontiguousarray(class_vectors, np.float32).tobytes())
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    made = {"maps": method, "made": MADE, "library": version("grad-cam")}
    return {**image_meta(model, dataset), **made, "asked": digest}
