"""The chapter in miniature: two tiny models with inputs of different sides, random images."""

import pytest

from fetalclip_nb.data.fetal_planes import read_fetal_planes
from fetalclip_nb.experiments.cam import gallery as galleries
from fetalclip_nb.experiments.cam import trial as trials
from fetalclip_nb.experiments.cam.images import choose
from fetalclip_nb.models.model import load_model
from helpers import write_config, write_planes

BRAINS = ("Trans-thalamic", "Trans-cerebellum", "Trans-ventricular")
OTHERS = ("Fetal abdomen", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other")
METHODS = ("scorecam", "gradcam")


@pytest.fixture(scope="session")
def planes(tmp_path_factory):
    """An image of each plane and sub-plane of each of three patients."""
    kinds = [("Fetal brain", brain) for brain in BRAINS]
    kinds += [(plane, "Not A Brain") for plane in OTHERS]
    rows = [
        f"Patient{patient:05d}_Plane{k}_1_of_1;{patient};{plane};{brain};Other;Aloka;0"
        for patient in (1, 2, 3)
        for k, (plane, brain) in enumerate(kinds)
    ]
    return read_fetal_planes(write_planes(tmp_path_factory.mktemp("planes"), rows))


@pytest.fixture(scope="session")
def gallery(planes, tmp_path_factory):
    """Maps of two images of each class."""
    folder = tmp_path_factory.mktemp("gallery")
    models = []
    for name, side in (("tiny", 32), ("tiny-untrained", 48)):
        vision = {"image_size": side, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8}
        path = write_config(folder / f"{side}.json", vision_cfg=vision)
        models.append(load_model(f"{name}={path}-untrained", device="cpu"))
    chosen = choose(planes, ("planes", "brain"), 2, seed=0)
    return galleries.make_maps(models, chosen, METHODS, cache_dir=folder, batch_size=None)


@pytest.fixture(scope="session")
def trial(gallery):
    """Their trial."""
    return trials.put_to_test(gallery, trials.all_kinds(gallery, draws=2, seed=0), steps=4, seed=0)
