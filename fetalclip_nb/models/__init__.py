"""An encoder, and what it makes of images and sentences."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "embed": ["image_embeddings", "text_encoder"],
        "model": ["Model", "load_model"],
        "shipped": ["shipped_scores"],
        "similarity": ["class_embeddings", "normalise", "zero_shot_logits"],
    },
)
