"""Embeddings in two dimensions, to be looked at: principal components and UMAP."""

import warnings
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from fetalclip_nb.errors import ParameterError, ShapeError
from fetalclip_nb.files import cached, key

_LIBRARIES = ("umap-learn", "pynndescent", "scikit-learn")  # a map depends on each

_FEWEST = 4  # vectors: for its first layout UMAP needs two more than it has axes


@dataclass(frozen=True)
class Maps:
    """Maps of every model and part.

    Attributes:
        umap: (Model, part) to points, float32 of shape (N, 2).
        pca: (Model, part) to points, float32 of shape (N, 2).
        shares: (Model, part) to the shares of the variance of both principal components.
    """

    umap: dict[tuple[str, str], np.ndarray]
    pca: dict[tuple[str, str], np.ndarray]
    shares: dict[tuple[str, str], np.ndarray]

    def umaps(self, part: str) -> dict[str, np.ndarray]:
        """Model to UMAP of a part: "planes", "brain" or "heads"."""
        return {model: points for (model, of), points in self.umap.items() if of == part}

    def pcas(self, part: str) -> dict[str, np.ndarray]:
        """Model, with the shares of the variance in percent, to principal components."""
        titles = {
            key: f"{key[0]}\nPCA, {100 * one:.0f} and {100 * two:.0f} %"
            for key, (one, two) in self.shares.items()
        }
        return {titles[key]: points for key, points in self.pca.items() if key[1] == part}

    def of(self, model: str) -> dict[str, np.ndarray]:
        """Both maps of all planes by one model, by title."""
        key = model, "planes"
        return {"UMAP": self.umap[key], "principal components": self.pca[key]}


def project(
    vectors: dict[tuple[str, str], np.ndarray],
    cache_dir: Path,
    *,
    seed: int,
    neighbours: int,
    min_dist: float,
) -> Maps:
    """Both maps of every model and part; a UMAP is computed once for the same vectors.

    Args:
        vectors: (Model, part) to embeddings, shape (N, D).
        cache_dir: Folder that all notebooks share.
        seed: Seed of the layout.
        neighbours: Nearest vectors whose distances UMAP keeps.
        min_dist: Least distance of points on the UMAP.
    """
    umaps = {
        key: cached_projection(rows, cache_dir, seed=seed, neighbours=neighbours, min_dist=min_dist)
        for key, rows in vectors.items()
    }
    components = {key: pca(rows) for key, rows in vectors.items()}
    return Maps(
        umaps,
        {key: points for key, (points, _) in components.items()},
        {key: shares for key, (_, shares) in components.items()},
    )


def pca(vectors: np.ndarray, components: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Principal components: the directions in which the vectors differ most.

    Args:
        vectors: Shape (N, D), finite.
        components: Number of directions, at most N and D.

    Returns:
        Coordinates about the mean, float32 of shape (N, components), and the share of the
        whole variance that each direction has, float32 of shape (components,).

    Raises:
        ShapeError: If there are too few or no finite vectors.

    >>> coordinates, share = pca(np.array([[0, 0], [2, 0], [4, 0], [6, 0]]), 1)
    >>> coordinates.ravel().tolist(), share.tolist()
    ([-3.0, -1.0, 1.0, 3.0], [1.0])
    """
    vectors = _checked(vectors)
    # The whole decomposition, since the approximate ones depend on chance.
    fitted = PCA(components, svd_solver="full").fit(vectors)
    share = fitted.explained_variance_ratio_.astype(np.float32)
    return fitted.transform(vectors).astype(np.float32), share


def umap(
    vectors: np.ndarray, *, seed: int = 0, neighbours: int = 15, min_dist: float = 0.1
) -> np.ndarray:
    """UMAP in two dimensions: near images stay near; far distances and sizes mean little.

    Args:
        vectors: Shape (N, D), finite; Euclidean distances count.
        seed: Seed of the layout. The same seed gives the same coordinates (in one thread).
        neighbours: Nearest vectors whose distances are kept; at most N - 1 are taken.
        min_dist: Least distance of points on the map, from 0 to 1: small for dense clumps.

    Returns:
        Coordinates without a unit, float32 of shape (N, 2).

    Raises:
        ShapeError: If there are fewer than four vectors or some are not finite.
        ParameterError: If a setting is out of its range.

    Source: McInnes, Healy and Melville, UMAP (arXiv 1802.03426); library umap-learn.
    """
    vectors = _checked(vectors)
    if neighbours < 2 or not 0 <= min_dist <= 1:
        raise ParameterError(
            "Impossible settings of UMAP",
            expected="at least 2 neighbours, min_dist from 0 to 1",
            found=f"neighbours {neighbours}, min_dist {min_dist}",
        )
    import torch
    from umap import UMAP

    threads = torch.get_num_threads()
    layout = UMAP(
        n_neighbors=min(neighbours, len(vectors) - 1),
        min_dist=min_dist,
        random_state=seed,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        # Groups that share no neighbour are what is hoped for here.
        warnings.filterwarnings("ignore", message="Graph is not fully connected")
        found = layout.fit_transform(vectors).astype(np.float32)
    # The library's threads are torch's too, where both use OpenMP, and it sets their number.
    torch.set_num_threads(threads)
    return found


def cached_projection(
    vectors: np.ndarray,
    cache_dir: Path,
    *,
    seed: int = 0,
    neighbours: int = 15,
    min_dist: float = 0.1,
) -> np.ndarray:
    """As `umap`, computed once for the same vectors, settings and releases of its libraries.

    Args:
        vectors: Shape (N, D), finite.
        cache_dir: Folder that all notebooks share.
        seed: Seed of the layout.
        neighbours: Nearest vectors whose distances are kept.
        min_dist: Least distance of points on the map.

    Returns:
        float32 of shape (N, 2).
    """
    vectors = _checked(vectors)
    settings = {"seed": seed, "neighbours": neighbours, "min_dist": min_dist}
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    name = f"umap-{key(settings | versions, vectors)}.npy"
    return cached(Path(cache_dir) / "projections" / name, lambda: umap(vectors, **settings))


def _checked(vectors: np.ndarray) -> np.ndarray:
    """Vectors as contiguous float32, so that equal ones have equal bytes."""
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) < _FEWEST or not np.isfinite(vectors).all():
        raise ShapeError(
            "Vectors cannot be projected",
            expected=f"finite numbers of shape (N, D), N at least {_FEWEST}",
            found=f"shape {vectors.shape}, {int((~np.isfinite(vectors)).sum())} not finite",
        )
    return vectors
