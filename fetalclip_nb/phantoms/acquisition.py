"""From acoustic maps to a B-mode picture: beam, speckle, shadows, compression, scan conversion.

The order is that of a scanner: echoes are formed line by line in polar coordinates (range,
angle), compressed to grey, and only then converted to a fan-shaped picture. That is why the
grain of the speckle widens with depth and shadows run along the beam, as in real images.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fetalclip_nb.phantoms.canvas import Canvas, noise, rescaled

RANGES, ANGLES = 190, 176


@dataclass(frozen=True)
class Probe:
    """A convex probe; lengths in canvas pixels, angles in radians.

    Attributes:
        apex: Centre of curvature (x, y), usually above the picture.
        radius: Distance of the probe's face from the apex.
        reach: Distance of the deepest sample from the apex.
        half_angle: Half opening of the fan.
    """

    apex: tuple[float, float]
    radius: float
    reach: float
    half_angle: float

    @property
    def step(self) -> float:
        """Pixels between two range samples."""
        return (self.reach - self.radius) / (RANGES - 1)

    def arc(self, angles: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """Canvas points (N, 2) at N angles and distances from the apex."""
        return np.stack([np.sin(angles), np.cos(angles)], axis=1) * radius[:, None] + self.apex

    def towards(self, points: np.ndarray) -> np.ndarray:
        """Unit vectors (N, 2) along which the beam meets points (N, 2)."""
        ray = np.asarray(points) - self.apex
        return ray / (np.linalg.norm(ray, axis=-1, keepdims=True) + 1e-9)

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """Canvas x and y, float32 (RANGES, ANGLES), of every polar sample."""
        ranges = np.linspace(self.radius, self.reach, RANGES, dtype=np.float32)[:, None]
        angles = np.linspace(-self.half_angle, self.half_angle, ANGLES, dtype=np.float32)
        return self.apex[0] + ranges * np.sin(angles), self.apex[1] + ranges * np.cos(angles)

    def convert(self, polar: np.ndarray, canvas_width: int, size: tuple[int, int]) -> np.ndarray:
        """Scan-convert uint8 (RANGES, ANGLES) to a picture of ``size`` (width, height)."""
        scale = size[0] / canvas_width
        apex = rescaled(np.asarray(self.apex), scale)
        x = np.arange(size[0], dtype=np.float32) - np.float32(apex[0])
        y = np.arange(size[1], dtype=np.float32)[:, None] - np.float32(apex[1])
        ranges, angles = cv2.cartToPolar(*np.broadcast_arrays(y, x))
        angles = np.where(angles > np.pi, angles - np.float32(2 * np.pi), angles)
        row = (ranges / np.float32(scale) - np.float32(self.radius)) / np.float32(self.step)
        column = (angles / np.float32(2 * self.half_angle) + np.float32(0.5)) * (ANGLES - 1)
        return cv2.remap(polar, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


@dataclass(frozen=True)
class Tone:
    """How a machine turns echoes into grey.

    Attributes:
        axial, lateral: Standard deviations of the point spread, in polar samples.
        span: Dynamic range of the display in dB.
        gain: Offset in dB before compression.
        gamma: Exponent of the grey map.
        smooth: Extra smoothing of the compressed lines, in polar samples.
        haze: Strength of reverberation behind strong reflectors.
        specular: Strength of echoes from impedance steps.
    """

    axial: float
    lateral: float
    span: float
    gain: float
    gamma: float
    smooth: float
    haze: float
    specular: float


def acquire(
    canvas: Canvas,
    probe: Probe,
    tone: Tone,
    rng: np.random.Generator,
    size: tuple[int, int],
    contact: np.random.Generator | None = None,
) -> np.ndarray:
    """Image a scene: uint8 of ``size`` (width, height), black outside the fan.

    ``contact`` is the source of chance of the gain over the fan; ``rng`` when absent.
    """
    echo, impedance, attenuation, mirror = _polar_maps(canvas, probe, rng)
    power = np.exp(echo * np.float32(np.log(10) / 10))
    loss = np.cumsum(attenuation, axis=0, dtype=np.float32) * np.float32(probe.step)
    passed = np.exp(-2 * np.clip(loss, -0.25, 6.0))
    steps = np.abs(np.diff(impedance, axis=0, prepend=impedance[:1])) * np.float32(tone.specular)
    mirror = (mirror + steps) * np.sqrt(passed)
    power = power * passed + tone.haze * _reverberation(mirror, rng) + np.float32(2e-4)
    envelope = _envelope(np.sqrt(power), mirror, tone, rng)
    return probe.convert(_grey(envelope, tone, contact or rng), canvas.width, size)


def _polar_maps(canvas: Canvas, probe: Probe, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The canvas maps along the beams, slightly warped: nothing in a body is a perfect curve."""
    x, y = probe.samples()
    shape = (RANGES, ANGLES)
    x = x + noise(rng, shape, 22) * np.float32(1.1)
    y = y + noise(rng, shape, 22) * np.float32(1.0)
    maps = cv2.GaussianBlur(cv2.merge(canvas.maps), (0, 0), 0.8)
    return cv2.split(cv2.remap(maps, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _reverberation(mirror: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Power of the haze behind strong reflectors: echoes that bounced more than once.

    A causal decay along range with faint multiples, computed on a quarter of the samples.
    """
    strong = cv2.resize(mirror * mirror, (ANGLES // 4, RANGES // 4), interpolation=cv2.INTER_AREA)
    lag = np.arange(24, dtype=np.float32)
    ripple = 1 + 0.5 * np.cos(2 * np.pi * lag / rng.uniform(1.8, 4.0))
    decay = (np.exp(-lag / rng.uniform(4, 11)) * ripple).astype(np.float32)
    haze = cv2.filter2D(
        strong, -1, decay[::-1, None], anchor=(0, 23), borderType=cv2.BORDER_CONSTANT
    )
    haze = cv2.GaussianBlur(haze, (0, 0), sigmaX=2.5, sigmaY=0.5)
    return cv2.resize(haze, (ANGLES, RANGES), interpolation=cv2.INTER_LINEAR)


def _envelope(
    amplitude: np.ndarray, mirror: np.ndarray, tone: Tone, rng: np.random.Generator
) -> np.ndarray:
    """Mean envelope of two looks: scatterers and coherent reflectors, blurred by the beam."""
    field = rng.standard_normal((RANGES, ANGLES, 4), dtype=np.float32) * amplitude[..., None]
    spread = 2 * np.sqrt(np.pi * tone.axial * tone.lateral)  # keeps the power of the scatter
    field *= np.float32(spread / np.sqrt(2))
    field[..., 0] += mirror
    field[..., 2] += mirror
    field = cv2.GaussianBlur(field, (0, 0), sigmaX=tone.lateral, sigmaY=tone.axial)
    first = cv2.magnitude(field[..., 0], field[..., 1])
    return (first + cv2.magnitude(field[..., 2], field[..., 3])) / 2


def _grey(envelope: np.ndarray, tone: Tone, rng: np.random.Generator) -> np.ndarray:
    """Log compression, gain that varies over the fan, grey map; uint8."""
    level = 20 * np.log10(envelope + np.float32(1e-4))
    level += np.float32(tone.gain) + _gain_map(rng)
    grey = np.clip(1 + level / np.float32(tone.span), 0, 1) ** np.float32(tone.gamma)
    if tone.smooth > 0.2:
        grey = cv2.GaussianBlur(grey, (0, 0), tone.smooth)
    return np.round(grey * 255).astype(np.uint8)


def _gain_map(rng: np.random.Generator) -> np.ndarray:
    """Gain in dB: depth slope, bands, poor contact at the sides, uneven tissue in the way."""
    depth = np.linspace(0, 1, RANGES, dtype=np.float32)[:, None]
    side = np.linspace(-1, 1, ANGLES, dtype=np.float32)
    gain = np.float32(rng.normal(0, 3.0)) * (depth - 0.5)
    gain = gain - np.float32(rng.uniform(0, 9)) * np.clip(depth - rng.uniform(0.5, 0.95), 0, 1) * 2
    edge = rng.uniform(0, 18, 2)
    start = rng.uniform(0.3, 0.95, 2)
    gain = gain - np.where(side < 0, edge[0], edge[1]) * np.clip(
        (np.abs(side) - np.where(side < 0, *start)) / 0.4, 0, 1.2
    )
    beams = noise(rng, (8, ANGLES), rng.uniform(10, 40))[3] * rng.uniform(0.3, 2.0)
    return (gain + beams).astype(np.float32)
