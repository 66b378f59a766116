"""Do images of one label lie together? Purity of neighbours, silhouette, agreement of k-means.

Whatever looks clustered on a map is measured here on the vectors themselves, with intervals
over patients.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import silhouette_samples

from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.embeddings.neighbours import (
    codes,
    comparable,
    expected_purity,
    knn_purity,
    neighbours,
    permuted_excess,
)
from fetalclip_nb.experiments.embeddings.partitions import agreement
from fetalclip_nb.stats.patients import patient_means, patient_scores
from fetalclip_nb.stats.scores import Score, Statistic, interval, mean_of_defined, ratio


def cluster_scores(
    vectors: np.ndarray,
    labels: np.ndarray,
    patients: np.ndarray,
    *,
    k: int = 10,
    within: np.ndarray | None = None,
    metric: str = "euclidean",
    seed: int = 0,
) -> dict[str, Score]:
    """How well images of one label lie together, in numbers with intervals over patients.

    Neighbours and silhouettes are found once, among all images; an interval says how far their
    summary depends on which patients are counted, not how neighbours would change with other
    images, and is too narrow for that: it does not tell whether a label that patients carry is
    found by more than chance. That is what labels permuted among patients are for. The clusters
    of k-means are fitted anew to each resample (`partitions.agreement`). The same patients give
    the same draws, whatever the vectors and the labels. In a resample, a patient who was drawn
    twice counts twice.

    Args:
        vectors: Shape (N, D).
        labels: Label of each image, shape (N,), of two kinds at least.
        patients: Patient of each image, shape (N,), at least two.
        k: Neighbours that purity looks at.
        within: Group of each image, such as its plane: what can the label be told by in it?
        metric: "euclidean" or "cosine" (vectors are then normalised before k-means).
        seed: Of k-means and of the permutations.

    Returns:
        Scores by name. "purity" is the mean of `knn_purity`, "purity_chance" the same for
        neighbours drawn at random, and "excess" their (purity - chance) / (1 - chance): 0 as
        by chance, 1 if pure, comparable between labels of other number and frequency.
        "silhouette" is the mean over images of (b - a) / max(a, b), where a is the mean
        distance to images of the same label (the patient's own count, as is usual) and b that
        to the nearest other label: -1 to 1, about 0 by chance. Without groups there are "ari"
        and "ari/starts", the adjusted Rand index of the labels and k-means clusters: 0 by
        chance, 1 for the same partition. With groups there are "purity_within",
        "purity_within_chance" and "excess_within": only images of a group are neighbours.
        "excess_within/permuted" is the median of that excess, and the interval that holds
        95 % of it, when patients exchange their labels (`neighbours.permuted_excess`). What
        cannot be told is absent: the excess, if each group has a single label or patient.

    Raises:
        DataError: If the labels do not differ, or all images are of one patient.

    Source: Rousseeuw, 1987 (silhouette).
    """
    labels = codes(labels)
    kinds = int(labels.max()) + 1
    if not 2 <= kinds < len(labels):
        found = f"{kinds} labels of {len(labels)} images"
        raise DataError("Labels do not make clusters", expected="at least two labels", found=found)
    groupings = {"purity": None} | ({} if within is None else {"purity_within": within})
    parts, sizes = [], {}
    for name, group in groupings.items():
        near = neighbours(vectors, patients, k, within=group, metric=metric)
        pure = knn_purity(near, labels)
        chance = expected_purity(labels, patients, within=group)
        parts += [pure, chance, np.where(np.isnan(pure), np.nan, 1.0)]
        sizes |= dict.fromkeys(_names(name), int(np.isfinite(pure).sum()))
    parts.append(silhouette_samples(vectors, labels, metric=metric))
    items = np.nan_to_num(np.stack([*parts, np.ones(len(labels))], axis=1))
    outcome = patient_scores(items[:, None], patients, _statistic(list(groupings)), n=sizes)
    scores = {
        name: entry.score if name.startswith("purity") else entry.score.in_unit("")
        for name, entry in outcome.items()
    }
    if within is None:
        scores |= agreement(comparable(vectors, metric), labels, codes(patients), seed=seed)
    if excess := scores.get("excess_within"):
        drawn = permuted_excess(near, labels, patients, within=within, seed=seed)
        range_ = interval(float(np.nanmedian(drawn)), drawn, n=excess.n, groups=excess.groups)
        scores["excess_within/permuted"] = range_.in_unit("")
    return scores


def gap_scores(
    vectors: np.ndarray,
    values: np.ndarray,
    patients: np.ndarray,
    *,
    k: int = 10,
    metric: str = "euclidean",
    unit: str = "",
) -> dict[str, Score]:
    """How far a number, such as an age, differs between neighbours, with intervals.

    Args:
        vectors: Shape (N, D).
        values: Finite number of each image in any unit, shape (N,).
        patients: Patient of each image, shape (N,), at least two.
        k: Neighbours of other patients that are looked at.
        metric: "euclidean" or "cosine".
        unit: Of the values ("days", "px").

    Returns:
        "gap", the mean absolute difference to the neighbours, and "gap_chance", that to all
        images of other patients, in the unit of the values.
    """
    owner = codes(patients)
    found = neighbours(vectors, patients, k, metric=metric)
    near = np.where(found >= 0, np.abs(values[found] - values[:, None]), np.nan)
    pairs = zip(values, owner, strict=True)
    chance = [np.abs(values[owner != own] - value).mean() for value, own in pairs]
    gaps = {"gap": mean_of_defined(near), "gap_chance": np.array(chance)}
    means = patient_means(gaps, patients)
    return {name: units["patient"].in_unit(unit) for name, units in means.items()}


def strays(
    vectors: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, metric: str
) -> pd.DataFrame:
    """How deep each image lies among images of another label.

    Args:
        vectors: Shape (N, D).
        labels: Label of each image, shape (N,).
        patients: Patient of each image, shape (N,).
        metric: "euclidean" or "cosine".

    Returns:
        Columns row, label, silhouette, nearest (row of the nearest image of another patient) and
        nearest_label; the lowest silhouette first.
    """
    depth = silhouette_samples(vectors, labels, metric=metric)
    rows = np.argsort(depth, kind="stable")
    nearest = neighbours(vectors, patients, 1, metric=metric)[rows, 0]
    columns = {"row": rows, "label": labels[rows], "silhouette": depth[rows], "nearest": nearest}
    return pd.DataFrame(columns).assign(nearest_label=labels[nearest])


def _statistic(groupings: list[str]) -> Statistic:
    """Scores from sums of shape (R, 1, W): three columns a grouping, silhouette, images."""

    def statistic(sums: np.ndarray) -> dict[str, np.ndarray]:
        scores = {}
        for i, name in enumerate(groupings):
            pure, chance, known = np.moveaxis(sums[..., 3 * i : 3 * i + 3], -1, 0)
            pure, chance = ratio(pure, known), ratio(chance, known)
            excess = ratio(pure - chance, 1 - chance)
            scores |= dict(zip(_names(name), (pure, chance, excess), strict=True))
        return scores | {"silhouette": sums[..., -2] / sums[..., -1]}

    return statistic


def _names(grouping: str) -> tuple[str, str, str]:
    """Names of a purity, of its chance level and of the excess over it."""
    return grouping, f"{grouping}_chance", grouping.replace("purity", "excess")
