"""Class activation maps: where in an image the probability of a class comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import ParameterError, refuse
from fetalclip_nb.experiments.cam.probabilities import Classifier, LogOdds
from fetalclip_nb.files import key
from fetalclip_nb.models.embed import PreparedImages, image_meta
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.store import stored_arrays
from fetalclip_nb.models.tower import fast_tower, input_norm, vision_tower

MADE = "cam-1"
"""Name of how maps are made; it changes when maps would."""

_IMAGES = 16
"""Images that are looked at together, and kept by an interrupted run."""

TITLES = {"scorecam": "ScoreCAM", "gradcam": "GradCAM", "layercam": "LayerCAM"}
"""Methods as they are written in texts: the published one, then two of a single backward pass."""


@dataclass(frozen=True)
class Cams:
    """Maps of N images, each for one class.

    Attributes:
        maps: float32 of shape (N, S, S) at the side of the model's input, from 0 to 1.
        probabilities: Of all classes for the whole images, float32 of shape (N, C).
    """

    maps: np.ndarray
    probabilities: np.ndarray


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
    input norm), without class and register tokens, on the grid of the patches. Of convolutions,
    which the paper does not map, they are made of what the last stage gives.

    Args:
        model: Its image tower is a plain vision transformer, or of convolutions alone.
        pixels: Preprocessed images, float32 of shape (N, 3, S, S).
        class_vectors: Unit-norm rows, float32 of shape (C, D).
        targets: Number of the class that each image is mapped for, N of them.
        method: One of `TITLES`.
        batch_size: Masked pictures a forward pass; None for 32 on a CPU and 256 elsewhere.

    Raises:
        ParameterError: Unknown method, or a batch of nothing.
        ModelError: If the tower has no tokens of patches or no input norm.

    Source: FetalCLIP (arXiv 2502.14807), class activation maps; the library grad-cam.
    """
    maker = _maker(model, class_vectors, method, batch_size)
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

    Every sixteen images are kept when a run is interrupted. Arguments and errors are those of
    `cam_maps`, with the images of a data set for pixels, and the folder of the cache.
    """
    pictures = PreparedImages(dataset, model.preprocess)

    def compute(rows: range) -> dict[str, np.ndarray]:
        pixels = torch.stack([pictures[row] for row in rows])
        chosen = [targets[row] for row in rows]
        options = {"method": method, "batch_size": batch_size}
        return vars(cam_maps(model, pixels, class_vectors, chosen, **options))

    asked = key([int(target) for target in targets], np.asarray(class_vectors, np.float32))
    made = {"maps": method, "made": MADE, "library": version("grad-cam"), "asked": asked}
    meta = {**image_meta(model, pictures), **made}
    store = stored_arrays(cache_dir, "cams", meta, len(dataset), compute, chunk=_IMAGES)
    return Cams(**{name: np.array(array) for name, array in store.arrays.items()})


def _maker(model: Model, class_vectors: np.ndarray, method: str, batch_size: int | None) -> object:
    """The library's object that makes maps. Importing the library takes seconds."""
    from pytorch_grad_cam import GradCAM, LayerCAM

    from fetalclip_nb.experiments.cam.score_cam import BatchedScoreCAM

    parse_methods(method)
    size = (32 if model.device == "cpu" else 256) if batch_size is None else batch_size
    if size < 1:
        raise ParameterError("Batch size is below 1", where="batch_size", found=size)
    tower = vision_tower(model)
    layer = input_norm(tower)
    classify = Classifier(model, class_vectors).eval()
    if method != "scorecam":
        kind = {"gradcam": GradCAM, "layercam": LayerCAM}[method]
        return kind(classify, [layer], tower.maps)
    fast = Classifier(model, class_vectors, fast_tower(model)).eval()
    score = nn.Sequential(fast, nn.Softmax(dim=-1))
    return BatchedScoreCAM(classify, layer, tower.maps, score=score, batch_size=size)


def _mapped(maker: object, pixels: torch.Tensor, targets: Sequence[int]) -> np.ndarray:
    # Weights are frozen: gradients reach the layer only if the pixels ask for them.
    with torch.set_grad_enabled(maker.uses_gradients):
        pixels = pixels.requires_grad_(maker.uses_gradients)
        return maker(pixels, [LogOdds(target) for target in targets])


def parse_methods(*texts: str) -> list[str]:
    """Methods of comma-separated lists, each once, as a notebook takes them.

    >>> parse_methods("scorecam", "gradcam, scorecam,")
    ['scorecam', 'gradcam']
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    methods = [word for word in dict.fromkeys(words) if word]
    unknown = [name for name in methods or ["nothing"] if name not in TITLES]
    refuse(unknown, "No such method to make maps", error=ParameterError, expected=", ".join(TITLES))
    return methods
