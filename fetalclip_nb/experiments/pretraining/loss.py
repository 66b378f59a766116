"""Contrastive loss with several or soft positives, and the two kinds of targets."""

import torch
from torch.nn import functional


def contrastive_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    targets: torch.Tensor,
    logit_scale: torch.Tensor,
) -> torch.Tensor:
    """Symmetric cross-entropy between similarities and targets.

    Args:
        image_features: Features of N images, float of shape (N, D), any norm.
        text_features: Features of M captions, float of shape (M, D), any norm.
        targets: How well caption m describes image n, non-negative, shape (N, M). Each row
            and each column is divided by its sum; one that sums to less than 1 counts
            by that sum, so that a caption which describes no image weighs nothing.
        logit_scale: Factor on the cosine, a scalar.

    Returns:
        Mean of the image-to-text and the text-to-image loss, a scalar.

    Source: CLIP (arXiv 2103.00020), figure 3, with one-hot targets replaced as in
    supervised contrastive learning (arXiv 2004.11362).
    """
    images = functional.normalize(image_features.float(), dim=-1)
    texts = functional.normalize(text_features.float(), dim=-1)
    logits = logit_scale * images @ texts.T
    return (_cross_entropy(logits, targets) + _cross_entropy(logits.T, targets.T)) / 2


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    mass = targets.sum(dim=1)
    losses = -(targets * logits.log_softmax(dim=1)).sum(dim=1) / mass.clamp(min=1e-6)
    weights = mass.clamp(max=1)
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def plane_targets(
    image_plane: torch.Tensor,
    image_part: torch.Tensor,
    caption_plane: torch.Tensor,
    caption_part: torch.Tensor,
) -> torch.Tensor:
    """Mark every caption that describes an image: of its plane, unless it names another part.

    Args:
        image_plane: Plane index of N images, shape (N,).
        image_part: Index of the part (brain sub-plane, look of the chambers), -1 where there is
            none, shape (N,).
        caption_plane: Plane index of M captions, shape (M,).
        caption_part: The same of M captions, -1 where none is named, shape (M,).

    Returns:
        1 for a description and 0 otherwise, float32 of shape (N, M).
    """
    same_plane = image_plane[:, None] == caption_plane[None, :]
    unnamed = (caption_part == -1)[None, :]
    same_part = image_part[:, None] == caption_part[None, :]
    return (same_plane & (unnamed | same_part)).float()


def age_targets(
    image_log_pixels: torch.Tensor, caption_log_pixels: torch.Tensor, sigma: float
) -> torch.Tensor:
    """Weigh captions by how close the head size that they imply is to the one in the image.

    Args:
        image_log_pixels: Log of the head circumference in pixels, shape (N,).
        caption_log_pixels: Log of the circumference in pixels that age and spacing of a
            caption imply on the median growth curve, shape (M,).
        sigma: Tolerance in log circumference; 0.05 is five percent.

    Returns:
        exp(-d^2 / (2 sigma^2)) of the difference d, float32 of shape (N, M).
    """
    difference = image_log_pixels[:, None] - caption_log_pixels[None, :]
    return torch.exp(-0.5 * (difference / sigma) ** 2).float()
