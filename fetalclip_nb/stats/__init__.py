"""Scores and intervals over patients: arrays in, nothing of data sets or models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "patients": ["patient_means"],
        "scores": ["Score"],
    },
)
