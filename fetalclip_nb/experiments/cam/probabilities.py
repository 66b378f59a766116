"""Pixels to the probabilities of classes, for thousands of forward passes and for gradients."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fetalclip_nb.models.model import Model
from fetalclip_nb.models.similarity import SCALE
from fetalclip_nb.models.tower import fast_tower


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
    """
    classify = Classifier(model, class_vectors, fast_tower(model)).eval()

    @torch.inference_mode()
    def score(pixels: torch.Tensor) -> np.ndarray:
        return classify(pixels.to(model.device)).softmax(-1).cpu().numpy()

    return score
