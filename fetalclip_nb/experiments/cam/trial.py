"""The trial of the maps: deletion and insertion, against rivals and against chance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fetalclip_nb.experiments.cam.controls import at_side, centre_map, random_maps
from fetalclip_nb.experiments.cam.faithfulness import backgrounds, faithfulness_curves
from fetalclip_nb.experiments.cam.gallery import Gallery
from fetalclip_nb.experiments.cam.images import pixels_of
from fetalclip_nb.experiments.cam.maps import TITLES
from fetalclip_nb.experiments.cam.probabilities import scorer
from fetalclip_nb.experiments.cam.scores import (
    Units,
    areas,
    class_answers,
    class_means,
    similarity_scores,
)
from fetalclip_nb.models.tower import vision_tower
from fetalclip_nb.stats.answers import Answers

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """Every kind of map of the first task, judged by the headline model.

    Attributes:
        kinds: Title to maps: the headline's first, then its further methods, the other models'
            maps, random maps (R, N, S, S), and the one centre map (S, S).
        rivals: Titles of the headline's further methods to names of these methods.
        curves: Title to "deletion" and "insertion" curves, both on a blurred copy, and "black",
            deletion with black in its place.
        areas: Title to areas of each image; also of each other model, judged by itself.
        scores: Title to mean areas, overall and by class.
        blacks: Title to scores with black in place of the blur for deletion.
        answers: Title to what makes its scores, image by image.
        patients: Patient of each image, shape (N,).
    """

    kinds: dict[str, np.ndarray]
    rivals: dict[str, str]
    curves: dict[str, dict[str, np.ndarray]]
    areas: dict[str, dict[str, np.ndarray]]
    scores: dict[str, Units]
    blacks: dict[str, Units]
    answers: dict[str, Answers]
    patients: np.ndarray

    @property
    def headline(self) -> str:
        """The kind that is tested."""
        return next(iter(self.kinds))

    def of(self, values: Mapping[str, T]) -> dict[str, T]:
        """Some values of the headline maps and of those that know less than it.

        These are other models' maps, random maps and the centre.
        """
        return {kind: values[kind] for kind in self.kinds if kind not in self.rivals}


def all_kinds(gallery: Gallery, *, draws: int, seed: int) -> dict[str, np.ndarray]:
    """The maps that are compared, see `Trial.kinds`.

    Args:
        gallery: Maps of all models.
        draws: Random maps of each image.
        seed: Seed of the random maps.
    """
    first, side = gallery.headline, gallery.side
    kinds = {first: gallery.of(gallery.main).maps}
    for title, method in zip(_rivals(gallery), gallery.methods[1:], strict=True):
        kinds[title] = gallery.of(gallery.main, method=method).maps
    for name in gallery.others:
        kinds[f"maps of {name}"] = at_side(gallery.of(gallery.main, name).maps, side)
    n, grid = len(kinds[first]), vision_tower(gallery.models[first]).grid
    noise = [random_maps(n, side, grid, seed + i) for i in range(draws)]
    return kinds | {"random map": np.stack(noise), "centre map": centre_map(side)}


def _rivals(gallery: Gallery) -> dict[str, str]:
    """Titles of the headline model's further methods to names of these methods."""
    titles = [TITLES[method] for method in gallery.methods[1:]]
    return {f"{gallery.headline} ({title})": title for title in titles}


def put_to_test(
    gallery: Gallery, kinds: Mapping[str, np.ndarray], *, steps: int, seed: int
) -> Trial:
    """Take pixels away and show them in the order of each kind of map.

    Args:
        gallery: Maps and models.
        kinds: As given by `all_kinds`.
        steps: Equal parts of the pixels.
        seed: Seed of the order of equal pixels.
    """
    first, images = gallery.headline, gallery.chosen.images[gallery.main]
    units = gallery.chosen.labels(gallery.main), images.table["patient"].to_numpy()
    options = {"steps": steps, "seed": seed}
    curves = _judged(gallery, first, kinds, ("deletion", "insertion", "black"), **options)
    area = {kind: areas(of["insertion"], of["deletion"]) for kind, of in curves.items()}
    black = {kind: areas(of["insertion"], of["black"]) for kind, of in curves.items()}
    for name in gallery.others:
        own = {name: gallery.of(gallery.main, name).maps}
        of = _judged(gallery, name, own, ("deletion", "insertion"), **options)[name]
        area[name] = areas(of["insertion"], of["deletion"])
    scores, blacks = (
        {kind: class_means(values, *units) for kind, values in each.items()}
        for each in (area, black)
    )
    answers = {
        kind: class_answers(each, "difference", units[0], images.table)
        for kind, each in area.items()
    }
    for kind, each in black.items():
        found = class_answers(each, "difference", units[0], images.table)
        answers[kind] |= {f"black/{name}": table for name, table in found.items()}
    return Trial(dict(kinds), _rivals(gallery), curves, area, scores, blacks, answers, units[1])


def _judged(
    gallery: Gallery,
    judge: str,
    kinds: Mapping[str, np.ndarray],
    modes: Sequence[str],
    **options: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Curves of some kinds of maps of the first task, by one model's own probabilities."""
    model, targets = gallery.models[judge], np.array(gallery.targets(gallery.main, judge))
    score = scorer(model, gallery.vectors[judge, gallery.main])
    pixels = pixels_of(model, gallery.chosen.images[gallery.main])
    every = backgrounds(pixels, model.preprocess)
    grounds = {mode: every[mode] for mode in modes}
    return {
        kind: faithfulness_curves(score, pixels, maps, targets, grounds, **options)
        for kind, maps in kinds.items()
    }


def likeness(trial: Trial, another: np.ndarray) -> dict[str, Units]:
    """Rank correlation of each kind of map with the headline map of the same image.

    Args:
        trial: All kinds of maps.
        another: The headline maps for another class, shape (N, S, S).

    Returns:
        "another class" and the kinds that have one map an image, to the score "similarity".
    """
    first, *others = trial.kinds
    compared = {kind: trial.kinds[kind] for kind in others if trial.kinds[kind].ndim == 3}
    return {
        kind: similarity_scores(trial.kinds[first], maps, trial.patients)
        for kind, maps in {"another class": another, **compared}.items()
    }


def results(
    trial: Trial, alike: Mapping[str, Units]
) -> Iterator[tuple[str, str, str, Units, Answers]]:
    """Model or control, method (of the headline's further ones), kind, scores, answers of rows.

    Args:
        trial: Areas, blacks and answers.
        alike: As given by `likeness`.
    """
    for kind, scores in trial.scores.items():
        black = {f"black/{name}": units for name, units in trial.blacks.get(kind, {}).items()}
        like = alike.get("another class" if kind == trial.headline else kind, {})
        every = scores | black | like
        name = trial.headline if kind in trial.rivals else kind
        is_model = kind == trial.headline or kind not in trial.kinds
        row = (name, trial.rivals.get(kind, ""), "model" if is_model else "control")
        yield *row, every, trial.answers[kind]
