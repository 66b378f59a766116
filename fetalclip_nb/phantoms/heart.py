"""The four-chamber heart, normal or with a congenital defect, at any phase of its beat.

In the frame of the heart the apex lies at (1, 0), the crux at (0, 0), the left side at y > 0.
"""

import numpy as np

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.phantoms.canvas import BLOOD, Frame, Material, Point, blob, curve, oval
from fetalclip_nb.phantoms.scene import Scene

SEPTAL = "septal defect"
HYPOPLASTIC = "hypoplastic left heart"
ENLARGED = "enlarged right atrium"
DEFECTS = (SEPTAL, HYPOPLASTIC, ENLARGED)
"""Defects that a four-chamber view shows; which one is in ``scene.detail["defect"]``."""

STROKE = 0.12
"""Share by which a ventricle shrinks, in length and width, when it contracts."""

_CHAMBERS = {
    "LV": ((0.36, 0.33), (0.42, 1.0)),
    "RV": ((0.30, -0.37), (0.36, 1.0)),
    "LA": ((-0.42, 0.34), (0.27, 0.27)),
    "RA": ((-0.40, -0.36), (0.29, 0.28)),
}
"""Centre and half axes; 1.0 stands for the width of the ventricles, drawn for each heart."""

# defect -> chamber -> shift of the centre, factor on the half axes
_CHANGES = {
    SEPTAL: {},
    HYPOPLASTIC: {
        "LV": ((-0.12, 0.06), (0.28, 0.30)),
        "LA": ((0.04, 0.02), (0.50, 0.50)),
        "RV": ((0.14, 0.20), (1.45, 1.50)),
        "RA": ((0.00, 0.06), (1.15, 1.20)),
    },
    ENLARGED: {
        "RA": ((0.10, 0.08), (1.75, 1.70)),
        "LA": ((-0.02, 0.08), (0.65, 0.65)),
        "RV": ((0.16, -0.02), (0.60, 0.70)),
    },
}

_GAP = ((0.02, 0.0), (0.3, 0.2))
"""Centre and half axes of the hole that a septal defect leaves at the crux."""

_WHOLE = ((0.0, 0.0), (1.0, 1.0))


def draw_heart(scene: Scene, left: int) -> None:
    """Four chambers around the crux; the apex points to the front and left by about 45 degrees.

    ``scene.detail`` may hold "defect" (one of ``DEFECTS``) and "phase" of the beat, from 0
    (ventricles full) to 1 (contracted); ``left`` is the side of the fetus' left, 1 or -1.
    """
    rng = scene.rng
    defect = scene.detail.get("defect")
    if defect not in (None, *DEFECTS):  # a misspelt one would be drawn as normal
        expected = f"{', '.join(DEFECTS)} or None"
        raise ParameterError("Unknown defect", where="defect", expected=expected, found=defect)
    axis = left * rng.normal(0.75, 0.12)
    inner = Frame((0.03, 0.1 * left), axis, rng.uniform(0.46, 0.56), left * rng.uniform(0.36, 0.43))
    scene.fill(inner.at(blob(rng, (0, 0), (1.0, 1.0), 0.03)), Material(-17.0, 1.0, 0.0, 0.0))
    muscle = Material(rng.uniform(-7, -2), 1.0, 0.0, 0.0)
    scene.fill(inner.at(blob(rng, (0, 0), (0.93, 0.93), 0.03)), muscle, "heart")
    blood = BLOOD._replace(echo=rng.uniform(-30, -20))
    wide = rng.uniform(0.27, 0.33)
    for name in _CHAMBERS:
        centre, radii = _chamber(scene, name, wide)
        place = tuple(np.asarray(centre) + rng.normal(0, 0.02, 2))
        scene.fill(inner.at(blob(rng, place, radii, 0.06)), blood, name)
    _walls(scene, inner)
    if defect == SEPTAL:
        scene.fill(inner.at(oval(*_GAP)), blood)


def _chamber(scene: Scene, name: str, wide: float) -> tuple[Point, Point]:
    """Centre and half axes of a chamber in this heart at this phase of its beat."""
    (x, y), (long, short) = _CHAMBERS[name]
    short = wide if short == 1.0 else short
    (dx, dy), (longer, wider) = _CHANGES.get(scene.detail.get("defect"), {}).get(name, _WHOLE)
    phase = float(scene.detail.get("phase", 0.0))
    beat = 1 - STROKE * phase if name.endswith("V") else 1 + STROKE * phase / 2
    return (x + dx, y + dy), (long * longer * beat, short * wider * beat)


def _walls(scene: Scene, inner: Frame) -> None:
    """Septa, valves and the moderator band: thin bright lines between the chambers."""
    rng = scene.rng
    bright = Material(rng.uniform(-1, 4), mirror=rng.uniform(0.2, 0.8))
    septum = inner.at(curve([(0.78, 0.0), (0.4, 0.03), (0.0, 0.0)], 12))
    scene.ribbon(septum, rng.uniform(0.05, 0.08), bright, "IVS")
    scene.ribbon(inner.at(np.array([(-0.75, 0.0), (-0.45, 0.0)])), 0.03, bright)
    flap = curve([(-0.45, 0.0), (-0.3, 0.13), (-0.15, 0.06)], 8)  # of the foramen ovale
    scene.ribbon(inner.at(flap), 0.018, bright)
    scene.ribbon(inner.at(np.array([(-0.12, 0.0), (0.0, 0.0)])), 0.04, bright)
    for side, swing in ((1, 0.0), (-1, 0.06)):  # the tricuspid valve sits nearer to the apex
        inside, outside = [(0, 0), (0.08, 0.12), (0.1, 0.26)], [(0, 0.62), (0.1, 0.4)]
        for half in (curve(inside, 8), curve(outside, 6)):
            leaf = half * (1, side) + (swing - 0.06 + rng.normal(0, 0.02), 0)
            scene.ribbon(inner.at(leaf), 0.02, bright)
    scene.ribbon(inner.at(np.array([(0.5, -0.02), (0.62, -0.42)])), 0.05, Material(-1.0))
