"""A folder becomes a checked table of images."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "african_planes": ["african_task"],
        "dataset": ["Dataset", "kind_of_images", "unprompted_sentence"],
        "fetal_planes": [
            "BRAIN_SUBPLANES",
            "FIVE_PLANES",
            "SIX_PLANES",
            "brain_subplanes",
            "five_planes",
            "six_planes",
        ],
        "hc18": ["counted"],
        "images": ["read_square"],
        "released": ["ENTRY", "released_available"],
        "kinds": ["load_dataset"],
        "own_images": ["drawn_images", "open_folder", "open_images"],
        "prompts": ["load_age_templates", "load_prompts"],
    },
)
