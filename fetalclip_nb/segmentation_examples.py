"""Which images of a segmentation are shown: the worst, the median and the best."""

import numpy as np

from fetalclip_nb import overlap
from fetalclip_nb.decoder_cells import Outcome
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.pictures import unpack
from fetalclip_nb.segmentation_data import Material


def picked(values: np.ndarray, k: int = 1) -> dict[str, np.ndarray]:
    """Positions of the worst, the median and the best images, none of them twice.

    Args:
        values: Score of each image, the higher the better, shape (n,); NaN is never picked.
        k: How many of each; fewer where the images do not suffice for three times as many.

    Returns:
        "worst" (worst first), "median" (ascending; about the lower median) and "best" (best
        first): integers of shape (k,) or less. One image is the worst, two are worst and best.

    Raises:
        ParameterError: If k is less than 1.

    >>> {name: found.tolist() for name, found in picked([0.9, 0.2, 0.5, np.nan, 0.7]).items()}
    {'worst': [1], 'median': [2], 'best': [0]}
    """
    if k < 1:
        raise ParameterError("Nothing to pick", where="k", expected="1 or more", found=k)
    values = np.asarray(values, dtype=np.float64)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]
    size = min(k, max(1, order.size // 3))
    worst, order = np.split(order, [size])
    order, best = np.split(order, [max(0, order.size - size)])
    start = max(0, (order.size - size) // 2)
    return {"worst": worst, "median": order[start : start + size], "best": best[::-1]}


def examples(material: Material, outcome: Outcome, *, decoder: int = 0, k: int = 1) -> dict:
    """Worst, median and best images of one decoder, as `segmentation_figures.overlays` takes them.

    Images are ranked by the mean DSC of the structures that they have.

    Args:
        material: The task's images and masks.
        outcome: Decoders on tested images.
        decoder: Which of them.
        k: Images of each kind.

    Returns:
        images, true, predicted, structures and titles.
    """
    each = overlap.image_dice(outcome.counts[decoder])
    with np.errstate(invalid="ignore"):
        means = np.nansum(each, axis=1) / np.isfinite(each).sum(axis=1)
    kinds = picked(means, k)
    places = np.concatenate(list(kinds.values()))
    plain, rows = material.preparations[0], outcome.rows[places]
    names = [kind for kind, found in kinds.items() for _ in found]
    return {
        "images": np.stack([plain.images[row] for row in rows]),
        "true": unpack(np.stack([plain.masks[row] for row in rows]), material.side),
        "predicted": unpack(outcome.masks[decoder, places], material.side),
        "structures": material.task.structures,
        "titles": [
            f"{name}: DSC {100 * means[p]:.1f} %" for name, p in zip(names, places, strict=True)
        ],
    }
