"""Do maps point at the structure? Their peak and their energy inside annotated regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.mask_files import padded_mask, reduced_mask
from fetalclip_nb.experiments.cam.controls import at_side, blind_maps
from fetalclip_nb.experiments.cam.gallery import Gallery
from fetalclip_nb.experiments.cam.images import some_per_class
from fetalclip_nb.experiments.cam.maps import class_maps
from fetalclip_nb.models.tower import vision_tower
from fetalclip_nb.stats import scores
from fetalclip_nb.stats.patients import patient_means
from fetalclip_nb.stats.scores import Score
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
    scores: dict[tuple[str, str], dict[str, dict[str, Score]]]
    made: int


def judge_regions(
    gallery: Gallery,
    tasks: Mapping[str, MaskTask],
    *,
    count: int,
    seed: int,
    cache_dir: Path,
    batch_size: int | None,
) -> Outlined:
    """Map outlined images for the class that each task is about, and look inside.

    Args:
        gallery: Models and their class vectors.
        tasks: Images and masks; may be none.
        count: Images of each task.
        seed: Seed of the draw, and of the random maps.
        cache_dir: Folder that all notebooks share.
        batch_size: Masked images in a forward pass; None for what suits the device.
    """
    side, scores, made = gallery.side, {}, 0
    grid = vision_tower(gallery.models[gallery.headline]).grid
    for task, outlined in tasks.items():
        images, rows = some_images(outlined, count, seed)
        asked = list(gallery.chosen.prompts["five_planes"]).index(TASK_CLASS[task])
        masks = region_masks(outlined, rows, side)
        maps = {}
        for name, model in gallery.models.items():
            cams = class_maps(
                model,
                images,
                gallery.vectors[name, "five_planes"],
                [asked] * len(images),
                method=gallery.methods[0],
                cache_dir=cache_dir,
                batch_size=batch_size,
            )
            maps[name] = at_side(cams.maps, side)
            made += len(cams.maps)
        maps |= blind_maps(len(images), side, grid, seed)
        for kind, of_kind in maps.items():
            scores[kind, task] = region_scores(
                of_kind, masks, outlined.structures, images.table["patient"]
            )
    return Outlined(dict(tasks), scores, made)


def some_images(task: MaskTask, count: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Draw a few images of a task, of different patients as long as there are any.

    Args:
        task: Images and masks.
        count: Images; all of them where the task has fewer.
        seed: Seed of the draw.

    Returns:
        The images, and their row numbers in the task.
    """
    labelled = task.dataset.table.assign(label=task.name, row=np.arange(len(task.dataset)))
    drawn = some_per_class(replace(task.dataset, table=labelled), [task.name], count, seed)
    return drawn, drawn.table["row"].to_numpy()


def region_masks(task: MaskTask, rows: Sequence[int], side: int) -> np.ndarray:
    """Annotated regions as the encoder's squares show them.

    They are padded as the images are and reduced as for segmentation: a pixel is inside where
    at least half of it is. A small structure may vanish on a coarse picture; it then counts as
    absent.

    Args:
        task: Images and masks.
        rows: Row numbers of n images.
        side: Side of the model's input in pixels.

    Returns:
        bool of shape (n, C, side, side).
    """
    found = np.zeros((len(rows), len(task.structures), side, side), dtype=bool)
    for masks, row in zip(found, rows, strict=True):
        masks[:] = [reduced_mask(padded_mask(region), side) for region in task.read(row)]
    return found


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
    whole = maps.sum(axis=(1, 2))
    inside = np.where(masks, maps, 0).sum(axis=(1, 2))
    share = np.divide(inside, whole, out=np.full(len(maps), np.nan), where=whole > 0)
    return _where_present(share, masks)


def area(masks: np.ndarray) -> np.ndarray:
    """Share of the picture that each region covers: what a map without knowledge gets.

    Args:
        masks: Regions, bool of shape (n, S, S).

    Returns:
        float64 of shape (n,); NaN where the structure is absent.
    """
    return _where_present(masks.mean(axis=(1, 2)), masks)


def region_values(
    maps: np.ndarray, masks: np.ndarray, structures: Sequence[str]
) -> dict[str, np.ndarray]:
    """Pointing, energy and area share of each structure in each image.

    Args:
        maps: One map an image, shape (n, S, S), or (S, S) for one map of all images.
        masks: bool of shape (n, C, S, S).
        structures: C names.

    Returns:
        pointing/STRUCTURE, energy/STRUCTURE and area/STRUCTURE, float64 of shape (n,).
    """
    maps = np.broadcast_to(maps, (len(masks), *np.shape(maps)[-2:]))
    found = {}
    for name, regions in zip(structures, masks.swapaxes(0, 1), strict=True):
        found[f"pointing/{name}"] = pointing(maps, regions)
        found[f"energy/{name}"] = energy(maps, regions)
        found[f"area/{name}"] = area(regions)
    return found


def region_scores(
    maps: np.ndarray,
    masks: np.ndarray,
    structures: Sequence[str],
    patients: np.ndarray,
    *,
    resamples: int = scores.RESAMPLES,
) -> dict[str, dict[str, Score]]:
    """Means of `region_values` with intervals over patients.

    The n of a score counts its images: those that show the structure and, for energy, whose
    map is not 0 everywhere.

    Args:
        maps: One map an image, shape (n, S, S), or (S, S) for one map of all images.
        masks: As given by `region_masks`, bool of shape (n, C, S, S).
        structures: C names.
        patients: Patient of each image, shape (n,).
        resamples: Number of bootstrap resamples.

    Returns:
        pointing/STRUCTURE, energy/STRUCTURE and area/STRUCTURE from 0 to 1, as `Session.save`
        takes them; none for a structure that no image shows.
    """
    values = region_values(maps, masks, structures)
    return patient_means(values, patients, resamples=resamples)


def _where_present(values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.where(masks.any(axis=(1, 2)), values, np.nan)
