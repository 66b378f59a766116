import warnings

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from fetalclip_nb.errors import ParameterError, ShapeError
from fetalclip_nb.experiments.embeddings import projections


def blobs(n=90, seed=0):
    """Three distant groups in 10 dimensions."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 3
    return (rng.normal(size=(n, 10)) + 20 * np.eye(10)[group]).astype(np.float32), group


def test_principal_components_are_those_of_the_covariance():
    vectors, _ = blobs()
    found, share = projections.pca(vectors, 3)
    values, axes = np.linalg.eigh(np.cov(vectors.T.astype(np.float64)))
    assert share == pytest.approx(values[::-1][:3] / values.sum(), rel=1e-4)
    expected = (vectors - vectors.mean(0)) @ axes[:, ::-1][:, :3]
    assert np.abs(found) == pytest.approx(np.abs(expected), abs=1e-3)
    assert found.dtype == share.dtype == np.float32 and found.shape == (90, 3)
    assert (projections.pca(vectors, 3)[0] == found).all()


def test_umap_keeps_groups_apart_and_is_the_same_for_the_same_seed():
    vectors, group = blobs()
    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found, again, other = (projections.umap(vectors, seed=seed) for seed in (3, 3, 4))
    assert torch.get_num_threads() == threads
    assert found.dtype == np.float32 and found.shape == (90, 2)
    assert (found == again).all() and (found != other).any()
    nearest = NearestNeighbors(n_neighbors=6).fit(found).kneighbors(return_distance=False)
    assert (group[nearest] == group[:, None]).all()


@pytest.mark.parametrize("n", [4, 11])
def test_few_vectors_have_a_map(n):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = projections.umap(blobs()[0][:n])
    assert found.shape == (n, 2) and np.isfinite(found).all()


def test_a_map_is_kept_for_the_same_vectors_and_settings(tmp_path, monkeypatch):
    calls = []

    def counted(vectors, **settings):
        calls.append(settings)
        return np.full((len(vectors), 2), len(calls), np.float32)

    monkeypatch.setattr(projections, "umap", counted)
    vectors, _ = blobs()
    first = projections.cached_projection(vectors, tmp_path, seed=1)
    assert calls == [{"seed": 1, "neighbours": 15, "min_dist": 0.1}]
    # Equal values count, whatever their order in memory and type.
    same = np.asfortranarray(vectors.astype(np.float64))
    assert (projections.cached_projection(same, tmp_path, seed=1) == first).all()
    assert len(calls) == 1
    nudged = vectors.copy()
    nudged[5, 2] += 1
    projections.cached_projection(nudged, tmp_path, seed=1)
    projections.cached_projection(vectors.reshape(180, 5), tmp_path, seed=1)
    for setting in ({"seed": 2}, {"neighbours": 5}, {"min_dist": 0.5}):
        projections.cached_projection(vectors, tmp_path, **({"seed": 1} | setting))
    assert len(calls) == 6 == len(list(tmp_path.rglob("umap-*.npy")))
    for library in ("any other", "umap-learn", "pynndescent", "scikit-learn"):
        with monkeypatch.context() as patched:
            patched.setattr(
                projections.metadata, "version", lambda name, new=library: str(name == new)
            )
            projections.cached_projection(vectors, tmp_path, seed=1)
    assert len(calls) == 10


def test_wrong_input_is_refused(tmp_path):
    vectors, _ = blobs()
    with pytest.raises(ShapeError, match=r"N at least 4.*\(3, 10\)"):
        projections.umap(vectors[:3])
    vectors[0, 0] = np.inf
    for project in (projections.pca, projections.umap):
        with pytest.raises(ShapeError, match="1 not finite"):
            project(vectors)
    with pytest.raises(ShapeError, match="1 not finite"):
        projections.cached_projection(vectors, tmp_path)
    vectors[0, 0] = 0
    for settings in ({"neighbours": 1}, {"min_dist": 1.5}):
        with pytest.raises(ParameterError, match="settings of UMAP"):
            projections.umap(vectors, **settings)
