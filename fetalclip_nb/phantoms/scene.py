"""What an anatomy module draws on: canvas, beams, frame and patient of one picture."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from fetalclip_nb.phantoms.acquisition import Probe
from fetalclip_nb.phantoms.canvas import Canvas, Frame, Material, band, noise, tangents, wave
from fetalclip_nb.phantoms.patient import Patient


@dataclass
class Scene:
    """One picture in the making; ``frame`` is the structure's, ``detail`` says what it shows."""

    canvas: Canvas
    probe: Probe
    frame: Frame
    patient: Patient
    rng: np.random.Generator
    detail: dict[str, object] = field(default_factory=dict)

    def fill(self, points: np.ndarray, material: Material, name: str | None = None) -> None:
        """Fill a polygon given in the structure's frame."""
        self.canvas.fill(self.frame.at(points), material, name)

    def ribbon(
        self,
        points: np.ndarray,
        width: float | np.ndarray,
        material: Material,
        name: str | None = None,
    ) -> None:
        """Draw a band along a line given in the frame; its width in half lengths."""
        width = np.asarray(width) * self.frame.long
        self.canvas.fill(band(self.frame.at(points), width), material, name)

    def soften(self, points: np.ndarray, grain: float) -> None:
        """Make the echo inside a polygon uneven (dB of about ``grain``), as living tissue is."""
        shape = (self.canvas.height, self.canvas.width)
        mask = np.zeros(shape, dtype=np.uint8)
        cv2.fillPoly(mask, [np.round(self.frame.at(points)).astype(np.int32)], 1)
        texture = noise(self.rng, shape, 16) * grain + noise(self.rng, shape, 6) * (0.6 * grain)
        echo = self.canvas.echo
        np.add(echo, texture, out=echo, where=mask.astype(bool))

    def bone(
        self,
        points: np.ndarray,
        width: float,
        brightness: float,
        attenuation: float,
        gaps: float = 0.5,
        floor: float = 0.07,
    ) -> None:
        """Draw a bony shell along a line (N, 2) of the frame, bright where it faces the beam.

        From a wall that the beam only grazes the share ``floor`` comes back, as from a mirror.
        Brightness also drifts along it, by ``gaps`` nepers.
        """
        line = self.frame.at(points)
        tangent = tangents(line)
        ray = self.probe.towards(line)
        facing = np.abs(tangent[:, 0] * ray[:, 1] - tangent[:, 1] * ray[:, 0])
        turn = np.linspace(0, 2 * np.pi, len(line))
        drift = np.exp(gaps * (wave(self.rng, turn, 0.8, 1, 9) + wave(self.rng, turn, 0.5, 10, 30)))
        strength = brightness * (floor + (1 - floor) * facing**2.6) * drift
        outline = band(line, width * self.frame.long)
        left, right = outline[: len(line)], outline[len(line) :][::-1]
        for i in range(len(line) - 1):
            corners = np.array([left[i], left[i + 1], right[i + 1], right[i]])
            power = float(strength[i])
            echo = max(-12.0, 8 * np.log10(power + 1e-3))
            self.canvas.fill(corners, Material(echo, None, attenuation, power))
