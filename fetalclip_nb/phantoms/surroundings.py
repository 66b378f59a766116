"""What lies around every fetal structure: maternal tissue, amniotic fluid, clutter, overlays."""

import numpy as np

from fetalclip_nb.phantoms.acquisition import Probe
from fetalclip_nb.phantoms.canvas import FLUID, Canvas, Material, Point, band, blob, curve, noise


def draw_tissue(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fill the canvas with uneven soft tissue, crossed by bright connective sheets."""
    shape = (canvas.height, canvas.width)
    level = rng.normal(-6, 2.5)
    canvas.echo[:] = level + noise(rng, shape, 60) * 4.5 + noise(rng, shape, 14) * 2.0
    for _ in range(int(rng.integers(3, 12))):
        _sheet(canvas, rng)


def _sheet(canvas: Canvas, rng: np.random.Generator) -> None:
    """A bright streak of connective tissue, most often across the beam."""
    x, y = rng.uniform(0, canvas.width), rng.uniform(0, canvas.height)
    half = rng.uniform(6, 40)
    slope = rng.normal(0, 0.35) * half
    sag = rng.normal(0, 0.2) * half
    line = curve([(x - half, y - slope), (x, y + sag), (x + half, y + slope)], 10)
    outline = band(line, rng.uniform(0.6, 2.0))
    canvas.fill(outline, Material(rng.uniform(1, 5), mirror=rng.uniform(0, 0.7)))


def draw_pool(canvas: Canvas, rng: np.random.Generator, centre: Point, radii: Point) -> None:
    """Amniotic fluid around a fetal part: one or two lobes, off centre, sometimes absent."""
    if rng.random() < 0.2:
        return
    for _ in range(int(rng.integers(1, 3))):
        shift = rng.normal(0, 0.28, 2) * radii
        size = np.asarray(radii) * rng.uniform(0.95, 1.4, 2)
        fluid = FLUID._replace(echo=rng.uniform(-38, -22))
        canvas.fill(blob(rng, tuple(shift + centre), tuple(size), 0.1, last=3), fluid)
    if rng.random() < 0.5:
        _fetal_part(canvas, rng, centre, radii)


def _fetal_part(canvas: Canvas, rng: np.random.Generator, centre: Point, radii: Point) -> None:
    """A limb or loop of cord that happens to lie beside the structure: bright, shapeless."""
    side = rng.uniform(0, 2 * np.pi)
    offset = np.array([np.cos(side), np.sin(side)]) * radii * rng.uniform(1.1, 1.4)
    place = np.asarray(centre) + offset
    size = rng.uniform(7, 26, 2)
    canvas.fill(blob(rng, tuple(place), tuple(size), 0.15), Material(rng.uniform(-4, 4), 1.0, 0.0))
    for _ in range(int(rng.integers(0, 3))):
        spot = place + rng.normal(0, 0.4, 2) * size
        canvas.fill(blob(rng, tuple(spot), tuple(size * 0.2)), Material(6.0, mirror=0.8))


def draw_wall(canvas: Canvas, probe: Probe, rng: np.random.Generator, free: float) -> None:
    """The mother's abdominal wall: layers of skin, fat and muscle along the probe's face.

    It stays within the ``free`` pixels between the probe's face and the structure.
    """
    thickness = min(rng.uniform(6, 40), max(4.0, 0.9 * free))
    angles = np.linspace(-probe.half_angle, probe.half_angle, 24) * 1.1
    wobble = noise(rng, (4, 24), 8)[1] * 0.04 * thickness
    depth = 0.0
    while depth < thickness:
        height = rng.uniform(1.5, 0.45 * thickness + 2)
        line = probe.arc(angles, probe.radius + depth + height / 2 + wobble)
        layer = Material(rng.uniform(-13, 4), rng.uniform(0.97, 1.03), 0.0, 0.0)
        canvas.fill(band(line, height), layer)
        depth += height
    for _ in range(int(rng.integers(0, 4))):
        line = probe.arc(angles, probe.radius + rng.uniform(0, 0.4) * thickness + wobble)
        canvas.fill(band(line, 0.8), Material(3.0, mirror=rng.uniform(0.1, 0.8)))


def overlay(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Black out de-identification blocks and show the grey scale, as archived pictures have."""
    height, width = image.shape
    if rng.random() < 0.45:
        image[round(height * rng.uniform(0.76, 0.88)) :, round(width * rng.uniform(0.7, 0.8)) :] = 0
    if rng.random() < 0.2:
        bottom = round(height * rng.uniform(0.08, 0.24))
        image[:bottom, round(width * rng.uniform(0.86, 0.94)) :] = 0
    if rng.random() < 0.5:
        top, bottom = round(height * 0.04), round(height * 0.32)
        ramp = np.linspace(255, 0, bottom - top).astype(np.uint8)[:, None]
        image[top:bottom, : max(1, round(width * 0.008))] = ramp
    return image
