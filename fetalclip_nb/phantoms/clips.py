"""Clips of the four-chamber view: frames of one beating heart through one window."""

from dataclasses import dataclass

import numpy as np

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.phantoms.heart import require_defect
from fetalclip_nb.phantoms.patient import Patient, draw_patient
from fetalclip_nb.phantoms.picture import Phantom, draw

FIELD = (1.0, 1.15)
"""Width of the picture over width of the chest, before the view is cut to its window."""

WINDOW = (0.68, 0.9)
"""Sides of the window over sides of the picture: the operator has magnified the heart."""

MARGIN = 3  # pixels that stay around the heart


@dataclass(frozen=True)
class View:
    """What all frames of a clip share.

    Attributes:
        scene_seed: Seed of anatomy, position, probe and tone.
        field_ratio: Width of the picture over width of the chest.
        window: Side of the window over side of the picture.
        offset: Where the window lies among its possible places, each from 0 to 1.
        phase: Moment of the heart's cycle at the first frame, from 0 to 1.
    """

    scene_seed: int
    field_ratio: float
    window: float
    offset: tuple[float, float]
    phase: float


def draw_clip(
    rng: np.random.Generator,
    *,
    frames: int,
    defect: str | None = None,
    patient: Patient | None = None,
) -> list[np.ndarray]:
    """Draw the frames of one clip.

    All frames show the same heart from the same place; the ventricles contract, speckle and
    gain are new in each. The window holds the whole heart, but seldom in its middle.

    Args:
        rng: Source of chance; the same state gives the same clip.
        frames: Number of frames, spread evenly over one beat.
        defect: One of ``heart.DEFECTS``, or None for a normal heart.
        patient: Whose heart it is; drawn when absent.

    Returns:
        Grey pictures, uint8 of one shape (height, width).

    Raises:
        ParameterError: If the defect is unknown or there are no frames.
    """
    require_defect(defect)
    if frames < 1:
        raise ParameterError("A clip needs frames", where="frames", expected=">= 1", found=frames)
    patient = patient or draw_patient(rng)
    view = View(
        scene_seed=int(rng.integers(2**32)),
        field_ratio=float(rng.uniform(*FIELD)),
        window=float(rng.uniform(*WINDOW)),
        offset=(float(rng.random()), float(rng.random())),
        phase=float(rng.random()),
    )
    return [_frame(view, patient, defect, i, frames) for i in range(frames)]


def _frame(view: View, patient: Patient, defect: str | None, i: int, frames: int) -> np.ndarray:
    moment = 2 * np.pi * (view.phase + i / frames)
    phantom = draw(
        "thorax",
        np.random.default_rng(view.scene_seed),
        patient=patient,
        field_ratio=view.field_ratio,
        heart={"defect": defect, "phase": float(0.5 - 0.5 * np.cos(moment))},
        speckle=np.random.default_rng([view.scene_seed, i]),
    )
    return _windowed(phantom, view)


def _windowed(phantom: Phantom, view: View) -> np.ndarray:
    """Cut the picture to a window that holds the heart."""
    outline = phantom.outlines["heart"][0]
    cut = []
    # Rows before columns: the picture is (height, width), the outline (x, y).
    for axis, length in ((1, phantom.image.shape[0]), (0, phantom.image.shape[1])):
        side = int(length * view.window)
        first = max(0, int(outline[:, axis].max()) + MARGIN - side)
        last = min(length - side, int(outline[:, axis].min()) - MARGIN)
        start = first + int(view.offset[axis] * max(0, last - first))
        cut.append(slice(start, start + side))
    return phantom.image[tuple(cut)]
