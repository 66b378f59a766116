"""The fetal head in axial planes: scalp, skull, midline; the interior comes from brain.py."""

import numpy as np

from fetalclip_nb.phantoms import brain
from fetalclip_nb.phantoms.canvas import Material, circle, oval, wave
from fetalclip_nb.phantoms.scene import Scene

PARENCHYMA = -18.0  # dB relative to maternal soft tissue: the fetal brain is nearly echo-free
FIRST_TRIMESTER_MM = 85.0  # head circumference below which choroid plexus fills the hemispheres

INTERIORS = {
    "trans-thalamic": brain.thalamic,
    "trans-cerebellum": brain.cerebellar,
    "trans-ventricular": brain.ventricular,
    "Other": brain.off_plane,
}


def draw_head(scene: Scene, brain_plane: str) -> None:
    """Draw the head.

    The region "head" is the ellipse whose perimeter is the head circumference; the drawn skull
    departs from it by a few per cent, as real skulls depart from the ellipses of annotators.
    """
    turn = np.linspace(0, 2 * np.pi, 129)
    scene.canvas.regions["head"] = [scene.frame.at(oval((0, 0), (1, 1), 180))]
    shape = wave(scene.patient.shared(), turn, 0.009, 3, 4)[:, None]
    outer = circle(turn) * (1 + shape + wave(scene.rng, turn, 0.006, 3, 6)[:, None])
    thick, echo = scene.rng.uniform(0.02, 0.07), scene.rng.uniform(-12, -4)
    scene.fill(outer * (1 + thick), Material(echo, 1.0, 0.0, 0.0))  # scalp, seen beside fluid
    level = PARENCHYMA + scene.rng.normal(0, 2.5)
    scene.fill(outer, Material(level, 1.0, 0.0, 0.0))
    view = brain.View(scene, level, _near_side(scene), scene.rng.uniform(0.4, 0.95))
    if scene.patient.hc_mm < FIRST_TRIMESTER_MM:
        brain.first_trimester(view)
    else:
        INTERIORS[brain_plane](view)
    scene.soften(outer * 0.97, scene.rng.uniform(1.0, 2.4))
    _skull(scene, outer)


def _near_side(scene: Scene) -> float:
    """Which sign of the short axis lies towards the probe."""
    ends = scene.frame.at(np.array([(0, 1.0), (0, -1.0)]))
    distance = np.linalg.norm(ends - scene.probe.apex, axis=1)
    return 1.0 if distance[0] < distance[1] else -1.0


def _skull(scene: Scene, outer: np.ndarray) -> None:
    """The vault: bony plates with sutures between, fading where the beam grazes them."""
    rng = scene.rng
    thickness = rng.uniform(0.035, 0.075)
    brightness = np.exp(rng.normal(1.15, 0.4))
    middle = outer * (1 - thickness / 2)
    scene.bone(middle, thickness, brightness, rng.uniform(0.015, 0.06), gaps=rng.uniform(0.35, 1.1))
    for place in (0.9, -0.9, 2.4, -2.4):  # coronal and lambdoid sutures, radians from the front
        if rng.random() < 0.45:
            _suture(scene, middle, place + rng.normal(0, 0.15), thickness)


def _suture(scene: Scene, middle: np.ndarray, place: float, thickness: float) -> None:
    turn = np.linspace(place, place + scene.rng.uniform(0.02, 0.12), 4) % (2 * np.pi)
    index = np.round(turn / (2 * np.pi) * 128).astype(int) % 128
    line = np.unique(index)
    if len(line) >= 2 and line[-1] - line[0] < 20:
        scene.ribbon(middle[line], thickness * 1.1, Material(-9.0, 1.0, 0.0, 0.1))
