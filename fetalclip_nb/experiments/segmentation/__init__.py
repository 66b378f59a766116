"""Chapter 4: a decoder on frozen features outlines structures; the head is measured."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures", "tables"],
    submod_attrs={
        "fit": ["fit_decoders"],
        "plans": ["plan_decoders", "split_patients"],
        "recipe": ["DecoderRecipe"],
        "scores": [
            "examples",
            "limits",
            "mean_masks",
            "measured_heads",
            "save_scores",
            "score_outcomes",
            "without_leaks",
        ],
        "supports": ["plan_supports", "score_supports", "support_answers", "support_mask"],
    },
)
