import numpy as np
import pytest

import segments
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.cam import controls, regions
from fetalclip_nb.experiments.cam.images import pixels_of
from fetalclip_nb.experiments.cam.maps import cam_maps
from fetalclip_nb.experiments.segmentation import squares


def box(side, top, bottom, left, right):
    found = np.zeros((side, side), bool)
    found[top:bottom, left:right] = True
    return found


def test_regions_are_those_of_segmentation_in_the_order_asked_for(trunks, tmp_path):
    found = regions.region_masks(trunks, [7, 0, 3], 40)
    store = squares.task_squares(trunks, 40, preparation="ours", cache_dir=tmp_path)
    whole = squares.unpack(store.arrays["masks"][[7, 0, 3]], 40)
    assert found.shape == (3, 3, 40, 40) and found.dtype == bool
    assert (found == whole).all() and found.any((0, 2, 3)).all()


def test_regions_of_a_wide_picture_are_padded_and_any_side_will_do(tmp_path):
    task = segments.shapes(tmp_path / "discs", n=1)
    region = task.read(0)[0]
    height, width = region.shape
    square = np.zeros((width, width), bool)
    top = (width - height) // 2
    square[top : top + height] = region
    assert (regions.region_masks(task, [0], width)[0, 0] == square).all()
    small = regions.region_masks(task, [0], 27)[0, 0]
    assert small.mean() == pytest.approx(square.mean(), rel=0.05)
    y, x = np.nonzero(small)
    # The disc's centre, on a padded square of 90 pixels reduced to 27.
    assert (x.mean(), y.mean()) == pytest.approx((36 * 0.3, (36 + 15) * 0.3), abs=0.6)


def test_pointing_by_hand():
    maps = np.zeros((6, 4, 4))
    maps[0, 1, 1] = maps[1, 3, 3] = 1.0  # inside, outside
    maps[2, 1, 1] = maps[2, 3, 3] = maps[2, 0, 3] = 0.5  # one of three maximal pixels inside
    maps[3] = 0.7  # the same everywhere
    masks = np.stack([box(4, 0, 2, 0, 2)] * 6)
    masks[5] = False
    maps[5, 1, 1] = 1.0
    found = regions.pointing(maps, masks)
    assert found[:5] == pytest.approx([1, 0, 1 / 3, 0.25, 0.25])
    assert np.isnan(found[5])


@pytest.mark.filterwarnings("error")
def test_energy_by_hand():
    maps = np.zeros((4, 2, 2))
    maps[0] = [[1, 2], [3, 4]]
    maps[1] = 0.2
    maps[3] = 1
    masks = np.stack([box(2, 0, 1, 0, 2)] * 4)
    masks[3] = False
    found = regions.energy(maps, masks)
    assert found[:2] == pytest.approx([0.3, 0.5])
    assert np.isnan(found[2:]).all()  # a map of nothing, a structure that is absent


def test_scores_are_means_over_images_that_show_a_structure():
    maps = np.zeros((3, 4, 4))
    maps[0, 0, 0] = maps[1, 3, 3] = 1.0
    masks = np.zeros((3, 2, 4, 4), bool)
    masks[:, 0] = box(4, 0, 2, 0, 2)
    masks[1, 0] = False
    masks[0, 1] = True
    patients = np.array(["a", "b", "b"])
    found = regions.region_scores(maps, masks, ["spine", "heart"], patients)
    values = {name: units["patient"].value for name, units in found.items()}
    assert values == pytest.approx(
        {
            # Images 0 and 2; the third map is 0 everywhere.
            "pointing/spine": (1 + 0.25) / 2,
            "energy/spine": 1.0,
            "area/spine": 0.25,
            "pointing/heart": 1.0,
            "energy/heart": 1.0,
            "area/heart": 1.0,
        }
    )
    n = {name: units["patient"].n for name, units in found.items()}
    assert (n["pointing/spine"], n["energy/spine"], n["area/heart"]) == (2, 1, 1)
    # One image shows the heart, and is hit: of one patient this says next to nothing.
    heart = found["pointing/heart"]["patient"]
    assert (heart.low, heart.high) == (pytest.approx(0.025), 1)


def test_one_map_for_all_images_and_structures_that_no_image_shows():
    masks = np.zeros((4, 2, 8, 8), bool)
    masks[:, 0, 2:6, 2:6] = True
    middle = np.ones((8, 8))
    middle[3:5, 3:5] = 2
    found = regions.region_scores(middle, masks, ["heart", "aorta"], np.arange(4).astype(str))
    assert list(found) == ["pointing/heart", "energy/heart", "area/heart"]
    assert found["pointing/heart"]["patient"].value == 1
    assert found["energy/heart"]["patient"].value == pytest.approx(20 / 68)


def test_some_images_are_of_different_patients_with_their_rows(trunks):
    table = trunks.dataset.table
    patients = table["patient"].nunique()
    drawn, rows = regions.some_images(trunks, patients, seed=3)
    assert drawn.table["patient"].nunique() == len(drawn) == patients
    assert drawn.table["id"].tolist() == table["id"].iloc[rows].tolist()
    assert len(regions.some_images(trunks, 10_000, seed=0)[1]) == len(table)
    with pytest.raises(ParameterError, match="No images to map"):
        regions.some_images(trunks, 0, seed=0)


def test_maps_of_all_models_and_of_none_are_judged_by_the_same_outlines(gallery, trunks):
    found = regions.judge_regions(gallery, {"abdomen": trunks}, count=3, seed=1)
    images, rows = regions.some_images(trunks, 3, 1)
    masks, patients = regions.region_masks(trunks, rows, 32), images.table["patient"].to_numpy()
    asked = gallery.classes["tiny", "five_planes"].index("abdomen")
    maps = {"random map": controls.random_maps(3, 32, 4, 1), "centre map": controls.centre_map(32)}
    for name, model in gallery.models.items():
        vectors = gallery.vectors[name, "five_planes"]
        made = cam_maps(model, pixels_of(model, images), vectors, [asked] * 3).maps
        maps[name] = controls.at_side(made, 32)
    assert found.scores.keys() == {(kind, "abdomen") for kind in maps} and found.made == 6
    for kind, of_kind in maps.items():
        expected = regions.region_scores(of_kind, masks, trunks.structures, patients)
        for name, units in expected.items():
            value = found.scores[kind, "abdomen"][name]["patient"].value
            assert value == pytest.approx(units["patient"].value, abs=1e-3), (kind, name)
