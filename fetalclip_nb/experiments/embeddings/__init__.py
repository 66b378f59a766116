"""Chapter 7: neighbours, clusters, an atlas of embeddings."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures", "tables"],
    submod_attrs={
        "atlas": ["Atlas"],
        "clusters": ["strays"],
        "collection": ["Collection", "embed"],
        "export": ["load_export"],
        "projections": ["project"],
        "scores": ["by_patient", "head_scores", "label_scores", "map_scores", "plane_answers"],
    },
)
