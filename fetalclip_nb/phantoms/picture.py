"""One synthetic B-mode picture of a named plane, with everything known about it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.phantoms import framing, surroundings
from fetalclip_nb.phantoms.acquisition import Probe, acquire
from fetalclip_nb.phantoms.canvas import Canvas, Frame, Point, rescaled
from fetalclip_nb.phantoms.framing import BRAIN_PLANES, PLANES, Layout
from fetalclip_nb.phantoms.head import draw_head
from fetalclip_nb.phantoms.patient import Patient, draw_patient, draw_tone, pick, through_window
from fetalclip_nb.phantoms.scene import Scene

VERSION = 1
"""Raised whenever a picture of given chance changes: what the shipped model was trained on."""

LIKENESS = 0.82
"""Chance that a condition of a picture is its examination's own. Two pictures then share it
with the square, 0.67: on 193 real heads (HC18, 27 examinations of several) the intraclass
correlation is 0.68 (0.46 to 0.89) of the field, 0.73 (0.56 to 0.92) of the shadow."""

_Streams = Callable[[str], np.random.Generator]


@dataclass
class Phantom:
    """A synthetic picture and its ground truth.

    Attributes:
        image: Grey picture, uint8 (height, width), black outside the fan.
        plane: One of ``PLANES``.
        brain_plane: One of ``BRAIN_PLANES`` or "Other" for a brain, None for other planes.
        patient: Who was scanned.
        pixel_mm: Millimetres per pixel, the same in both directions.
        hc_mm: Perimeter of the head's ellipse in mm; None unless plane is "brain".
        masks: Named regions, bool (height, width); a brain has "head".
        outlines: The same regions as polygons (N, 2) in pixels, a list for each name.
        detail: Facts about the picture: view, field_ratio, angle, and what the plane adds.
    """

    image: np.ndarray
    plane: str
    brain_plane: str | None
    patient: Patient
    pixel_mm: float
    hc_mm: float | None
    masks: dict[str, np.ndarray]
    outlines: dict[str, list[np.ndarray]]
    detail: dict[str, object] = field(default_factory=dict)


def draw(
    plane: str,
    rng: np.random.Generator,
    *,
    brain_plane: str | None = None,
    field_ratio: float | None = None,
    patient: Patient | None = None,
    size: tuple[int, int] | None = None,
    heart: dict[str, object] | None = None,
    speckle: np.random.Generator | None = None,
    examination: bool = False,
) -> Phantom:
    """Draw one picture.

    Args:
        plane: One of ``PLANES``; "other" draws any view outside the five standard planes.
        rng: Source of chance; the same state gives the same picture.
        brain_plane: One of ``BRAIN_PLANES`` or "Other"; drawn among the three when absent.
        field_ratio: Width of the picture over length of the structure; uniform over
            ``FIELD_RATIOS`` when absent. Raised where the structure would leave the picture.
        patient: Whose picture it is; drawn when absent.
        size: Width and height in pixels; about 256 by 176, varied, when absent.
        heart: What a four-chamber view shows: "defect" and "phase" as in ``heart.draw_heart``.
        speckle: Source of chance of the acquisition alone (speckle, haze, gain), for frames of
            one scene; ``rng`` when absent.
        examination: Whether aim, surroundings, anatomy and contact are mostly (`LIKENESS`) those
            of the patient's examination, seen through its window. Otherwise each is new.
    """
    _check(plane, brain_plane)
    patient = patient or draw_patient(rng)
    view = pick(rng, framing.OTHER_VIEWS) if plane == "other" else plane
    if plane == "brain":
        brain_plane = brain_plane or str(rng.choice(BRAIN_PLANES))
    if size is None:
        width = int(rng.integers(240, 289))
        size = width, round(width / rng.uniform(1.32, 1.54))
    canvas = Canvas(_CANVAS_WIDTH, round(_CANVAS_WIDTH * size[1] / size[0]))
    layout = _layout(view, patient, brain_plane)
    ratio = field_ratio or float(rng.uniform(*framing.FIELD_RATIOS))
    frame, extent = _place(canvas, layout, framing.FOOTPRINT.get(view, layout.aspect), ratio, rng)
    stream = partial(_stream, patient, rng, LIKENESS if examination else 0.0)
    probe = _aim(canvas, frame, extent, stream("aim"))
    detail = {"view": view, "angle": frame.angle, **(heart or {})}
    scene = Scene(canvas, probe, frame, patient, stream("surroundings"), detail)
    _draw_scene(scene, layout, extent, view, stream)
    tone = draw_tone(patient, rng)
    tone = through_window(tone, patient) if examination else tone
    contact = stream("contact") if examination else None
    image = acquire(canvas, probe, tone, speckle or rng, size, contact)
    scale = size[0] / canvas.width
    detail["field_ratio"] = canvas.width / (2 * frame.long)
    return Phantom(
        image=surroundings.overlay(image, rng),
        plane=plane,
        brain_plane=brain_plane if plane == "brain" else None,
        patient=patient,
        pixel_mm=layout.length_mm(patient) / (2 * frame.long * scale),
        hc_mm=patient.hc_mm if plane == "brain" else None,
        masks={name: canvas.mask(name, size) for name in canvas.regions},
        outlines={
            name: [rescaled(polygon, scale) for polygon in polygons]
            for name, polygons in canvas.regions.items()
        },
        detail=detail,
    )


_CANVAS_WIDTH = 256  # pixels: the resolution at which anatomy is drawn, whatever the picture's


_SHARED = ("aim", "surroundings", "anatomy", "contact")


def _stream(
    patient: Patient, rng: np.random.Generator, likeness: float, condition: str
) -> np.random.Generator:
    """The chance of a condition: at the rate ``likeness`` the examination's, else ``rng``."""
    if likeness and rng.random() < likeness:
        return np.random.default_rng([patient.shape_seed, _SHARED.index(condition)])
    return rng


def _check(plane: str, brain_plane: str | None) -> None:
    if plane not in PLANES:
        known = ", ".join(PLANES)
        raise ParameterError("Unknown plane", where="plane", expected=known, found=plane)
    known = (*BRAIN_PLANES, "Other") if plane == "brain" else ()
    if brain_plane not in (None, *known):
        where, expected = f"brain_plane of a {plane} picture", ", ".join(known) or "None"
        raise ParameterError(
            "Brain plane does not fit", where=where, expected=expected, found=brain_plane
        )


def _layout(view: str, patient: Patient, brain_plane: str | None) -> Layout:
    if view != "brain":
        return framing.LAYOUTS[view]
    head = partial(draw_head, brain_plane=brain_plane)
    return Layout(head, patient.cephalic_index, framing.level, lambda p: p.head_length_mm)


def _place(
    canvas: Canvas, layout: Layout, footprint: float, ratio: float, rng: np.random.Generator
) -> tuple[Frame, Point]:
    """Choose where the structure lies; returns its frame and its half width and half height."""
    angle = layout.turn(rng)
    cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
    unit = np.hypot(cos, footprint * sin), np.hypot(sin, footprint * cos)
    room = canvas.width / 2 - 3, canvas.height / 2 - 3
    half = min(canvas.width / (2 * ratio), room[0] / unit[0], room[1] / unit[1])
    extent = half * unit[0], half * unit[1]
    middle = (canvas.width - 1) / 2, (canvas.height - 1) / 2
    spare = np.subtract(room, extent).tolist()
    x = middle[0] + float(np.clip(rng.normal(0, 0.35), -1, 1)) * spare[0] * 0.6
    y = middle[1] + float(np.clip(rng.normal(0.05, 0.45), -1, 1)) * spare[1] * 0.9
    flip = 1 if rng.random() < 0.5 else -1
    return Frame((x, y), angle, half, flip * half * layout.aspect), extent


def _aim(canvas: Canvas, frame: Frame, extent: Point, rng: np.random.Generator) -> Probe:
    """Set a convex probe above the picture so that its fan holds most of the structure."""
    radius = rng.uniform(40, 150)
    top = rng.uniform(-3, 10) if rng.random() < 0.55 else rng.uniform(-80, 0)
    apex = canvas.width / 2 + rng.normal(0, 8), top - radius
    sideways = abs(frame.origin[0] - apex[0]) + extent[0]
    needed = np.arctan2(sideways, frame.origin[1] - apex[1])
    half_angle = max(rng.uniform(0.5, 0.85), needed * rng.uniform(0.9, 1.2))
    deepest = canvas.height - apex[1]
    reach = max(deepest * rng.uniform(0.97, 1.12), frame.origin[1] + extent[1] - apex[1] + 3)
    return Probe(apex, radius, float(reach), float(np.clip(half_angle, 0.4, 1.15)))


def _draw_scene(scene: Scene, layout: Layout, extent: Point, view: str, stream: _Streams) -> None:
    """Draw from outside to inside: tissue, fluid, the mother's wall, the structure."""
    canvas, rng, centre = scene.canvas, scene.rng, scene.frame.origin
    surroundings.draw_tissue(canvas, rng)
    if view not in ("cervix", "placenta", "empty"):
        deep = max(extent[1], 0.2 * canvas.height)  # flat structures lie in a roomy pool, too
        surroundings.draw_pool(canvas, rng, centre, (extent[0], deep))
    face = scene.probe.apex[1] + scene.probe.radius
    surroundings.draw_wall(canvas, scene.probe, rng, centre[1] - extent[1] - face)
    scene.rng = stream("anatomy")
    layout.draw(scene)
