"""Synthetic fetal B-mode pictures with known truth, in the layouts of the real data sets."""

from fetalclip_nb.phantoms.chd import write_chd
from fetalclip_nb.phantoms.clips import draw_clip
from fetalclip_nb.phantoms.cohorts import VERSION, write_fetal_planes, write_hc18
from fetalclip_nb.phantoms.framing import BRAIN_PLANES, FIELD_RATIOS, PLANES
from fetalclip_nb.phantoms.heart import DEFECTS
from fetalclip_nb.phantoms.organs import ORGANS, organ_masks, write_organs
from fetalclip_nb.phantoms.patient import Patient, draw_patient
from fetalclip_nb.phantoms.picture import Phantom, draw

__all__ = [
    "BRAIN_PLANES",
    "DEFECTS",
    "FIELD_RATIOS",
    "ORGANS",
    "PLANES",
    "VERSION",
    "Patient",
    "Phantom",
    "draw",
    "draw_clip",
    "draw_patient",
    "organ_masks",
    "write_chd",
    "write_fetal_planes",
    "write_hc18",
    "write_organs",
]
