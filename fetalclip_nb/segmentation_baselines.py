"""What can be outlined without looking at the image: the mean of the training masks."""

import numpy as np

from fetalclip_nb import head_measurement, overlap
from fetalclip_nb.decoder_cells import HEAD, Outcome
from fetalclip_nb.pictures import pack, unpack
from fetalclip_nb.segmentation_data import Material
from fetalclip_nb.splits import Split, rows_of

MEAN_MASK = "mean mask"
"""Name of the baseline in tables."""


def mean_mask(material: Material, split: Split, tested: tuple[str, ...]) -> Outcome:
    """Outline the pixels that most training images of a fold have inside, in every image.

    Args:
        material: The task, with any encoder: only its masks are read.
        split: The folds.
        tested: Patients that are tested.

    Returns:
        One outcome a fold, as of a decoder.
    """
    table = material.task.items.table
    rows = np.flatnonzero(rows_of(table, tested))
    true = _masks(material, rows)
    parts = [
        _one(material, rows, true, _masks(material, np.flatnonzero(rows_of(table, fold.train))))
        for fold in split.folds
    ]
    folds = len(parts)
    stacked = (np.stack(found) for found in zip(*parts, strict=True))
    return Outcome(rows, *stacked, np.zeros(folds, np.int64), np.full((folds, 1), np.nan))


def _masks(material: Material, rows: np.ndarray) -> np.ndarray:
    return unpack(np.asarray(material.preparations[0].masks[rows]), material.side)


def _one(
    material: Material, rows: np.ndarray, true: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, ...]:
    share = seen.mean(axis=0)
    guess = np.broadcast_to(share > 0.5, true.shape)
    measured = np.full(len(rows), np.nan)
    structures = material.task.structures
    if HEAD in structures:
        same = np.broadcast_to(share[structures.index(HEAD)] - 0.5, (len(rows), *share.shape[1:]))
        measured = head_measurement.head_circumferences(
            same, material.sizes[rows], material.pixel_mm[rows]
        )
    return (
        overlap.counts(guess, true),
        overlap.hausdorff95(guess, true, material.square_pixel_mm[rows]),
        measured,
        pack(guess),
    )
