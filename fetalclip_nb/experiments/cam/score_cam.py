"""The library's ScoreCAM with masks that are made and scored a batch at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from pytorch_grad_cam import ScoreCAM
from torch import nn
from torch.nn import functional


class BatchedScoreCAM(ScoreCAM):
    """ScoreCAM for encoders with many channels.

    The library makes the masked pictures of all channels at once (for a ViT-L/14 they take
    0.6 GB an image), keeps what its hooks catch in each of their forward passes, and prints a
    progress bar an image. The weights are the same.

    Args:
        model: Pixels to logits.
        layer: Whose output is looked at.
        reshape: Tokens to maps.
        score: Pixels to probabilities (n, C); it runs no hooks of ``model``. A target's
            ``category`` says which of them counts.
        batch_size: Masked pictures a forward pass.

    Source: Wang et al., Score-CAM (arXiv 1910.01279), in the library's form: the weight of a
        channel is the softmax, over the channels, of the probability that its mask leaves.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module,
        reshape: Callable[[torch.Tensor], torch.Tensor],
        *,
        score: Callable[[torch.Tensor], torch.Tensor],
        batch_size: int,
    ) -> None:
        super().__init__(model, [layer], reshape)
        self.score = score
        self.batch_size = batch_size

    @torch.no_grad()
    def get_cam_weights(
        self,
        input_tensor: torch.Tensor,
        target_layer: nn.Module,
        targets: Sequence,
        activations: np.ndarray,
        grads: None,
    ) -> np.ndarray:
        """Weight of each channel of each image, float32 of shape (N, W)."""
        maps = torch.from_numpy(activations).to(input_tensor.device)
        scores = [self._scores(*one) for one in zip(input_tensor, maps, targets, strict=True)]
        return torch.softmax(torch.stack(scores), dim=-1).cpu().numpy()

    def _scores(self, image: torch.Tensor, maps: torch.Tensor, target: object) -> torch.Tensor:
        """Probability of the target when the image is seen through each channel, shape (W,)."""
        found = [
            self.score(image * masks(part, image.shape[-2:]))[:, target.category]
            for part in maps.split(self.batch_size)
        ]
        return torch.cat(found).float()


def masks(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Channels as masks from 0 to 1 over the picture.

    Args:
        maps: Shape (n, h, w).
        size: Height and width of the picture in pixels.

    Returns:
        Shape (n, 1, height, width): bilinear, each stretched from its minimum to its maximum.
    """
    maps = functional.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=True)
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + 1e-8)
