"""Chapter 3: one linear layer on frozen embeddings, and its rivals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures", "tables"],
    submod_attrs={
        "external": ["external_logits", "external_tasks"],
        "probe": [
            "baseline_logits",
            "class_tasks",
            "clip_task",
            "embed",
            "probe_logits",
            "rival_logits",
            "twin_logits",
        ],
        "recipe": ["ProbeRecipe"],
        "scores": ["predictions", "probes_of", "save_scores", "score", "subgroup_scores"],
    },
)
