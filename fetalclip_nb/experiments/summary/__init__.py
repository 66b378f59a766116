"""Chapter 9: the paper's table, cell by cell, made of the other chapters' result files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures", "tables"],
    submod_attrs={
        "cells": ["all_cells", "read_chapters"],
        "comparisons": ["compare_models"],
    },
)
