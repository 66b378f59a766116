"""Embeddings in two dimensions, to be looked at: principal components and UMAP."""

import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.files import cached, key

_LIBRARIES = ("umap-learn", "pynndescent", "scikit-learn")  # a map depends on each

_FEWEST = 4  # vectors: for its first layout UMAP needs two more than it has axes


@dataclass(frozen=True)
class Maps:
    """Maps of every model and part.

    Attributes:
        umap: (Model, part) to points, float32 of shape (N, 2).
        pca: (Model, part) to points and the share of the variance that each axis has.
    """

    umap: dict[tuple[str, str], np.ndarray]
    pca: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]

    def umaps(self, part: str) -> dict[str, np.ndarray]:
        """Model to UMAP of a part: "planes", "brain" or "heads"."""
        return {model: points for (model, of), points in self.umap.items() if of == part}

    def pcas(self, part: str) -> dict[str, np.ndarray]:
        """Model, with the shares of the variance in percent, to principal components."""
        return {
            f"{model}\nPCA, {100 * one:.0f} and {100 * two:.0f} %": points
            for (model, of), (points, (one, two)) in self.pca.items()
            if of == part
        }

    def of(self, model: str, part: str) -> dict[str, np.ndarray]:
        """Both maps of a part by one model, by title."""
        key = model, part
        return {"UMAP": self.umap[key], "principal components": self.pca[key][0]}


def project(
    vectors: dict[tuple[str, str], np.ndarray],
    cache_dir: Path,
    *,
    seed: int,
    neighbours: int,
    min_dist: float,
) -> Maps:
    """Both maps of every model and part.

    A UMAP is computed once for the same vectors, settings and releases of its libraries.

    Args:
        vectors: (Model, part) to embeddings, float32 of shape (N, D).
        cache_dir: Folder that all notebooks share.
        seed: Seed of the layout.
        neighbours: Nearest vectors whose distances UMAP keeps.
        min_dist: Least distance of points on the UMAP.
    """
    settings = {"seed": seed, "neighbours": neighbours, "min_dist": min_dist}
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    maps = Maps({}, {})
    for part, rows in vectors.items():
        path = Path(cache_dir) / "projections" / f"umap-{key(settings | versions, rows)}.npy"
        maps.umap[part] = cached(path, lambda rows=rows: umap(rows, **settings))
        maps.pca[part] = pca(rows)
    return maps


def pca(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both directions in which vectors (N, D) differ most.

    Returns:
        Coordinates about the mean, float32 of shape (N, 2), and the share of the whole variance
        that each direction has, float32 of shape (2,).

    >>> coordinates, share = pca(np.array([[0, 1], [2, 1], [4, 1], [6, 1]]))
    >>> coordinates[:, 0].tolist(), share.tolist()
    ([-3.0, -1.0, 1.0, 3.0], [1.0, 0.0])
    """
    # The whole decomposition, since the approximate ones depend on chance.
    fitted = PCA(2, svd_solver="full").fit(vectors)
    share = fitted.explained_variance_ratio_.astype(np.float32)
    return fitted.transform(vectors).astype(np.float32), share


def umap(vectors: np.ndarray, *, seed: int, neighbours: int, min_dist: float) -> np.ndarray:
    """UMAP in two dimensions: near images stay near; far distances and sizes mean little.

    Args:
        vectors: Shape (N, D), finite; Euclidean distances count.
        seed: Seed of the layout. The same seed gives the same coordinates (in one thread).
        neighbours: Nearest vectors whose distances are kept; at most N - 1 are taken.
        min_dist: Least distance of points on the map, from 0 to 1: small for dense clumps.

    Returns:
        Coordinates without a unit, float32 of shape (N, 2).

    Raises:
        DataError: If there are fewer than four vectors.
        ParameterError: If a setting is out of its range.

    Source: McInnes, Healy and Melville, UMAP (arXiv 1802.03426); library umap-learn.
    """
    if len(vectors) < _FEWEST:
        raise DataError(f"A map needs {_FEWEST} images or more", found=len(vectors))
    if neighbours < 2 or not 0 <= min_dist <= 1:
        found = f"neighbours {neighbours}, min_dist {min_dist}"
        raise ParameterError("UMAP needs 2 neighbours or more, min_dist from 0 to 1", found=found)
    import torch
    from umap import UMAP

    threads = torch.get_num_threads()
    neighbours = min(neighbours, len(vectors) - 1)
    layout = UMAP(n_neighbors=neighbours, min_dist=min_dist, random_state=seed, n_jobs=1)
    with warnings.catch_warnings():
        # Groups that share no neighbour are what is hoped for here.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        points = layout.fit_transform(vectors).astype(np.float32)
    # The library's threads are torch's too, where both use OpenMP, and it sets their number.
    torch.set_num_threads(threads)
    return points
