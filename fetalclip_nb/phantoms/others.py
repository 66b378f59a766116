"""Views outside the five standard planes: spine, profile, lips and nose, kidneys, and the rest."""

import numpy as np

from fetalclip_nb.phantoms.canvas import BLOOD, FLUID, Material, band, blob, curve, oval
from fetalclip_nb.phantoms.scene import Scene


def draw_spine(scene: Scene) -> None:
    """Sagittal spine: two parallel rows of bright beads in the back, under a line of skin."""
    rng = scene.rng
    bow = rng.uniform(-0.25, 0.25)
    axis = curve([(-1.15, 0), (0, bow), (1.15, rng.normal(0, 0.08))], 60)
    flesh = rng.uniform(0.5, 0.75) * np.sin(np.linspace(0.35, np.pi - 0.35, 60)) ** 0.4
    back = band(axis, flesh)
    scene.fill(back, Material(rng.uniform(-8, -2), 1.0, 0.0, 0.0))
    scene.soften(back, 2.0)
    scene.bone(back[60:], 0.025, rng.uniform(0.3, 0.9), 0.0, gaps=0.5)
    gap = rng.uniform(0.07, 0.11)
    scene.ribbon(axis, 2.6 * gap, Material(-16.0))
    count = int(rng.integers(11, 24))
    for row, strength in ((-gap, 1.0), (gap, 1.5)):
        for u in np.linspace(-1.05, 1.05, count):
            v = np.interp(u, axis[:, 0], axis[:, 1]) + row
            bead = blob(rng, (u, v), (0.6 / count, 0.036), 0.12)
            power = strength * rng.uniform(0.8, 2.4)
            scene.fill(bead, Material(4.0, 1.1, rng.uniform(0.03, 0.1), power), "spine")


def draw_profile(scene: Scene) -> None:
    """Mid-sagittal face: forehead, nose, lips and chin against fluid, bones of face and vault."""
    rng = scene.rng
    scene.fill(blob(rng, (0.1, -0.75), (1.2, 0.6), 0.08), FLUID)
    face = curve([(-0.95, 0.2), (-1.0, -0.55), (-0.55, -0.78), (-0.3, -0.5)], 16)
    nose = curve([(-0.22, -0.42), (-0.05, -0.62), (0.12, -0.82), (0.16, -0.5)], 10)
    lips = np.array([(0.22, -0.5), (0.3, -0.6), (0.36, -0.5), (0.43, -0.58), (0.5, -0.46)])
    chin = curve([(0.55, -0.44), (0.75, -0.62), (0.9, -0.3), (0.8, 0.15)], 12)
    front = np.concatenate([face, nose, lips, chin]) + rng.normal(0, 0.012, (43, 2))
    back = curve([(1.3, 0.6), (0.2, 1.3), (-0.9, 1.1)], 20)
    outline = np.concatenate([front, back])
    scene.fill(outline, Material(rng.uniform(-7, -2), 1.06, 0.001, 0.0), "face")
    scene.soften(outline, 2.0)
    inside = blob(rng, (-0.4, 0.35), (0.5, 0.6), 0.05)
    scene.fill(inside, Material(-14.0, 1.0, 0.0, 0.0))
    scene.bone(np.add(face, (0.04, 0.06)), 0.055, rng.uniform(1.5, 3.5), rng.uniform(0.02, 0.08))
    for ends in (
        ((-0.24, -0.4), (0.02, -0.52)),
        ((0.2, -0.36), (0.3, 0.1)),
        ((0.5, -0.34), (0.72, 0.0)),
    ):
        line = curve(list(ends), 10) + rng.normal(0, 0.015, 2)
        scene.bone(line, 0.06, rng.uniform(1.5, 3.5), rng.uniform(0.03, 0.1))


def draw_lips_nose(scene: Scene) -> None:
    """Coronal lips and nose: two dark nostrils above an upper and a lower lip."""
    rng = scene.rng
    flesh = Material(rng.uniform(-7, -3), 1.05, 0.0, 0.0)
    face = blob(rng, (0.05, 0), (0.95, 0.95), 0.06)
    scene.fill(face, flesh)
    scene.soften(face, 2.2)
    for side in (-1, 1):  # folds between nose and cheeks are filled with fluid
        fold = curve([(-0.85, 0.25 * side), (-0.35, 0.62 * side), (0.1, 0.55 * side)], 16)
        scene.ribbon(fold, rng.uniform(0.08, 0.2), FLUID)
    soft = Material(flesh.echo + rng.uniform(3, 6), 1.06, 0.0, 0.0)
    scene.fill(blob(rng, (-0.5, 0), (0.34, 0.36), 0.07), soft, "nose")
    for side in (-1, 1):
        nostril = blob(rng, (-0.38, 0.17 * side), (0.1, 0.09), 0.12, 0.4 * side)
        scene.fill(nostril, Material(-24.0, None, None, 0.0))
    _lips(scene, soft)


def _lips(scene: Scene, soft: Material) -> None:
    """Two tapered arcs with a dark mouth between them."""
    rng = scene.rng
    mouth = curve([(0.2, -0.55), (0.08, 0), (0.2, 0.55)], 16)
    scene.ribbon(mouth, 0.5 * np.sin(np.linspace(0.15, np.pi - 0.15, 16)), FLUID)
    for u, wide in ((0.0, 0.52), (0.32, 0.42)):
        lip = curve([(u + 0.1, -wide), (u - 0.08, 0), (u + 0.1, wide)], 16)
        width = rng.uniform(0.2, 0.28) * np.sin(np.linspace(0.25, np.pi - 0.25, 16))
        scene.ribbon(lip, width, soft, "lips")
        scene.bone(np.subtract(lip, (0.08, 0)), 0.03, rng.uniform(0.3, 0.9), 0.0)
    scene.fill(blob(rng, (0.7, 0), (0.2, 0.28), 0.08), soft)


def draw_kidney(scene: Scene) -> None:
    """Both kidneys beside the spine: dark bean-shaped cortex around a pelvis with some fluid."""
    rng = scene.rng
    outline = blob(rng, (0, 0), (1.05, 1.0), 0.03)
    scene.fill(outline, Material(rng.uniform(-5, 0), 1.02, 0.001, 0.0))
    scene.soften(outline, 1.5)
    for side in (-1, 1):
        centre = (-0.3 + rng.normal(0, 0.04), 0.43 * side)
        size = rng.uniform(0.9, 1.1)
        rim = blob(rng, centre, (0.36 * size, 0.3 * size), 0.05, 0.25 * side)
        scene.fill(rim, Material(2.0, mirror=0.15))
        cortex = blob(rng, centre, (0.31 * size, 0.255 * size), 0.05, 0.25 * side)
        scene.fill(cortex, Material(-10.0, mirror=0.0), "kidney")
        scene.fill(blob(rng, centre, (0.17, 0.1), 0.12, 0.25 * side), Material(1.0))
        pelvis = rng.uniform(0.02, 0.08)
        scene.fill(blob(rng, centre, (0.09, pelvis), 0.1), FLUID)
    for place in ((-0.62, 0.0), (-0.78, 0.1), (-0.78, -0.1)):
        bone = Material(6.0, 1.1, rng.uniform(0.04, 0.12), rng.uniform(1, 2.5))
        scene.fill(blob(rng, place, (0.06, 0.055), 0.1), bone)


def draw_placenta(scene: Scene) -> None:
    """Placenta along the wall of the womb, with the cord in the fluid before it."""
    rng = scene.rng
    scene.fill(blob(rng, (0, 0), (1.3, 1.2), 0.15), FLUID)
    slab = curve([(-1.4, 0.3), (0, rng.uniform(0.3, 1.1)), (1.4, 0.3)], 24)
    scene.ribbon(slab, rng.uniform(0.5, 0.9), Material(rng.uniform(-4, 2), 1.03, 0.0, 0.0))
    for _ in range(int(rng.integers(2, 8))):  # loops of cord, cut across
        place = (rng.uniform(-0.8, 0.8), rng.uniform(-0.7, 0.1))
        scene.fill(oval(place, (0.12, 0.1), count=20), Material(2.0, 1.02))
        scene.fill(oval(place, (0.07, 0.06), count=20), BLOOD)


def draw_limb(scene: Scene) -> None:
    """Forearm or lower leg: two bones side by side and a row of short ones beyond them."""
    rng = scene.rng
    scene.fill(blob(rng, (0, 0), (1.2, 0.5), 0.08), Material(rng.uniform(-9, -3), 1.0))
    for v in (-0.14, 0.16):
        line = curve([(-0.9, v), (-0.3, v * 1.3), (0.3, v)], 20)
        scene.bone(line, 0.07, rng.uniform(1.5, 3.5), rng.uniform(0.06, 0.2))
    for finger in np.linspace(-0.32, 0.32, 5):
        for start in (0.5, 0.75, 0.95):
            line = curve([(start, finger), (start + 0.14, finger * 1.25)], 5)
            scene.bone(line, 0.06, rng.uniform(0.6, 1.8), 0.02)


def draw_orbits(scene: Scene) -> None:
    """Axial face: two round orbits with their lenses in front of the base of the skull."""
    rng = scene.rng
    scene.fill(blob(rng, (0, 0), (1, 0.95), 0.04), Material(rng.uniform(-9, -4), 1.05))
    scene.soften(blob(rng, (0, 0), (0.9, 0.85)), 2.5)
    for side in (-1, 1):
        centre = (0.45, 0.4 * side)
        ring = oval(centre, (0.26, 0.26), count=40)
        scene.fill(ring, Material(-24.0))
        scene.bone(ring, 0.05, rng.uniform(0.8, 2.0), 0.03)
        scene.bone(oval((0.6, 0.4 * side), (0.07, 0.07), count=16), 0.02, 0.6, 0.0)
        scene.bone(curve([(0.1, 0.1 * side), (-0.5, 0.7 * side)], 16), 0.06, 1.5, 0.05)


def draw_empty(scene: Scene) -> None:
    """No structure at all: womb, fluid and chance, as between two views."""
    rng = scene.rng
    for _ in range(int(rng.integers(1, 4))):
        centre, radii = rng.normal(0, 0.5, 2), rng.uniform(0.2, 0.8, 2)
        echo = rng.choice([-30.0, -8.0, 2.0])
        scene.fill(blob(rng, tuple(centre), tuple(radii), 0.15), Material(echo, 1.0))
