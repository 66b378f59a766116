"""The trial of the maps: deletion and insertion, against rivals and against chance."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fetalclip_nb.experiments.cam.controls import (
    at_side,
    centre_map,
    random_maps,
    rank_correlations,
)
from fetalclip_nb.experiments.cam.faithfulness import backgrounds, faithfulness_curves
from fetalclip_nb.experiments.cam.gallery import Gallery
from fetalclip_nb.experiments.cam.images import pixels_of
from fetalclip_nb.experiments.cam.maps import TITLES
from fetalclip_nb.experiments.cam.probabilities import scorer
from fetalclip_nb.experiments.cam.scores import advantage, area_under, areas, faithfulness_scores
from fetalclip_nb.models.tower import vision_tower
from fetalclip_nb.stats.patients import patient_means
from fetalclip_nb.stats.scores import Score

TASK = "five_planes"

Units = dict[str, dict[str, Score]]
"""Metric to unit to score, as result files take them."""


@dataclass(frozen=True)
class Trial:
    """Every kind of map of the planes, judged by the headline model.

    Attributes:
        kinds: Title to maps: the headline's first, then its further methods, the other models'
            maps, random maps (R, N, S, S), and the one centre map (S, S).
        rivals: Titles of the headline's further methods.
        methods: Names of these methods.
        curves: Title to deletion and insertion curves, both on a blurred copy.
        areas: Title to areas of each image; also of each other model, judged by itself.
        scores: Title to mean areas, overall and by class.
        gains: Title to how far the headline maps are ahead of it, image by image.
        blacks: Title to scores with black in place of the blur for deletion.
        black: What the headline model makes of a black image, shape (C,).
        labels: Class of each image, shape (N,).
        patients: Patient of each image, shape (N,).
    """

    kinds: dict[str, np.ndarray]
    rivals: list[str]
    methods: list[str]
    curves: dict[str, dict[str, np.ndarray]]
    areas: dict[str, dict[str, np.ndarray]]
    scores: dict[str, Units]
    gains: dict[str, Units]
    blacks: dict[str, Units]
    black: np.ndarray
    labels: np.ndarray
    patients: np.ndarray

    @property
    def headline(self) -> str:
        """The kind that is tested."""
        return next(iter(self.kinds))

    @property
    def controls(self) -> list[str]:
        """Kinds that know less: other models' maps, random maps, the centre."""
        return [kind for kind in self.kinds if kind not in (self.headline, *self.rivals)]

    def of(self, values: Mapping[str, Units], *, headline: bool = True) -> dict[str, Units]:
        """Some scores of the controls, and of the headline maps before them."""
        names = [self.headline] * headline + self.controls
        return {kind: values[kind] for kind in names}


def all_kinds(gallery: Gallery, *, draws: int, seed: int) -> dict[str, np.ndarray]:
    """The maps that are compared, see `Trial.kinds`.

    Args:
        gallery: Maps of all models.
        draws: Random maps of each image.
        seed: Seed of the random maps.
    """
    first, side = gallery.headline, gallery.side
    kinds = {
        f"{first} ({TITLES[method]})": gallery.of(TASK, method=method).maps
        for method in gallery.methods[1:]
    }
    kinds = {first: gallery.of(TASK).maps} | kinds
    for name in gallery.others:
        kinds[f"maps of {name}"] = at_side(gallery.of(TASK, name).maps, side)
    n, grid = len(kinds[first]), vision_tower(gallery.models[first]).grid
    noise = [random_maps(n, side, grid, seed + i) for i in range(draws)]
    return kinds | {"random map": np.stack(noise), "centre map": centre_map(side)}


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
    chosen, first = gallery.chosen, gallery.headline
    labels, patients = chosen.labels(TASK), chosen.images[TASK].table["patient"].to_numpy()
    targets, model = np.array(chosen.targets[TASK]), gallery.models[first]
    judge = scorer(model, gallery.vectors[first, TASK])
    pixels = pixels_of(model, chosen.images[TASK])
    blur = backgrounds(pixels, model.preprocess, deletion="blur")
    black = backgrounds(pixels, model.preprocess)["deletion"]
    curves, blackened = {}, {}
    for kind, maps in kinds.items():
        curves[kind] = faithfulness_curves(
            judge, pixels, maps, targets, blur, steps=steps, seed=seed
        )
        blackened[kind] = faithfulness_curves(
            judge, pixels, maps, targets, {"deletion": black}, steps=steps, seed=seed
        )
    area = {kind: areas(of_kind) for kind, of_kind in curves.items()}
    area |= {name: _own_areas(gallery, name, steps, seed) for name in gallery.others}
    mine = area[first]["difference"]
    return Trial(
        dict(kinds),
        [f"{first} ({TITLES[method]})" for method in gallery.methods[1:]],
        [TITLES[method] for method in gallery.methods[1:]],
        curves,
        area,
        {
            kind: faithfulness_scores(of["deletion"], of["insertion"], labels, patients)
            for kind, of in area.items()
        },
        {
            kind: advantage(mine, area[kind]["difference"], labels, patients, name="ahead")
            for kind in kinds
            if kind != first
        },
        {
            kind: faithfulness_scores(
                area_under(blackened[kind]["deletion"]), area[kind]["insertion"], labels, patients
            )
            for kind in kinds
        },
        judge(black[None])[0],
        labels,
        patients,
    )


def _own_areas(gallery: Gallery, name: str, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Areas of another model's maps, judged by that model itself."""
    model, targets = gallery.models[name], np.array(gallery.chosen.targets[TASK])
    pixels = pixels_of(model, gallery.chosen.images[TASK])
    blur = backgrounds(pixels, model.preprocess, deletion="blur")
    judge, maps = scorer(model, gallery.vectors[name, TASK]), gallery.of(TASK, name).maps
    return areas(faithfulness_curves(judge, pixels, maps, targets, blur, steps=steps, seed=seed))


def likeness(trial: Trial, another: np.ndarray) -> dict[str, Units]:
    """Rank correlation of each kind of map with the headline map of the same image.

    Args:
        trial: All kinds of maps.
        another: The headline maps for another class, shape (N, S, S).

    Returns:
        "another class" and the kinds that have one map an image, to the score "similarity".
    """
    first = trial.kinds[trial.headline]
    compared = {"another class": another} | {
        kind: maps
        for kind, maps in trial.kinds.items()
        if kind != trial.headline and maps.ndim == 3
    }
    return {
        kind: patient_means({"similarity": rank_correlations(first, maps)}, trial.patients)
        for kind, maps in compared.items()
    }


def results(trial: Trial, alike: Mapping[str, Units]) -> Iterator[tuple[str, str, str, Units]]:
    """Model or control, method (of the headline's further ones), kind and scores of each row.

    Args:
        trial: Areas, gains and blacks.
        alike: As given by `likeness`.
    """
    methods = dict(zip(trial.rivals, trial.methods, strict=True))
    for kind, scores in trial.scores.items():
        black = {f"black/{name}": units for name, units in trial.blacks.get(kind, {}).items()}
        like = alike.get("another class" if kind == trial.headline else kind, {})
        every = scores | black | trial.gains.get(kind, {}) | like
        name = trial.headline if kind in methods else kind
        is_model = kind == trial.headline or kind not in trial.kinds
        yield name, methods.get(kind, ""), "model" if is_model else "control", every
