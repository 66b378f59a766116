"""Inside the head: what tells the axial planes of the fetal brain apart.

Coordinates are those of the head's frame: u runs from the occiput (-1) to the forehead (1),
v across the midline. The hemisphere near the probe lies in the reverberation of the skull, so
its landmarks are drawn with less contrast than those of the far one.
"""

from dataclasses import dataclass

import numpy as np

from fetalclip_nb.phantoms.canvas import Material, Point, band, blob, curve, oval
from fetalclip_nb.phantoms.scene import Scene


@dataclass
class View:
    """A head being filled.

    Attributes:
        scene: Where to draw.
        level: Echo of the brain's tissue in dB.
        near: Sign of v on the side of the probe.
        clarity: Contrast left in the near hemisphere, 0 to 1.
    """

    scene: Scene
    level: float
    near: float
    clarity: float

    @property
    def rng(self) -> np.random.Generator:
        """Source of chance."""
        return self.scene.rng

    def contrast(self, v: float) -> float:
        """Contrast of a landmark at v."""
        return self.clarity if v * self.near > 0.06 else 1.0

    def fill(self, points: np.ndarray, offset: float, v: float = 0.0, mirror: float = 0.0) -> None:
        """Fill a landmark whose echo differs by ``offset`` dB from the brain's."""
        share = self.contrast(v)
        echo = self.level + share * (1.2 * offset + self.rng.normal(0, 1.0))
        self.scene.fill(points, Material(echo, None, None, share * mirror))

    def line(
        self, points: np.ndarray, width: float, strength: float, v: float = 0.0, broken: float = 0.0
    ) -> None:
        """Draw an interface: coherent, of uneven strength, with gaps at the rate ``broken``."""
        share = self.contrast(v)
        pieces = np.array_split(np.arange(len(points)), max(1, len(points) // 4))
        for piece in pieces:
            if self.rng.random() < broken:
                continue
            piece = np.unique(np.append(piece, min(piece[-1] + 1, len(points) - 1)))
            power = 1.35 * share * strength * np.exp(self.rng.normal(0, 0.4))
            material = Material(self.level + 11 * share, None, None, power)
            if len(piece) > 1:
                self.scene.ribbon(points[piece], width, material)


def thalamic(view: View) -> None:
    """Trans-thalamic plane: thalami on both sides of the slit third ventricle, cavum in front."""
    _folds(view, 12)
    _midline(view, -0.93, -0.2)
    _midline(view, 0.62, 0.95)
    for side in (-1, 1):
        _thalamus(view, side, 1.0)
    _third_ventricle(view)
    _cavum(view)
    if view.rng.random() < 0.35:
        _choroid(view, -view.near, 0.6)
    _insula(view)


def ventricular(view: View) -> None:
    """Trans-ventricular plane: lateral ventricles with choroid plexus, frontal horns, cavum."""
    _folds(view, 10)
    _midline(view, -0.93, 0.25)
    _midline(view, 0.62, 0.95)
    for side in (-1, 1):
        _lateral_ventricle(view, side)
    _cavum(view)
    for side in (-1, 1):
        _frontal_horn(view, side)


def cerebellar(view: View) -> None:
    """Trans-cerebellar plane: dumbbell of the cerebellum, cisterna magna behind, cavum in front."""
    _folds(view, 10)
    _midline(view, 0.62, 0.95)
    _midline(view, -0.2, 0.2)
    for side in (-1, 1):
        _thalamus(view, side, 0.6)
    _cavum(view)
    _cerebellum(view)


def off_plane(view: View) -> None:
    """An axial cut that is none of the standard planes: above the ventricles or at the base."""
    if view.rng.random() < 0.5:
        _folds(view, 24)
        _midline(view, -0.95, 0.95)
        return
    _folds(view, 6)
    for side in (-1, 1):
        for end, reach in ((0.55, 0.75), (-0.5, 0.75)):  # sphenoid wing, petrous ridge
            middle = (0.6 * end, view.rng.uniform(0.1, 0.4) * side)
            ridge = curve([(0.08 * np.sign(end), 0.06 * side), middle, (end, reach * side)], 14)
            view.line(ridge, 0.045, view.rng.uniform(0.5, 1.8), 0.0, 0.3)


def first_trimester(view: View) -> None:
    """Before about 14 weeks: choroid plexus fills both hemispheres around the falx."""
    for side in (-1, 1):
        centre = (view.rng.normal(-0.08, 0.08), side * view.rng.uniform(0.38, 0.48))
        plexus = blob(view.rng, centre, (view.rng.uniform(0.45, 0.62), 0.3), 0.14, 0.1 * side)
        view.scene.fill(plexus, Material(view.level + view.rng.uniform(5, 12)))
        dark = blob(view.rng, (0.5, 0.4 * side), (0.2, 0.16), 0.2)
        view.scene.fill(dark, Material(view.level - 8))
    _midline(view, -0.9, 0.9)


def _midline(view: View, start: float, end: float) -> None:
    """The falx: a bright line that breaks off again and again."""
    u = np.linspace(start, end, max(5, int(28 * (end - start))))
    v = np.cumsum(view.rng.normal(0, 0.006, u.size))
    points = np.stack([u, v - v.mean()], axis=1)
    view.line(points, view.rng.uniform(0.012, 0.026), view.rng.uniform(0.5, 1.6), 0.0, 0.25)


def _cavum(view: View) -> None:
    """Cavum septi pellucidi: a small fluid box on the midline between two bright walls."""
    start, end = view.rng.normal(0.34, 0.03), view.rng.normal(0.6, 0.03)
    half = view.rng.uniform(0.045, 0.075)
    box = np.array([(start, -half), (end, -half), (end, half), (start, half)])
    view.fill(box, -14)
    for side in (-1, 1):
        bulge = ((start + end) / 2, side * half * 1.3)
        wall = curve([(start, side * half), bulge, (end, side * half)])
        view.line(wall, 0.022, view.rng.uniform(0.9, 2.0), 0.0, 0.06)
    if view.rng.random() < 0.5:
        view.line(curve([(start, -half), (start - 0.02, 0), (start, half)], 8), 0.02, 0.6)


def _thalamus(view: View, side: int, size: float) -> None:
    """One thalamus: an oval, darker than the brain around it, under a faint bright rim."""
    rng = view.rng
    centre = (0.03 + rng.normal(0, 0.03), side * 0.2 * rng.uniform(0.9, 1.15))
    radii = (0.25 * size * rng.uniform(0.9, 1.1), 0.16 * size * rng.uniform(0.9, 1.1))
    rim = blob(rng, centre, (radii[0] * 1.3, radii[1] * 1.4), 0.08, 0.35 * side)
    view.fill(rim, rng.uniform(5, 9), centre[1])
    shape = blob(rng, centre, radii, 0.07, 0.35 * side)
    view.fill(shape, rng.uniform(-7, -4), centre[1])
    if rng.random() < 0.7:
        view.line(shape[: rng.integers(14, 40)], 0.018, 0.4, centre[1], 0.2)


def _third_ventricle(view: View) -> None:
    """The slit between the thalami, two short bright lines."""
    half = view.rng.uniform(0.01, 0.03)
    for side in (-1, 1):
        view.line(curve([(-0.12, side * half), (0.2, side * half)], 12), 0.014, 0.7, 0.0, 0.25)


def _lateral_ventricle(view: View, side: int) -> None:
    """Body and atrium of a lateral ventricle: fluid, bright walls, choroid plexus inside."""
    rng = view.rng
    wide = rng.uniform(0.2, 0.3)
    bends = np.array([(-0.78, 0.36), (-0.5, 0.5), (-0.15, 0.36), (0.18, 0.2)])
    spine = curve(bends * (1, side), 24) + rng.normal(0, 0.02, 2)
    width = wide * np.interp(np.linspace(0, 1, 24), [0, 0.12, 0.45, 1], [0.35, 0.9, 1, 0.3])
    outline = band(spine, width)
    view.fill(outline, -14, side)
    strength = rng.uniform(0.8, 1.8)
    view.line(outline[2:24], 0.017, strength, side, 0.15)
    view.line(outline[26:46], 0.017, strength, side, 0.15)
    _choroid(view, side, 1.0, tuple(spine[11]))


def _choroid(view: View, side: float, size: float, centre: Point | None = None) -> None:
    """Choroid plexus: the brightest soft tissue in the head, a lobulated strip."""
    rng = view.rng
    place = centre or (-0.4 + rng.normal(0, 0.04), 0.4 * side)
    radii = (size * rng.uniform(0.22, 0.34), size * rng.uniform(0.09, 0.125))
    view.fill(blob(rng, place, radii, 0.14, -0.25 * side), rng.uniform(14, 19), side)


def _frontal_horn(view: View, side: int) -> None:
    """Front end of a lateral ventricle: a dark comma beside the cavum."""
    horn = curve([(0.38, 0.1 * side), (0.52, 0.16 * side), (0.66, 0.3 * side)], 12)
    taper = np.sin(np.linspace(0.25, np.pi - 0.1, len(horn)))
    view.fill(band(horn, view.rng.uniform(0.06, 0.11) * taper), -12, side)
    view.line(np.add(horn, (0.0, 0.045 * side)), 0.014, 0.5, side, 0.2)


def _cerebellum(view: View) -> None:
    """Two round hemispheres with bright margins, joined by the vermis; fluid behind them."""
    rng = view.rng
    u = rng.normal(-0.58, 0.025)
    size = rng.uniform(0.9, 1.1)
    cistern = blob(rng, (u - 0.2, 0), (0.2, 0.42 * size), 0.06)
    view.fill(cistern, -13)
    for side in (-1, 1):
        centre = (u + rng.normal(0, 0.01), side * 0.29 * size)
        radii = (0.2 * size, 0.29 * size * rng.uniform(0.92, 1.08))
        lobe = blob(rng, centre, radii, 0.04, 0.15 * side)
        view.fill(lobe, rng.uniform(2, 7), 0.2 * centre[1])
        for share in (0.35, 0.7):  # folia
            leaf = oval(centre, (radii[0] * share, radii[1] * share), 24)
            view.line(leaf, 0.016, 0.4, centre[1], 0.35)
        margin, strength = np.roll(lobe, 12, axis=0), np.exp(rng.normal(-0.25, 0.45))
        view.line(margin, 0.026, strength, 0.2 * centre[1], 0.08)
    view.fill(blob(rng, (u + 0.02, 0), (0.11, 0.09), 0.1), 14, mirror=0.5)


def _insula(view: View) -> None:
    """Sylvian fissure of the far hemisphere: a bright bracket near the skull."""
    v = -view.near
    bracket = curve([(-0.2, 0.72 * v), (-0.05, 0.55 * v), (0.2, 0.55 * v), (0.32, 0.74 * v)], 16)
    view.line(bracket, 0.02, view.rng.uniform(0.2, 0.7), v, 0.3)


def _folds(view: View, count: int) -> None:
    """Scattered streaks of sulci and vessels, more of them as the brain matures."""
    rng = view.rng
    mature = np.clip((view.scene.patient.weeks - 14) / 20, 0.2, 1.3)
    for _ in range(int(rng.poisson(count * mature))):
        radius, turn = np.sqrt(rng.uniform(0.02, 0.72)), rng.uniform(0, 2 * np.pi)
        u, v = radius * np.cos(turn), radius * np.sin(turn)
        reach = rng.uniform(0.02, 0.12)
        slope = rng.normal(0, 0.5) * reach
        middle = (u, v + rng.normal(0, 0.03))
        streak = curve([(u - reach, v - slope), middle, (u + reach, v + slope)], 6)
        view.line(streak, 0.014, np.exp(rng.normal(-1.3, 0.7)), v)
