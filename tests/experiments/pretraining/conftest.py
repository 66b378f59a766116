"""A small recipe, and drawings whose plane or defect can be read off a grey bar."""

from types import SimpleNamespace

import numpy as np
import open_clip
import pytest

from fetalclip_nb.experiments.pretraining import pool as pools
from fetalclip_nb.experiments.pretraining.recipe import Recipe, Stage
from fetalclip_nb.growth import head_circumference
from fetalclip_nb.paths import SHIPPED
from fetalclip_nb.phantoms import DEFECTS


@pytest.fixture(scope="package")
def recipe():
    sizes = {"heads": 12, "others": 18, "hearts": 8, "plane_batch": 8, "age_batch": 4}
    stages = (Stage(4), Stage(2, shared=True, hearts=3))
    return Recipe(stages=stages, **sizes, extra_ages=4, age_from_step=2)


def bar(plane, rng, *, brain_plane=None, age_days=140):
    """A picture whose plane can be read off the place of a bright bar."""
    image = rng.integers(0, 60, (40, 60)).astype(np.uint8)
    place = pools.PLANES.index(plane)
    image[:, 6 * place : 6 * place + 5] = 220
    return SimpleNamespace(
        image=image,
        brain_plane=brain_plane,
        hc_mm=float(head_circumference(age_days)) if plane == "brain" else None,
        patient=SimpleNamespace(age_days=age_days),
        pixel_mm=0.5,
        detail={"view": "kidney" if plane == "other" and rng.random() < 0.5 else plane},
    )


def grey_clip(rng, *, frames, defect=None):
    """Frames whose defect can be read off their brightness."""
    grey = 40 * (1 + [None, *DEFECTS].index(defect))
    return [np.full((40, 50), grey, np.uint8)] * frames


def draw_bars(patch):
    patch.setattr(pools, "draw", bar)
    patch.setattr(pools, "draw_clip", grey_clip)


@pytest.fixture
def bars(monkeypatch):
    """Bars are drawn in place of phantoms."""
    draw_bars(monkeypatch)


@pytest.fixture(scope="package")
def pool(recipe):
    """A pool of bars."""
    with pytest.MonkeyPatch.context() as patch:
        draw_bars(patch)
        return pools.draw_pool(recipe)


@pytest.fixture(scope="package")
def tokenizer():
    return open_clip.get_tokenizer(f"local-dir:{SHIPPED}")
