"""The paper that anatomy is drawn on: Cartesian maps of acoustic properties, and shapes."""

from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

Point = tuple[float, float]

SHIFT = 5  # fractional bits of the coordinates given to OpenCV: shapes are placed to 1/32 pixel


class Material(NamedTuple):
    """Acoustic properties of a tissue; ``None`` leaves what was there.

    Attributes:
        echo: Power scattered back in dB, relative to soft tissue.
        impedance: Acoustic impedance relative to soft tissue; its jumps along the beam echo.
        attenuation: Nepers per pixel of path beyond what the machine's time gain compensates.
        mirror: Amplitude of a coherent (smooth, not speckled) reflection.
    """

    echo: float | None = None
    impedance: float | None = None
    attenuation: float | None = None
    mirror: float | None = None


TISSUE = Material(0.0, 1.0, 0.0, 0.0)
FLUID = Material(-34.0, 0.9, -0.0012, 0.0)
BLOOD = Material(-26.0, 0.97, -0.0005, 0.0)
BONE = Material(5.0, 1.25, 0.12, 1.5)


@dataclass(frozen=True)
class Frame:
    """A structure's own coordinates: (1, 0) is the end of its long axis, (0, 1) of its short one.

    >>> Frame((10.0, 5.0), 0.0, 4.0, 2.0).at([(1, 0), (0, 1)]).tolist()
    [[14.0, 5.0], [10.0, 7.0]]
    """

    origin: Point
    angle: float
    long: float
    short: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """Pixel positions (N, 2) of points (N, 2) given in this frame."""
        scaled = np.asarray(points, dtype=np.float64) * (self.long, self.short)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return scaled @ np.array([[cos, sin], [-sin, cos]]) + self.origin


@dataclass
class Canvas:
    """Maps of echo (dB), impedance, attenuation and mirror amplitude, float32 (height, width)."""

    width: int
    height: int
    regions: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (self.height, self.width)
        self.maps = tuple(np.full(shape, value, dtype=np.float32) for value in TISSUE)

    @property
    def echo(self) -> np.ndarray:
        """Scattered power in dB."""
        return self.maps[0]

    def fill(self, polygon: np.ndarray, material: Material, name: str | None = None) -> None:
        """Fill a polygon (N, 2) in pixels, and remember it as a region when it has a name."""
        corners = [np.round(polygon * (1 << SHIFT)).astype(np.int32)]
        for layer, value in zip(self.maps, material, strict=True):
            if value is not None:
                cv2.fillPoly(layer, corners, float(value), lineType=8, shift=SHIFT)
        if name is not None:
            self.regions.setdefault(name, []).append(polygon)

    def mask(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """The named region as bool (height, width) of a picture of another size."""
        picture = np.zeros((size[1], size[0]), dtype=np.uint8)
        scale = size[0] / self.width
        for polygon in self.regions[name]:
            corners = rescaled(polygon, scale) * (1 << SHIFT)
            cv2.fillPoly(picture, [np.round(corners).astype(np.int32)], 1, shift=SHIFT)
        return picture.astype(bool)


def rescaled(points: np.ndarray, scale: float) -> np.ndarray:
    """Move pixel positions to a picture ``scale`` times as large (pixel centres at integers)."""
    return (points + 0.5) * scale - 0.5


def tangents(line: np.ndarray) -> np.ndarray:
    """Unit vectors (N, 2) along a polyline (N, 2)."""
    padded = np.concatenate([line[:1], line, line[-1:]])
    along = padded[2:] - padded[:-2]
    return along / (np.sqrt((along**2).sum(axis=1, keepdims=True)) + 1e-9)


def band(line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Outline (2N, 2) of a band around a polyline (N, 2); its width is one number or N."""
    normal = tangents(line)[:, ::-1] * (-1.0, 1.0)
    offset = normal * (np.broadcast_to(width, len(line))[:, None] / 2)
    return np.concatenate([line + offset, (line - offset)[::-1]])


def circle(turn: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the unit circle at N angles in radians."""
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def oval(centre: Point, radii: Point, count: int = 40) -> np.ndarray:
    """Points (count, 2) of an ellipse."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return Frame(centre, 0.0, *radii).at(circle(turn))


def blob(
    rng: np.random.Generator,
    centre: Point,
    radii: Point,
    roughness: float = 0.08,
    angle: float = 0.0,
    last: int = 6,
) -> np.ndarray:
    """Points (48, 2) of an ellipse with a wavy outline of harmonics 2 to ``last``."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = 1 + wave(rng, turn, roughness, 2, last)
    return Frame(centre, angle, *radii).at(radius[:, None] * circle(turn))


def wave(
    rng: np.random.Generator, turn: np.ndarray, amplitude: float, first: int = 2, last: int = 6
) -> np.ndarray:
    """A smooth periodic function of ``turn`` (radians) with harmonics ``first`` to ``last``."""
    orders = np.arange(first, last + 1)
    weights = rng.standard_normal((2, orders.size)) * amplitude / np.sqrt(orders.size)
    phase = turn[..., None] * orders
    return np.cos(phase) @ weights[0] + np.sin(phase) @ weights[1]


def curve(points: list[Point] | np.ndarray, count: int = 24) -> np.ndarray:
    """A smooth curve (count, 2): the Bezier curve of the control points."""
    rest = np.asarray(points, dtype=np.float64)[None].repeat(count, axis=0)
    step = np.linspace(0, 1, count)[:, None, None]
    while rest.shape[1] > 1:
        rest = rest[:, :-1] * (1 - step) + rest[:, 1:] * step
    return rest[:, 0]


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth random field, float32 of ``shape``, unit variance, grain of about ``cell`` pixels."""
    height, width = shape
    small = (max(2, round(height / cell) + 2), max(2, round(width / cell) + 2))
    grain = rng.standard_normal(small, dtype=np.float32) * np.float32(1.35)
    return cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
