import warnings

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.experiments.embeddings import projections

SETTINGS = {"seed": 1, "neighbours": 15, "min_dist": 0.1}


def blobs(n=90, seed=0):
    """Three distant groups in 10 dimensions."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 3
    return (rng.normal(size=(n, 10)) + 20 * np.eye(10)[group]).astype(np.float32), group


def test_principal_components_are_those_of_the_covariance():
    vectors, _ = blobs()
    found, share = projections.pca(vectors)
    values, axes = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
    assert share == pytest.approx(values[::-1][:2] / values.sum(), rel=1e-4)
    expected = (vectors - vectors.mean(0)) @ axes[:, ::-1][:, :2]
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-3)
    assert found.dtype == share.dtype == np.float32 and found.shape == (90, 2)
    assert (projections.pca(vectors)[0] == found).all()


def test_umap_keeps_groups_apart_and_is_the_same_for_the_same_seed():
    vectors, group = blobs()
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found, again, other = (
            projections.umap(vectors, **SETTINGS | {"seed": seed}) for seed in (3, 3, 4)
        )
    assert torch.get_num_threads() == threads
    assert found.dtype == np.float32 and found.shape == (90, 2)
    assert (found == again).all() and (found != other).any()
    nearest = NearestNeighbors(n_neighbors=6).fit(found).kneighbors(return_distance=False)
    assert (group[nearest] == group[:, None]).all()


@pytest.mark.parametrize("n", [4, 11])
def test_few_vectors_have_a_map(n):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = projections.umap(blobs()[0][:n], **SETTINGS)
    assert found.shape == (n, 2) and np.isfinite(found).all()


def test_a_map_is_kept_for_the_same_vectors_and_settings(tmp_path, monkeypatch):
    calls = []

    def counted(vectors, **settings):
        calls.append(settings)
        return np.full((len(vectors), 2), len(calls), np.float32)

    monkeypatch.setattr(projections, "umap", counted)
    vectors, _ = blobs()

    def project(vectors, **changes):
        return projections.project({("m", "planes"): vectors}, tmp_path, **SETTINGS | changes)

    first, again = project(vectors), project(vectors.copy())
    assert calls == [SETTINGS]
    assert (again.umap["m", "planes"] == first.umap["m", "planes"]).all()
    nudged = vectors.copy()
    nudged[5, 2] += 1
    project(nudged)
    project(vectors.reshape(180, 5))
    for setting in ({"seed": 2}, {"neighbours": 5}, {"min_dist": 0.5}):
        project(vectors, **setting)
    assert len(calls) == 6 == len(list(tmp_path.rglob("umap-*.npy")))
    for library in ("any other", "umap-learn", "pynndescent", "scikit-learn"):
        with monkeypatch.context() as patched:
            patched.setattr(
                projections.metadata, "version", lambda name, new=library: str(name == new)
            )
            project(vectors)
    assert len(calls) == 10


def test_maps_are_given_by_model_and_part(tmp_path, monkeypatch):
    monkeypatch.setattr(projections, "umap", lambda vectors, **_: vectors[:, :2])
    flat = np.zeros((6, 3), np.float32)
    flat[:, 0] = np.arange(6)
    vectors = {(model, part): flat for model in ("a", "b") for part in ("planes", "heads")}
    vectors["b", "planes"] = flat + 1
    maps = projections.project(vectors, tmp_path, **SETTINGS)
    assert list(maps.umaps("heads")) == ["a", "b"]
    assert (maps.umaps("planes")["b"] == flat[:, :2] + 1).all()
    assert list(maps.pcas("planes")) == [f"{model}\nPCA, 100 and 0 %" for model in "ab"]
    assert [points.shape for points in maps.pcas("planes").values()] == [(6, 2)] * 2
    assert (maps.of("b", "planes")["UMAP"] == flat[:, :2] + 1).all()
    assert (maps.of("b", "planes")["principal components"] == maps.pca["b", "planes"][0]).all()


def test_wrong_input_is_refused():
    vectors, _ = blobs()
    with pytest.raises(DataError, match="needs 4 images or more.*3"):
        projections.umap(vectors[:3], **SETTINGS)
    for settings in ({"neighbours": 1}, {"min_dist": 1.5}):
        with pytest.raises(ParameterError, match="UMAP needs"):
            projections.umap(vectors, **SETTINGS | settings)
