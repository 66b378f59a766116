"""How each plane is framed: who draws it, its shape, how it lies, and how long it really is."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fetalclip_nb.phantoms import limbs, others, trunk
from fetalclip_nb.phantoms.patient import Patient
from fetalclip_nb.phantoms.scene import Scene

BRAIN_PLANES = ("trans-thalamic", "trans-cerebellum", "trans-ventricular")

FIELD_RATIOS = (1.15, 2.6)
"""Width of the picture over length of the structure. Drawn independently of age, so that size
in pixels says nothing about size in millimetres: that takes the pixel spacing."""


class Layout(NamedTuple):
    """Who draws a plane, height over length, how it turns, how long it is in mm."""

    draw: Callable[[Scene], None]
    aspect: float
    turn: Callable[[np.random.Generator], float]
    length_mm: Callable[[Patient], float]


def level(rng: np.random.Generator) -> float:
    """Nearly horizontal for most heads, any way round for the rest."""
    angle = rng.normal(0, 0.2) if rng.random() < 0.88 else rng.uniform(-np.pi / 2, np.pi / 2)
    return float(angle + np.pi * (rng.random() < 0.5))


def _lying(rng: np.random.Generator) -> float:
    """Across the beam: only so do a long bone and the spine echo along their whole length."""
    return float(rng.normal(0, 0.3) + np.pi * (rng.random() < 0.5))


def _any(rng: np.random.Generator) -> float:
    return float(rng.uniform(-np.pi, np.pi))


def _upright(rng: np.random.Generator) -> float:
    return float(rng.normal(0, 0.15))


def _face(rng: np.random.Generator) -> float:
    return float(np.pi / 2 + rng.normal(0, 0.4))


LAYOUTS = {
    "abdomen": Layout(trunk.draw_abdomen, 0.93, _any, lambda p: max(p.abdomen_mm, 15.0)),
    "thorax": Layout(trunk.draw_thorax, 0.95, _any, lambda p: max(0.86 * p.abdomen_mm, 13.0)),
    "femur": Layout(limbs.draw_femur, 1.0, _lying, lambda p: p.femur_mm),
    "cervix": Layout(limbs.draw_cervix, 1.0, _upright, lambda p: 42.0),
    "spine": Layout(others.draw_spine, 1.0, _lying, lambda p: 1.7 * p.head_length_mm),
    "profile": Layout(others.draw_profile, 0.9, _upright, lambda p: p.head_length_mm),
    "lips_nose": Layout(others.draw_lips_nose, 0.9, _face, lambda p: 0.45 * p.head_length_mm),
    "kidney": Layout(others.draw_kidney, 0.9, _any, lambda p: max(p.abdomen_mm, 15.0)),
    "placenta": Layout(others.draw_placenta, 0.7, _upright, lambda p: 90.0),
    "limb": Layout(others.draw_limb, 1.0, _lying, lambda p: 1.5 * p.femur_mm),
    "orbits": Layout(others.draw_orbits, 0.9, _any, lambda p: 0.8 * p.head_length_mm),
    "empty": Layout(others.draw_empty, 0.8, _upright, lambda p: 80.0),
}

FOOTPRINT = {"femur": 0.35, "cervix": 0.5, "spine": 0.35, "limb": 0.4}
"""Height over length where a structure is much flatter than its frame."""

OTHER_VIEWS = {
    "spine": 0.18, "profile": 0.16, "lips_nose": 0.16, "kidney": 0.16,
    "placenta": 0.1, "limb": 0.1, "orbits": 0.08, "empty": 0.06,
}  # fmt: skip

PLANES = ("abdomen", "brain", "femur", "thorax", "cervix", "spine", "profile", "lips_nose",
          "kidney", "other")  # fmt: skip
