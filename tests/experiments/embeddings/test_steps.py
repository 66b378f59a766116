"""The chapter's steps on a few phantoms and an untrained model."""

from dataclasses import replace

import numpy as np
import pytest

from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.experiments.embeddings import collection, figures, scores, tables
from fetalclip_nb.experiments.embeddings.clusters import cluster_scores, gap_scores, strays
from fetalclip_nb.experiments.embeddings.export import load_export
from fetalclip_nb.experiments.embeddings.projections import Maps, pca
from fetalclip_nb.growth import gestational_age

OPTIONS = {"k": 3, "metric": "cosine"}


@pytest.fixture(scope="module")
def images(few_planes, few_heads):
    table = few_heads.table.copy()
    table.loc[2, "hc_mm"] = 99.9
    return collection.Collection(few_planes, replace(few_heads, table=table))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chapter")


@pytest.fixture(scope="module")
def vectors(images, tiny_model, folder):
    models = [tiny_model, replace(tiny_model, name="again")]
    return collection.embed(models, images, export=folder, cache_dir=folder / "c", batch_size=8)


@pytest.fixture(scope="module")
def of_labels(vectors, images):
    return scores.label_scores(vectors, images, **OPTIONS, seed=0)


@pytest.fixture(scope="module")
def of_heads(vectors, images):
    return scores.head_scores(vectors, images, **OPTIONS)


def test_a_collection_knows_its_parts(images):
    assert images.beside == ["machine", "operator"]
    assert list(images.known) == ["class", "machine", "operator"]
    assert len(images.planes) == 56 and len(images.fine) == 13
    assert tables.by_machine(images.planes).loc["all", "all"] == 56
    heads = images.head_table
    assert images.counted.sum() == len(heads) == 9
    row = heads.iloc[0]
    assert row["pixels"] == pytest.approx(
        row.hc_mm / row.pixel_mm * 224 / max(row.width, row.height)
    )
    assert row["days"] == gestational_age(row.hc_mm)


def test_every_part_is_embedded_and_written(vectors, images, folder):
    sizes = {"planes": 56, "brain": 13, "heads": 10}
    expected = {(model, part): n for model in ("tiny", "again") for part, n in sizes.items()}
    assert {key: len(rows) for key, rows in vectors.items()} == expected
    export = load_export(folder / "embeddings-tiny-brain.npz")
    assert (export.vectors == vectors["tiny", "brain"]).all()
    assert export.table["id"].tolist() == images.fine["id"].tolist()
    assert len(tables.file_sizes(folder)) == 8


def test_labels_are_scored_one_by_one(of_labels, vectors, images):
    names = {name.split("/")[0] for name in of_labels["again"]}
    assert names == {"planes", "brain", "machine", "operator"}
    table, rows = images.planes, vectors["tiny", "planes"]
    machines = (table["machine"].to_numpy(), table["patient"].to_numpy())
    alone = cluster_scores(rows, *machines, within=table["label"].to_numpy(), **OPTIONS)
    for name, score in alone.items():
        assert of_labels["tiny"][f"machine/{name}"] == score
    saved = scores.by_patient(of_labels["tiny"])
    assert saved["planes/ari"] == {"patient": of_labels["tiny"]["planes/ari"]}


def test_heads_are_compared_where_they_count(of_heads, vectors, images):
    table, near = images.head_table, vectors["tiny", "heads"][images.counted]
    values = (table["days"].to_numpy(), table["patient"].to_numpy())
    gaps = gap_scores(near, *values, **OPTIONS, unit="days")
    assert of_heads["tiny"]["age_gap_days"] == gaps["gap"]
    assert of_heads["tiny"]["size_gap_chance_px"].unit == "px"
    assert list(tables.gap_table(of_heads)) == ["n", *tables.GAP_COLUMNS.values()]
    alone = {key: rows for key, rows in vectors.items() if key[1] != "heads"}
    assert scores.head_scores(alone, replace(images, heads=None), **OPTIONS) == {}


def test_maps_are_scored_beside_the_vectors(vectors, images, of_labels, of_heads):
    rows = vectors["tiny", "planes"]
    flat = scores.map_scores(rows, {"UMAP": rows[:, :2]}, images, **OPTIONS, seed=0)
    assert list(flat) == ["16 dimensions", "UMAP"]
    key = "planes/silhouette"
    assert flat["16 dimensions"][key] == of_labels["tiny"][key] != flat["UMAP"][key]
    options = {"k": 3, "distance": "cosine", "classes": list(load_prompts("planes"))}
    told = tables.facts(images, of_labels, of_heads, flat, **options)
    assert told["dimensions"] == 16 and told["images"] == 56 and told["patients"] == 8
    assert told["map_silhouette"] == f"{flat['UMAP'][key].value:.2f}"
    assert told["beside_sentence"].endswith(tables.PHANTOMS)
    assert told["heads_sentence"].startswith("For tiny, a head differs")
    told = tables.facts(replace(images, heads=None), of_labels, {}, flat, **options)
    assert told["heads_sentence"] == "No heads were given."


def test_answers_and_places_stand_beside_each_image(vectors, images, tiny_model, folder):
    rows, prompts = vectors["tiny", "planes"], load_prompts("planes")
    answers = scores.plane_answers(rows, tiny_model, prompts, folder)
    assert set(answers["prediction"]) <= set(prompts)
    assert answers["confidence"].str.fullmatch(r"\d+%").all() and len(answers) == 56
    points = tables.atlas_points(images.planes, rows[:, :2], answers)
    assert points["id"].tolist() == images.planes["id"].tolist()
    assert points["x"].tolist() == rows[:, 0].tolist()
    assert list(points)[2:4] == ["prediction", "confidence"]
    table = tables.map_table(images.planes, rows[:, :2], rows[:, 2:4], answers["prediction"])
    assert (table[["umap_x", "umap_y", "pca_x", "pca_y"]].to_numpy() == rows[:, :4]).all()
    assert table["prediction"].tolist() == answers["prediction"].tolist()


def test_strays_stand_above_their_nearest_images(vectors, images):
    labels, patients = (images.planes[name].to_numpy() for name in ("label", "patient"))
    found = strays(vectors["tiny", "planes"], labels, patients, metric="cosine")
    paths = images.images["planes"].paths
    shown, titles = tables.stray_images(found, paths, 2)
    rows = found[found["label"] != "other"].head(2)
    assert shown == [paths[i] for i in [*rows["row"], *rows["nearest"]]]
    assert titles[3] == f"nearest:\n{labels[rows['nearest'].iloc[1]]}"
    answers = images.planes.head(1).assign(label="brain, trans-thalamic", similarity=0.5)
    assert tables.answer_titles(answers) == ["trans-thalamic\n0.50"]


def test_maps_of_heads_show_those_that_count(vectors, images, figure_style):
    rows = vectors["tiny", "heads"]
    maps = Maps({("tiny", "heads"): rows[:, :2]}, {("tiny", "heads"): pca(rows)})
    figure = figures.head_maps(maps, images)
    assert [axis.get_title() for axis in figure.axes[:2]] == [
        "age (weeks)",
        "circumference in the picture (px)",
    ]
    drawn = np.asarray(figure.axes[0].collections[0].get_offsets())
    assert sorted(drawn[:, 0]) == sorted(rows[images.counted, 0])
