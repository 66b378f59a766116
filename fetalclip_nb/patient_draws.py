"""Drawing patients at random so that every class is on every side, as far as possible."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from fetalclip_nb.errors import DataError

DRAWS = 30
"""Attempts at a draw in which every class is everywhere; the best one is taken."""


def stratified_parts(
    table: pd.DataFrame, parts: int, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Cut patients into parts with about the same share of every class's images.

    Args:
        table: One row an image with the columns patient and label, strings.
        parts: Number of parts.
        rng: Random numbers.

    Returns:
        Patients of each part, in random order of parts. A class with enough patients is in
        every part, unless patients with several classes make that impossible or hard to find.

    Raises:
        DataError: Fewer patients than parts, or no class with that many images.
    """
    patients, owner = np.unique(table["patient"].to_numpy(), return_inverse=True)
    _, label = np.unique(table["label"].to_numpy(), return_inverse=True)
    if len(patients) < parts or np.bincount(label).max() < parts:
        raise DataError(
            f"Too few patients for {parts} parts",
            expected=f"{parts} patients, and {parts} images of a class",
            found=f"{len(patients)} patients, {len(table)} images",
            fix="add patients or take fewer folds",
        )
    has = np.zeros((len(patients), label.max() + 1), dtype=np.int64)
    has[owner, label] = 1
    unavoidable = np.maximum(parts - has.sum(0), 0).sum()
    best, fewest = None, np.inf
    for _ in range(DRAWS):
        part = _cut(owner, label, parts, rng)
        gaps = sum(int((has[part == i].sum(0) == 0).sum()) for i in range(parts))
        if gaps < fewest:
            best, fewest = part, gaps
        if gaps == unavoidable:
            break
    # Patients with the most images go to the first parts; none of them may be tested always.
    return [tuple(patients[best == i].tolist()) for i in rng.permutation(parts)]


def _cut(owner: np.ndarray, label: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Part of each patient, integers of shape (P,)."""
    n_patients = owner.max() + 1
    part = np.zeros(n_patients, dtype=np.int64)
    # Renamed here, not shuffled there: releases of scikit-learn differ in how they shuffle.
    renamed = rng.permutation(n_patients)[owner]
    with warnings.catch_warnings():
        # Classes that are too rare are an error later, which names the folds that lack them.
        warnings.filterwarnings("ignore", message="The least populated class")
        cuts = StratifiedGroupKFold(parts).split(owner, label, renamed)
        for i, (_, rows) in enumerate(cuts):
            part[owner[rows]] = i
    return part


def support_patients(
    table: pd.DataFrame, n: int, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Draw n train and n validation patients, then exchange some until no class is missing.

    Args:
        table: One row an image with the columns patient and label; at least 2n patients.
        n: Patients on each side.
        rng: Random numbers.

    Returns:
        Train and validation patients, sorted. Each class is in train, then in validation, as
        far as n patients allow; a draw that has every class is kept as it is.
    """
    owned = pd.crosstab(table["patient"], table["label"]).gt(0)
    has = owned.to_numpy().astype(np.int64)
    unavoidable = int((has.sum(0) == 1).sum())  # a lone patient cannot be on both sides
    best, least = None, np.inf
    for _ in range(DRAWS):
        order = rng.permutation(len(has))
        cost = _exchange(order, has, n)
        if cost < least:
            best, least = owned.index[order], cost
        if cost == unavoidable:
            break
    return tuple(sorted(best[:n])), tuple(sorted(best[n : 2 * n]))


def _exchange(order: np.ndarray, has: np.ndarray, n: int) -> int:
    """Exchange two patients, in place, as long as that leaves fewer classes missing.

    Args:
        order: Patients: n train, n validation, the rest unused; integers of shape (P,).
        has: Whether a patient has images of a class, 0 or 1, shape (P, C).
        n: Patients on each side.

    Returns:
        Classes missing in validation, plus C + 1 for each class missing in train.
    """
    weights = np.array([has.shape[1] + 1, 1, 0])
    side = np.repeat([0, 1, 2], [n, n, len(order) - 2 * n])
    counts = np.stack([has[order[side == s]].sum(0) for s in range(3)])
    cost = int((counts == 0).sum(1) @ weights)
    place = 0
    while cost and place < 2 * n and side[-1] > side[place]:
        others = np.flatnonzero(side > side[place])
        gain = has[order[others]] - has[order[place]]
        after = np.repeat(counts[None], len(others), axis=0)
        after[:, side[place]] += gain
        after[np.arange(len(others)), side[others]] -= gain
        costs = (after == 0).sum(2) @ weights
        best = int(costs.argmin())
        if costs[best] < cost:
            cost, counts = int(costs[best]), after[best]
            order[[place, others[best]]] = order[[others[best], place]]
            place = 0
        else:
            place += 1
    return cost
