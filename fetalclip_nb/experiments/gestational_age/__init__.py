"""Chapter 2: age from sentences, and the controls that it must beat."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures", "tables"],
    submod_attrs={
        "ages": ["Heads", "released_scores"],
        "answers": ["ask"],
        "sentences": ["deviation", "load_frames", "whose"],
    },
)
