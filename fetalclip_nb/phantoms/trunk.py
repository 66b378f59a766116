"""Axial planes of the fetal trunk: abdomen and thorax with the four-chamber heart.

In the frame of the trunk the spine lies at (-1, 0), the front of the body at (1, 0); ``left`` is
the side of the fetus' left in it, -1 or 1, which depends on how the fetus lies.
"""

import numpy as np

from fetalclip_nb.phantoms.canvas import (
    BLOOD,
    BONE,
    FLUID,
    Material,
    Point,
    blob,
    circle,
    curve,
    oval,
)
from fetalclip_nb.phantoms.heart import draw_heart
from fetalclip_nb.phantoms.scene import Scene


def draw_abdomen(scene: Scene) -> None:
    """Transverse abdomen: stomach, umbilical vein, spine, great vessels in even liver."""
    rng = scene.rng
    left = -1 if rng.random() < 0.5 else 1
    _body(scene, "abdominal_circumference", rng.normal(-5, 2.0), 1.6)
    _short_ribs(scene)
    _umbilical_vein(scene, left)
    place = (rng.normal(-0.05, 0.07), left * rng.uniform(0.38, 0.52))
    radii = (rng.uniform(0.14, 0.27), rng.uniform(0.11, 0.18))
    scene.fill(blob(rng, place, radii, 0.09, rng.normal(0.3, 0.4)), FLUID, "stomach")
    _vessel(scene, (-0.5 + rng.normal(0, 0.02), 0.1 * left), 0.055)
    _vessel(scene, (-0.34 + rng.normal(0, 0.02), -0.17 * left), 0.055)
    if rng.random() < 0.3:  # gall bladder
        pear = blob(rng, (0.3, -0.35 * left), (0.15, 0.06), 0.08, rng.normal(0, 0.3))
        scene.fill(pear, FLUID)
    _vertebra(scene)


def draw_thorax(scene: Scene) -> None:
    """Four-chamber view: heart between even lungs, ribs, spine with the aorta before it."""
    rng = scene.rng
    left = -1 if rng.random() < 0.5 else 1
    _body(scene, "thorax", rng.normal(-4, 2.0), 1.4)
    _long_ribs(scene)
    _vertebra(scene)
    _vessel(scene, (-0.47 + rng.normal(0, 0.02), 0.12 * left), rng.uniform(0.06, 0.08), "aorta")
    draw_heart(scene, left)


def _body(scene: Scene, name: str, echo: float, grain: float) -> None:
    """Skin and body wall around even tissue, roughened by up to ``grain`` dB."""
    rng = scene.rng
    outline = blob(rng, (0, 0), (1, 1), 0.02)
    scene.fill(outline, Material(rng.uniform(-2, 4), 1.03, 0.0, 0.0), name)
    scene.fill(outline * rng.uniform(0.9, 0.96), Material(echo, 1.0, 0.002, 0.0))
    closed = np.concatenate([outline, outline[:1]])
    scene.bone(closed, 0.03, rng.uniform(0.15, 0.6), 0.001, gaps=0.6)
    scene.soften(outline, rng.uniform(0.6, grain))


def _short_ribs(scene: Scene) -> None:
    """Ends of the lowest ribs: bright dashes in the wall that shadow what lies behind."""
    rng = scene.rng
    for turn in rng.uniform(0.9, 2.6, rng.integers(0, 4)) * rng.choice([-1, 1], 1):
        line = 0.9 * circle(np.linspace(turn, turn + rng.uniform(0.12, 0.4), 8))
        scene.bone(line, 0.055, rng.uniform(1.2, 3.5), rng.uniform(0.02, 0.09))


def _umbilical_vein(scene: Scene, left: int) -> None:
    """Intrahepatic umbilical vein: a hook from the front third that bends to the right."""
    rng = scene.rng
    line = curve([(0.5, 0.03), (0.25, 0.0), (0.02, -0.04 * left), (-0.06, -0.34 * left)], 20)
    line = line + rng.normal(0, 0.03, 2)
    wall = Material(rng.uniform(0, 5), mirror=rng.uniform(0.1, 0.5))
    wide = rng.uniform(0.06, 0.1)
    scene.ribbon(line, wide + 0.05, wall)
    scene.ribbon(line, wide, BLOOD)


def _vessel(scene: Scene, centre: Point, radius: float, name: str | None = None) -> None:
    """A great vessel cut across: a dark disc with a bright rim."""
    scene.fill(oval(centre, (radius * 1.35,) * 2, count=20), Material(1.0))
    scene.fill(oval(centre, (radius,) * 2, count=20), BLOOD, name)


def _vertebra(scene: Scene) -> None:
    """Three ossification centres of a vertebra: the body in front, two arches behind."""
    rng = scene.rng
    centre = -0.73 + rng.normal(0, 0.015)
    region = oval((centre - 0.04, 0), (0.16, 0.17), count=24)
    scene.canvas.regions["spine"] = [scene.frame.at(region)]
    bone = BONE._replace(attenuation=rng.uniform(0.04, 0.15))
    for place in ((centre + 0.07, 0.0), (centre - 0.08, 0.1), (centre - 0.08, -0.1)):
        bright = bone._replace(mirror=rng.uniform(1.8, 4.5))
        scene.fill(blob(rng, place, (0.065, 0.055), 0.1), bright)


def _long_ribs(scene: Scene) -> None:
    """Ribs cut along their length: a bright arc in each side of the chest wall."""
    rng = scene.rng
    for side in (-1, 1):
        start = rng.uniform(0.7, 1.5)
        sweep = side * np.linspace(start, rng.uniform(2.2, 2.75), 22)
        line = rng.uniform(0.86, 0.92) * circle(sweep)
        scene.bone(line, 0.055, rng.uniform(1.5, 4.0), rng.uniform(0.01, 0.06), floor=0.12)
