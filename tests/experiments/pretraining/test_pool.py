"""The pool: what each picture is, and how batches vary it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fetalclip_nb.experiments.pretraining import pool as pools
from fetalclip_nb.experiments.pretraining.pool import (
    HEARTS,
    PARTS,
    PLANES,
    augment,
    cached_pool,
    draw_pool,
    stored_picture,
)
from fetalclip_nb.phantoms import DEFECTS, writer


def test_pool_does_not_depend_on_the_number_of_processes(recipe, monkeypatch):
    monkeypatch.setattr(writer, "FEW", 0)
    few = replace(recipe, heads=3, others=3, hearts=2, seed=4)
    alone, together = draw_pool(few, workers=1), draw_pool(few, workers=2)
    for name, values in vars(alone).items():
        np.testing.assert_array_equal(values, getattr(together, name))


def test_the_shipped_model_saw_these_pictures(recipe):
    """Mean grey of the first pictures; whatever cohorts do, these change with VERSION alone."""
    pool = draw_pool(replace(recipe, heads=4, others=4, hearts=4, seed=0))
    means = [39.75, 13.59, 18.37, 22.14, 30.94, 35.34, 23.67, 63.1, 38.16, 40.13, 37.89, 55.43]
    assert pools.VERSION == 1
    assert pool.images.mean(axis=(1, 2)) == pytest.approx(means, abs=0.05)


def test_pool_is_drawn_once(tmp_path, recipe, bars, monkeypatch):
    first = cached_pool(tmp_path, recipe, workers=1)
    monkeypatch.setattr(pools, "draw_pool", None)
    assert np.array_equal(cached_pool(tmp_path, recipe, workers=1).images, first.images)
    monkeypatch.setattr(pools, "VERSION", pools.VERSION + 1)
    with pytest.raises(TypeError, match="not callable"):
        cached_pool(tmp_path, recipe, workers=1)


def test_pool_tells_what_each_picture_is(pool):
    heads = np.isfinite(pool.hc_mm)
    assert heads.sum() == 12
    assert set(pool.plane[heads]) == {PLANES.index("brain")}
    assert set(pool.part[heads]) == {-1, 0, 1, 2}
    assert set(pool.part[~heads & ~pool.clip]) == {-1}
    # 60 pixels of 0.5 mm on 224 pixels.
    assert pool.spacing_mm[~pool.clip] == pytest.approx(60 * 0.5 / 224)


def test_pool_names_the_chambers_of_every_clip(pool):
    assert pool.clip.sum() == 8
    assert set(pool.plane[pool.clip]) == {PLANES.index("thorax")}
    names = [PARTS[part] for part in pool.part[pool.clip]]
    assert names[::2] == [HEARTS[None]] * 4
    assert set(names[1::2]) == {HEARTS[defect] for defect in DEFECTS}
    # A grey clip paints the n-th heart of HEARTS with 40 n.
    grey = pool.images[pool.clip][:, 64, 64] / 40 - 1
    assert [list(HEARTS.values())[int(g)] for g in grey] == names


def test_other_views_with_a_name_get_that_name(recipe, bars):
    pool = draw_pool(replace(recipe, heads=0, others=90, hearts=0))
    counts = {plane: int((pool.plane == PLANES.index(plane)).sum()) for plane in PLANES}
    assert counts["other"] < 10 < counts["kidney"]
    assert counts["kidney"] + counts["other"] == 20


def test_stored_picture_is_padded_to_a_centred_square():
    picture = stored_picture(np.full((64, 128), 200, dtype=np.uint8))
    assert picture.shape == (128, 128)
    rows = picture.mean(axis=1)
    assert rows[:30].max() == rows[-30:].max() == 0
    assert rows[36:92] == pytest.approx(200)


def test_zoom_enlarges_what_is_seen():
    y, x = np.mgrid[:128, :128] - 63.5
    disc = torch.from_numpy(((np.hypot(x, y) < 20) * 200).astype(np.uint8)).expand(16, -1, -1)

    def area(zoom: float) -> float:
        generator = torch.Generator().manual_seed(0)
        grey = augment(disc, torch.full((16,), zoom), 64, generator)
        assert grey.shape == (16, 1, 64, 64)
        bright = grey > grey.amax(dim=(1, 2, 3), keepdim=True) / 2
        return float(bright.sum(dim=(1, 2, 3)).float().median())

    assert area(1.0) == pytest.approx(np.pi * 10**2, rel=0.15)
    assert area(1.5) / area(1.0) == pytest.approx(2.25, rel=0.1)


def test_augmentation_is_that_of_its_generator(pool):
    pictures, zoom = torch.from_numpy(pool.images[:4]), torch.ones(4)
    first, again, other = (
        augment(pictures, zoom, 32, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1
