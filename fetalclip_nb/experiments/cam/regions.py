"""Do maps point at the structure? Their peak and their energy inside annotated regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.mask_files import padded_mask, reduced_mask
from fetalclip_nb.experiments.cam.controls import at_side, centre_map, random_maps
from fetalclip_nb.experiments.cam.gallery import Gallery
from fetalclip_nb.experiments.cam.images import some_per_class
from fetalclip_nb.experiments.cam.scores import Units
from fetalclip_nb.models.tower import vision_tower
from fetalclip_nb.stats.patients import patient_means
from fetalclip_nb.stats.proportions import clustered
from fetalclip_nb.stats.scores import owners, ratio
from fetalclip_nb.tasks.masks import MaskTask

TASK_CLASS = {"head": "brain", "abdomen": "abdomen", "four_chamber": "heart"}
"""Class of the plane prompts whose map is looked at in the images of a task."""


@dataclass(frozen=True)
class Outlined:
    """What lies inside outlined structures.

    Attributes:
        tasks: Task to images and masks.
        scores: (Kind of map, task) to scores, as `region_scores` gives them: of each model's
            maps, of random maps and of the centre map.
        made: Maps that were made for it, or read.
    """

    tasks: dict[str, MaskTask]
    scores: dict[tuple[str, str], Units]
    made: int


def judge_regions(
    gallery: Gallery, tasks: Mapping[str, MaskTask], *, count: int, seed: int
) -> Outlined:
    """Map outlined images for the class that each task is about, and look inside.

    Tasks whose class the models do not choose from (own classes) are left out.

    Args:
        gallery: Models and their class vectors.
        tasks: Images and masks; may be none.
        count: Images of each task.
        seed: Seed of the draw, and of the random maps.
    """
    side, scores, made = gallery.side, {}, 0
    grid = vision_tower(gallery.models[gallery.headline]).grid
    known = {name: gallery.classes[name, gallery.main] for name in gallery.models}
    tasks = {t: o for t, o in tasks.items() if all(TASK_CLASS[t] in c for c in known.values())}
    for task, outlined in tasks.items():
        images, rows = some_images(outlined, count, seed)
        maps = {}
        for name, model in gallery.models.items():
            vectors = gallery.vectors[name, gallery.main]
            targets = [known[name].index(TASK_CLASS[task])] * len(images)
            cams = gallery.mapped(model, images, vectors, targets, method=gallery.methods[0])
            maps[name] = at_side(cams.maps, side)
            made += len(images)
        maps["centre map"] = centre_map(side)
        maps["random map"] = random_maps(len(images), side, grid, seed)
        masks, patients = region_masks(outlined, rows, side), images.table["patient"]
        for kind, of_kind in maps.items():
            scores[kind, task] = region_scores(of_kind, masks, outlined.structures, patients)
    return Outlined(dict(tasks), scores, made)


def some_images(task: MaskTask, count: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """A few images of a task, drawn as by `some_per_class`, and their row numbers in it."""
    labelled = task.dataset.table.assign(label=task.name, row=np.arange(len(task.dataset)))
    drawn = some_per_class(replace(task.dataset, table=labelled), [task.name], count, seed)
    return drawn, drawn.table["row"].to_numpy()


def region_masks(task: MaskTask, rows: Sequence[int], side: int) -> np.ndarray:
    """Annotated regions as the encoder's squares show them.

    They are padded as the images are and reduced as for segmentation: a pixel is inside where
    at least half of it is. A small structure may vanish on a coarse picture; it then counts as
    absent.

    Returns:
        bool of shape (n, C, side, side), of n rows of the task.
    """
    return np.array(
        [[reduced_mask(padded_mask(region), side) for region in task.read(row)] for row in rows]
    )


def pointing(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's maximal pixels that lie inside its region: 1 or 0 but for ties.

    A map that is the same everywhere points nowhere and gets the region's share of the area,
    as a random point would on average.

    Args:
        maps: Shape (n, S, S).
        masks: Regions, bool of shape (n, S, S).

    Returns:
        float64 of shape (n,); NaN where the structure is absent.

    Source: The pointing game of Zhang et al. (arXiv 1608.00507), without its tolerance.

    >>> pointing(np.array([[[0, 2], [2, 1]]]), np.array([[[False, True], [False, False]]])).tolist()
    [0.5]
    """
    maps = np.asarray(maps, dtype=np.float64)
    peaks = maps == maps.max(axis=(1, 2), keepdims=True)
    return _where_present((peaks & masks).sum(axis=(1, 2)) / peaks.sum(axis=(1, 2)), masks)


def energy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share of each map's sum that lies inside its region.

    Args:
        maps: Not negative, shape (n, S, S).
        masks: Regions, bool of shape (n, S, S).

    Returns:
        float64 of shape (n,); NaN where the structure is absent or the map is 0 everywhere.

    Source: The energy-based pointing game of Wang et al., Score-CAM (arXiv 1910.01279), 4.3.

    >>> energy(np.array([[[0, 2], [1, 1]]]), np.array([[[False, True], [False, False]]])).tolist()
    [0.5]
    """
    maps = np.asarray(maps, dtype=np.float64)
    inside = np.where(masks, maps, 0).sum(axis=(1, 2))
    return _where_present(ratio(inside, maps.sum(axis=(1, 2))), masks)


def region_scores(
    maps: np.ndarray, masks: np.ndarray, structures: Sequence[str], patients: np.ndarray
) -> Units:
    """Pointing, energy and area of each structure: means with intervals over patients.

    Pointing is a share, often 0 or 1: its interval is `proportions.clustered`.

    The area is the share of the picture that a region covers: what a map without knowledge
    gets. The n of a score counts its images: those that show the structure and, for energy,
    whose map is not 0 everywhere.

    Args:
        maps: One map an image, shape (n, S, S), or (S, S) for one map of all images.
        masks: As given by `region_masks`, bool of shape (n, C, S, S).
        structures: C names.
        patients: Patient of each image, shape (n,).

    Returns:
        pointing/STRUCTURE, energy/STRUCTURE and area/STRUCTURE from 0 to 1; none for a
        structure that no image shows.
    """
    maps = np.broadcast_to(maps, masks[:, 0].shape)
    values = {}
    for name, regions in zip(structures, masks.swapaxes(0, 1), strict=True):
        values[f"pointing/{name}"] = pointing(maps, regions)
        values[f"energy/{name}"] = energy(maps, regions)
        values[f"area/{name}"] = _where_present(regions.mean(axis=(1, 2)), regions)
    found = patient_means(values, patients)
    for name in structures:
        hits = values[f"pointing/{name}"]
        shown = ~np.isnan(hits)
        if shown.any():
            low, high = clustered(hits[shown], owners(patients[shown])[0])
            score = found[f"pointing/{name}"]["patient"]
            found[f"pointing/{name}"] = {"patient": replace(score, low=low, high=high)}
    return found


def _where_present(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.where(masks.any(axis=(1, 2)), values, np.nan)
