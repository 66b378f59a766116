"""Femur, and the mother's cervix."""

import numpy as np

from fetalclip_nb.phantoms.canvas import FLUID, Material, blob, circle, curve, oval
from fetalclip_nb.phantoms.scene import Scene


def draw_femur(scene: Scene) -> None:
    """Femur along its length: one bright, slightly bowed rod in the thigh, with its shadow."""
    rng = scene.rng
    _thigh(scene)
    bow = rng.uniform(0.0, 0.12) * rng.choice([-1, 1])
    line = curve([(-1, 0), (0, 2 * bow), (1, 0)], 40)
    ends = 1 + rng.uniform(0.1, 0.6) * np.abs(np.linspace(-1, 1, 40)) ** 6
    thick = rng.uniform(0.05, 0.1)
    scene.ribbon(line, thick * ends, Material(2.0, 1.05, 0.04, 0.4), "femur")
    scene.bone(line, thick, rng.uniform(2.5, 5.5), rng.uniform(0.1, 0.4), gaps=0.3, floor=0.35)
    if rng.random() < 0.5:  # cartilage of the knee and the hip: dark knobs
        for end in (-1, 1):
            scene.fill(blob(rng, (1.15 * end, 0), (0.14, 0.13), 0.06), Material(-12.0))


def _thigh(scene: Scene) -> None:
    rng = scene.rng
    wide = rng.uniform(0.35, 0.6)
    top = curve([(-1.35, -0.8 * wide), (0, -1.3 * wide), (1.35, -0.9 * wide)], 20)
    bottom = curve([(1.35, 0.9 * wide), (0, 1.3 * wide), (-1.35, 0.8 * wide)], 20)
    outline = np.concatenate([top, bottom])
    scene.fill(outline, Material(rng.uniform(-10, -3), 1.0, 0.0, 0.0))
    scene.soften(outline, 1.5)
    for _ in range(int(rng.integers(2, 7))):  # muscle fibres
        v = rng.uniform(-0.8, 0.8) * wide
        line = curve([(rng.uniform(-1.2, -0.4), v), (0, v * 1.2), (rng.uniform(0.4, 1.2), v)], 12)
        scene.ribbon(line, 0.015, Material(rng.uniform(-4, 2), mirror=rng.uniform(0, 0.3)))
    skin = np.concatenate([top, top[::-1]]) if rng.random() < 0.2 else top
    scene.bone(skin, 0.025, rng.uniform(0.2, 0.8), 0.0, gaps=0.7)
    scene.bone(bottom, 0.025, rng.uniform(0.1, 0.6), 0.0, gaps=0.7)


def draw_cervix(scene: Scene) -> None:
    """Cervix along its canal, with bladder and the head that rests above the inner os."""
    rng = scene.rng
    body = blob(rng, (0, 0), (1.05, 0.55), 0.06)
    scene.fill(body, Material(rng.uniform(-6, -1), 1.02, 0.001, 0.0))
    scene.soften(body, 2.0)
    _bladder(scene)
    _presenting_head(scene)
    _canal(scene)


def _canal(scene: Scene) -> None:
    """The canal: a line through the cervix within a darker band of glands, funnelled or not."""
    rng = scene.rng
    bends = [(-0.2, rng.normal(0, 0.12)), (0.3, rng.normal(0, 0.1))]
    line = curve([(-0.75, 0.02), *bends, (0.8, 0.0)], 30)
    scene.ribbon(line, rng.uniform(0.16, 0.3), Material(rng.uniform(-14, -8)))
    bright = rng.random() < 0.65
    core = Material(2.0, mirror=rng.uniform(0.4, 1.2)) if bright else Material(-20.0)
    scene.ribbon(line, rng.uniform(0.02, 0.045), core, "canal")
    if rng.random() < 0.3:  # funnelling of the inner os
        reach = rng.uniform(0.15, 0.4)
        funnel = np.array([(-0.95, -0.18), (-0.75 + reach, 0.0), (-0.95, 0.2)])
        scene.fill(funnel, FLUID)


def _bladder(scene: Scene) -> None:
    rng = scene.rng
    if rng.random() < 0.55:
        centre = (rng.uniform(-0.8, 0.0), rng.uniform(-0.95, -0.7))
        scene.fill(blob(rng, centre, (rng.uniform(0.2, 0.5), rng.uniform(0.1, 0.24)), 0.1), FLUID)


def _presenting_head(scene: Scene) -> None:
    """Part of the fetal head beside the inner os: an arc of skull over a dark inside."""
    rng = scene.rng
    radius = rng.uniform(0.55, 0.95)
    centre = (-0.85 - radius * rng.uniform(0.9, 1.1), rng.normal(0.0, 0.2))
    scene.fill(oval(centre, (radius * 1.12, radius * 1.2), count=60), FLUID._replace(echo=-28.0))
    scene.fill(oval(centre, (radius, radius), count=60), Material(-17.0, 1.0, 0.0, 0.0))
    sweep = np.linspace(-1.9, 1.9, 50)
    arc = radius * circle(sweep) + centre
    scene.bone(arc, 0.07, rng.uniform(1.2, 3.5), rng.uniform(0.03, 0.12))
