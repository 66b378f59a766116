from pathlib import Path

import numpy as np
import pytest

from fetalclip_nb.ask.search import (
    nearest_images,
    own_ids,
    picture,
    search_each,
    search_images,
)
from fetalclip_nb.data.fetal_planes import read_fetal_planes
from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.models import embed
from fetalclip_nb.models.store import Embeddings
from fetalclip_nb.phantoms.cohorts import write_fetal_planes
from helpers import write_heads, write_planes


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Planes of twelve patients."""
    root = tmp_path_factory.mktemp("phantoms") / "planes"
    write_fetal_planes(root, patients=12, seed=5, workers=1)
    return read_fetal_planes(root)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def square() -> Embeddings:
    """Four directions, of different lengths, and one of them twice."""
    vectors = np.float32([[2, 0], [0, 5], [-1, 0], [3, 3], [1, 1]])
    return Embeddings(vectors, ("east", "north", "west", "far", "near"), {})


def test_nearest_by_hand(square):
    found = nearest_images(square, np.array([10.0, 0.0]), 5)
    assert list(found["id"]) == ["east", "far", "near", "north", "west"]
    assert list(found["rank"]) == [1, 2, 3, 4, 5]
    assert found["similarity"].to_numpy() == pytest.approx([1, 0.5**0.5, 0.5**0.5, 0, -1])
    assert list(nearest_images(square, np.array([-1.0, 0.1]), 1)["id"]) == ["west"]


def test_nearest_leaves_out_what_it_is_told_to(square):
    found = nearest_images(square, np.array([1.0, 0.0]), 2, exclude=["east", "far", "unknown"])
    assert list(found["id"]) == ["near", "north"] and list(found["rank"]) == [1, 2]


def test_nearest_agrees_with_one_by_one_comparison():
    rng = np.random.default_rng(0)
    embedded = Embeddings(
        rng.normal(size=(200, 7)).astype(np.float32), tuple(map(str, range(200))), {}
    )
    query = rng.normal(size=7)
    slow = {
        name: vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
        for name, vector in zip(embedded.ids, embedded.vectors, strict=True)
    }
    found = nearest_images(embedded, query, 20)
    assert list(found["id"]) == sorted(slow, key=slow.get, reverse=True)[:20]
    assert list(found["similarity"]) == pytest.approx([slow[name] for name in found["id"]])


def test_sentences_find_their_planes(model, phantoms, cache):
    """Chance would find the label among the first three in a fifth of the cases."""
    sets = load_prompts("planes")
    hits = [
        label.split(",")[0] == plane
        for plane in ("abdomen", "brain", "femur", "heart", "cervix")
        for label in search_images(model, phantoms, text=sets[plane][0], cache_dir=cache, k=3)[
            "label"
        ]
    ]
    assert len(hits) == 15 and np.mean(hits) > 0.8


def test_answers_carry_what_the_data_set_knows(model, phantoms, cache):
    found = search_images(
        model, phantoms, text="a transverse view of the cerebellum", cache_dir=cache, k=4
    )
    assert list(found) == ["rank", "similarity", "id", "label", "patient", "path"]
    table = phantoms.table.set_index("id")
    for row in found.itertuples():
        expected = table.loc[row.id]
        label = ", ".join(filter(None, [expected["plane"], expected["brain_plane"]]))
        assert (row.label, row.patient, row.path) == (label, expected["patient"], expected["path"])
    assert found["similarity"].is_monotonic_decreasing


def test_patient_of_the_query_may_be_left_out(model, phantoms, cache, tmp_path):
    patient = phantoms.table["patient"].value_counts().index[0]
    rows = phantoms.table["patient"] == patient
    assert rows.sum() > 1
    image = phantoms.root / phantoms.table.loc[rows, "path"].iloc[0]
    rest = int((~rows).sum())
    options = {"image": image, "cache_dir": cache, "other_patients": True}
    found = search_images(model, phantoms, k=rest, **options)
    assert set(found["id"]) == set(phantoms.table.loc[~rows, "id"])
    with pytest.raises(ParameterError, match=f"1 to {rest}. Found"):
        search_images(model, phantoms, k=rest + 1, **options)


def test_several_sentences_are_answered_one_after_the_other(model, phantoms, cache):
    found = search_each(model, phantoms, ["a head", "a femur"], cache_dir=cache, k=2)
    assert found["rank"].tolist() == [1, 2, 1, 2] and all(path.is_file() for path in found["file"])


def test_own_ids_see_through_links_and_relative_names(phantoms, tmp_path, monkeypatch):
    own = phantoms.table.iloc[3]
    link = tmp_path / "link.png"
    link.symlink_to(phantoms.root / own["path"])
    assert own_ids(phantoms, link) == [own["id"]]
    monkeypatch.chdir(phantoms.root)
    assert own_ids(phantoms, own["path"]) == [own["id"]]
    assert own_ids(phantoms, tmp_path / "none.png") == []


def test_data_sets_without_labels_are_searched_too(model, cache, tmp_path):
    heads = read_hc18(write_heads(tmp_path / "heads"))
    found = search_images(model, heads, text="a head", cache_dir=cache, k=2)
    assert list(found["label"]) == ["", ""] and set(found["id"]) <= set(heads.table["id"])


def test_nothing_is_encoded_for_a_search_that_cannot_be_made(tmp_path, monkeypatch):
    planes = read_fetal_planes(write_planes(tmp_path / "planes"))
    for name in ("image_embeddings", "prepared_embedding", "text_embeddings"):
        monkeypatch.setattr(embed, name, lambda *_, **__: pytest.fail("encoded"))
    for wrong, found in (
        ({}, "none"),
        ({"text": " "}, "an empty sentence"),
        ({"text": "a head", "image": "a.png"}, "both"),
        ({"text": "a head", "image": ""}, "both"),
    ):
        with pytest.raises(ParameterError, match=f"one thing.*Found: {found}"):
            search_images(None, planes, cache_dir=tmp_path, **wrong)


def test_picture_shows_query_and_answers_in_order(model, phantoms, cache):
    image = phantoms.paths[0]
    found = search_images(model, phantoms, image=image, cache_dir=cache, k=3)
    figure = picture(found, phantoms.root, image=image)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[0] == "looked for" and len(titles) == 4
    for title, row in zip(titles[1:], found.itertuples(), strict=True):
        assert title == f"{row.label}\n{row.similarity:.2f}"
    found["label"] = r"$\x$"  # begins no formula
    figure = picture(found, phantoms.root, text=r"$\y$ for a head")
    figure.canvas.draw()
    assert figure.get_suptitle() == r"$\y$ for a head" and len(figure.axes) == 3
