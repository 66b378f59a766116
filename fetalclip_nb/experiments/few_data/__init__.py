"""Chapter 5: how much a few labelled patients are worth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures", "tables"],
    submod_attrs={
        "curves": [
            "patients_needed",
            "plane_answers",
            "save_scores",
            "score_curves",
            "score_zero_shot",
            "support_tasks",
            "zero_shot_logits",
        ]
    },
)
