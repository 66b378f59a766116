from dataclasses import replace

import numpy as np
import pytest

from fetalclip_nb.data.images import read_square
from fetalclip_nb.errors import ModelError
from fetalclip_nb.experiments.cam import gallery as galleries
from fetalclip_nb.experiments.cam.images import other_targets, pixels_of
from fetalclip_nb.experiments.cam.maps import cam_maps
from fetalclip_nb.models.embed import image_embeddings
from fetalclip_nb.models.model import load_model
from fetalclip_nb.models.similarity import normalise
from helpers import write_config


def by_hand(gallery, name, task, targets, method):
    model = gallery.models[name]
    pixels = pixels_of(model, gallery.chosen.images[task])
    return cam_maps(model, pixels, gallery.vectors[name, task], targets, method=method)


def test_each_image_is_mapped_for_its_own_class(gallery):
    compared = [(name, "five_planes", "gradcam") for name in gallery.models]
    tested = [(name, task, "scorecam") for name in gallery.models for task in gallery.chosen.images]
    assert gallery.cams.keys() == {*tested, *compared}
    for (name, task, method), cams in gallery.cams.items():
        alone = by_hand(gallery, name, task, gallery.targets(task, name), method)
        np.testing.assert_allclose(cams.maps, alone.maps, atol=1e-4)
        np.testing.assert_allclose(cams.probabilities, alone.probabilities, atol=1e-5)
        assert gallery.of(task, name, method) is cams and cams.maps.std() > 0.05
    assert (gallery.headline, gallery.others, gallery.side) == ("tiny", ["tiny-untrained"], 32)
    assert gallery.of("five_planes") is gallery.cams["tiny", "five_planes", "scorecam"]


def test_the_share_of_right_names(gallery):
    table = gallery.named_rightly()
    for task, labels in table.items():
        classes = gallery.classes[gallery.headline, task]
        named = [classes[i] for i in gallery.of(task).probabilities.argmax(1)]
        right = [a == b for a, b in zip(named, gallery.chosen.labels(task), strict=True)]
        assert labels.tolist() == [f"{100 * sum(right) / len(right):.0f}"]


def test_what_is_shown_are_the_headlines_maps_and_answers(gallery):
    found = galleries.shown(gallery)
    for task, images in gallery.chosen.images.items():
        of_task = found[task]
        assert of_task.ids == images.table["id"].tolist()
        assert of_task.maps is gallery.of(task).maps
        for row, path in enumerate(images.paths):
            grey = np.asarray(read_square(path).convert("L").resize((32, 32), 3)) / 255
            assert of_task.images[row] == pytest.approx(grey)
        for label in set(gallery.chosen.labels(task)):
            rows = np.flatnonzero(gallery.chosen.labels(task) == label)
            assert of_task.rows_of(label).tolist() == rows.tolist()


def test_another_class_is_the_likeliest_of_the_others(gallery):
    own = gallery.of("five_planes")
    targets = other_targets(own.probabilities, gallery.targets("five_planes"))
    expected = by_hand(gallery, "tiny", "five_planes", targets, "scorecam").maps
    found = galleries.another_class(gallery)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (found != own.maps).any()


def test_an_encoder_without_text_chooses_between_means_of_other_patients_images(gallery, tmp_path):
    chosen = gallery.chosen
    tiny_encoder = replace(gallery.models["tiny"], tokenizer=None)
    classes, vectors = galleries.class_vectors(tiny_encoder, chosen, "brain_subplanes", tmp_path)
    assert classes == chosen.classes("brain_subplanes")
    embedded = image_embeddings(tiny_encoder, chosen.source, cache_dir=tmp_path)
    table = chosen.every["brain_subplanes"]
    mapped = set(chosen.images["brain_subplanes"].table["patient"])
    for name, vector in zip(classes, vectors, strict=True):
        rows = (table.table["label"] == name).to_numpy()
        others = rows & ~table.table["patient"].isin(mapped).to_numpy()
        expected = normalise(embedded.of(table.where(others))).mean(0)
        assert vector == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_a_model_without_maps_is_refused(gallery, tmp_path):
    vision = {"timm_model_name": "test_efficientnet", "image_size": 32}
    path = write_config(tmp_path / "stages.json", vision_cfg=vision)
    stages = load_model(f"stages={path}-untrained", device="cpu")
    options = {"cache_dir": tmp_path, "batch_size": None}
    with pytest.raises(ModelError, match="no plain vision transformer.*stages"):
        galleries.make_maps([stages], gallery.chosen, ("gradcam",), **options)
