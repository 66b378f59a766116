"""Synthetic fetal B-mode pictures with known truth, in the layouts of the real data sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "chd": ["write_chd"],
        "clips": ["draw_clip"],
        "cohorts": ["VERSION", "write_fetal_planes", "write_hc18"],
        "framing": ["BRAIN_PLANES", "FIELD_RATIOS", "PLANES"],
        "heart": ["DEFECTS"],
        "organs": ["ORGANS", "organ_masks", "write_organs"],
        "patient": ["Patient", "draw_patient"],
        "picture": ["Phantom", "draw"],
    },
)
