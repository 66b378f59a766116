"""Chapter 6: class activation maps, and whether they mean anything."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures", "tables"],
    submod_attrs={
        "gallery": ["another_class", "make_maps", "shown"],
        "images": ["choose"],
        "maps": ["parse_methods"],
        "overlays": ["save_all"],
        "regions": ["judge_regions"],
        "trial": ["all_kinds", "likeness", "put_to_test", "results"],
    },
)
