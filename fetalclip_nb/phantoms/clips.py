"""Clips of the four-chamber view: frames of one beating heart through one window."""

import numpy as np

from fetalclip_nb.phantoms.canvas import Point
from fetalclip_nb.phantoms.patient import Patient, draw_patient
from fetalclip_nb.phantoms.picture import Phantom, draw

FIELD = (1.0, 1.15)
"""Width of the picture over width of the chest, before the view is cut to its window."""

WINDOW = (0.68, 0.9)
"""Sides of the window over sides of the picture: the operator has magnified the heart."""

MARGIN = 3  # pixels that stay around the heart


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
    """
    patient = patient or draw_patient(rng)
    scene_seed = int(rng.integers(2**32))
    field_ratio, window = float(rng.uniform(*FIELD)), float(rng.uniform(*WINDOW))
    offset, start = (float(rng.random()), float(rng.random())), float(rng.random())
    pictures = []
    for i in range(frames):
        moment = 2 * np.pi * (start + i / frames)
        looks = {"defect": defect, "phase": float(0.5 - 0.5 * np.cos(moment))}
        still, speckle = (np.random.default_rng(seed) for seed in (scene_seed, [scene_seed, i]))
        shared = {"patient": patient, "field_ratio": field_ratio}
        phantom = draw("thorax", still, heart=looks, speckle=speckle, **shared)
        pictures.append(heart_window(phantom, window, offset))
    return pictures


def heart_window(phantom: Phantom, share: float, offset: Point) -> np.ndarray:
    """Cut a thorax to a window that holds the heart, sides ``share`` of the picture's.

    ``offset`` says where it lies among its possible places, from 0 to 1 in x and y.
    """
    outline = phantom.outlines["heart"][0]
    cut = []
    # Rows before columns: the picture is (height, width), the outline (x, y).
    for axis, length in ((1, phantom.image.shape[0]), (0, phantom.image.shape[1])):
        side = int(length * share)
        first = max(0, int(outline[:, axis].max()) + MARGIN - side)
        last = min(length - side, int(outline[:, axis].min()) - MARGIN)
        start = first + int(offset[axis] * max(0, last - first))
        cut.append(slice(start, start + side))
    return phantom.image[tuple(cut)]
