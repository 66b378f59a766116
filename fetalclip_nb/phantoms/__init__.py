"""Synthetic fetal B-mode pictures with known truth, in the layouts of the real data sets."""

from fetalclip_nb.phantoms.picture import BRAIN_PLANES, FIELD_RATIOS, PLANES, Phantom, draw

VERSION = 1
"""Raised whenever pictures change, so that data sets made by older code are made again."""

__all__ = ["BRAIN_PLANES", "FIELD_RATIOS", "PLANES", "VERSION", "Phantom", "draw"]
