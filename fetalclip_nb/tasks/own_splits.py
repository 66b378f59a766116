"""Drawing patients at random so that every class is on every side, as far as possible."""

import warnings
from collections.abc import Iterable, Sequence
from operator import itemgetter

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from fetalclip_nb.errors import DataError, refuse
from fetalclip_nb.tasks.splits import Fold, Split, require_range, rows_of

DRAWS = 30
"""Attempts at a draw in which every class is everywhere; the best one is taken."""


def stratified_parts(table: pd.DataFrame, parts: int, seed: Sequence[int]) -> list[tuple[str, ...]]:
    """Cut patients into parts with about the same share of every class's images.

    A class with enough patients is in every part, unless patients with several classes make that
    impossible or hard to find. Parts come in random order.
    """
    patients, owner = np.unique(table["patient"].to_numpy(), return_inverse=True)
    _, label = np.unique(table["label"].to_numpy(), return_inverse=True)
    most = min(len(patients), np.bincount(label).max())
    if most < parts:
        raise DataError(
            f"Too few patients for {parts} parts",
            expected=f"{parts} patients, and {parts} images of a class",
            found=f"{len(patients)} patients, {len(table)} images",
            fix=f"add patients, or take {most} folds at most",
        )
    has = np.zeros((len(patients), label.max() + 1), dtype=bool)
    has[owner, label] = True
    unavoidable = np.maximum(parts - has.sum(0), 0).sum()
    rng = np.random.default_rng(seed)
    cuts = (_cut(owner, label, parts, rng) for _ in range(DRAWS))
    gaps = ((sum((~has[cut == i].any(0)).sum() for i in range(parts)), cut) for cut in cuts)
    best = _best(gaps, unavoidable)
    # Patients with the most images go to the first parts; none of them may be tested always.
    return [tuple(patients[best == i].tolist()) for i in rng.permutation(parts)]


def _best(draws: Iterable[tuple[int, np.ndarray]], perfect: int) -> np.ndarray:
    """The first of the draws with the lowest cost; none is made after a perfect one."""
    made = []
    for cost, draw in draws:
        made.append((cost, draw))
        if cost == perfect:
            break
    return min(made, key=itemgetter(0))[1]


def _cut(owner: np.ndarray, label: np.ndarray, parts: int, rng: np.random.Generator) -> np.ndarray:
    """Part of each patient, integers of shape (P,)."""
    part = np.zeros(owner.max() + 1, dtype=np.int64)
    # Renamed here, not shuffled there: releases of scikit-learn differ in how they shuffle.
    renamed = rng.permutation(len(part))[owner]
    with warnings.catch_warnings():
        # Classes that are too rare are an error later, which names the folds that lack them.
        warnings.filterwarnings("ignore", message="The least populated class")
        cuts = StratifiedGroupKFold(parts).split(owner, label, renamed)
        for i, (_, rows) in enumerate(cuts):
            part[owner[rows]] = i
    return part


def support_patients(table: pd.DataFrame, n: int, seed: Sequence[int]) -> Fold:
    """Draw n train and n validation patients, then exchange some until no class is missing.

    Each class is in train, then in validation, as far as n patients allow; a draw that has every
    class is kept as it is.
    """
    owned = pd.crosstab(table["patient"], table["label"]).gt(0)
    has = owned.to_numpy().astype(np.int64)
    unavoidable = int((has.sum(0) == 1).sum())  # a lone patient cannot be on both sides
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(has)) for _ in range(DRAWS))
    best = owned.index[_best(((_exchange(order, has, n), order) for order in orders), unavoidable)]
    return Fold(tuple(sorted(best[:n])), tuple(sorted(best[n : 2 * n])))


def _exchange(order: np.ndarray, has: np.ndarray, n: int) -> int:
    """Exchange two patients, in place, as long as that leaves fewer classes missing.

    ``order`` has n train patients, n of validation and the rest, integers of shape (P,); ``has``
    says who has images of a class, 0 or 1, shape (P, C). Given back are the classes missing in
    validation, plus C + 1 for each that is missing in train.
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


_TEST_PARTS = 5  # one of these many parts of the patients is the test set, if none is named

_TEST, _FOLDS, _SUPPORTS = range(3)  # separate random streams of one seed


def own_folds(
    table: pd.DataFrame, *, seed: int, folds: int = 5, where: object = "column split"
) -> Split:
    """Seeded folds: each patient who is not tested is validation exactly once.

    Patients are cut so that each part has about the same share of every class's images
    (scikit-learn's StratifiedGroupKFold). That suits patients with images of several classes:
    cutting by a patient's most frequent label loses classes that are nobody's most frequent.

    Args:
        table: One row an item with the columns patient, label and split. Patients with split
            "test" are the test set; where there are none, a stratified fifth of all patients
            is drawn. With split "validation" there is one fold, as given. Split may be empty
            in every row, not only in some.
        seed: Seed, 0 or more.
        folds: Number of folds, 2 or more.
        where: File or data set that a message on the column split names.

    Source: FetalCLIP (arXiv 2502.14807), linear probing: five folds by patient.

    >>> rows = [(f"P{i}", "ab"[i % 2], "") for i in range(20)]
    >>> split = own_folds(pd.DataFrame(rows, columns=["patient", "label", "split"]), seed=0)
    >>> len(split.test), sum(len(fold.validation) for fold in split.folds)
    (4, 16)
    """
    require_range("folds", folds, 2)
    test, rest = _test_and_rest(table, seed, where)
    validation = rest["split"] == "validation"
    if validation.any():
        parts = [_patients(rest[validation])]
    else:
        parts = stratified_parts(rest, folds, (seed, _FOLDS))
    cut = [Fold(_patients(rest[~rows_of(rest, part)]), part) for part in parts]
    return Split("own", test, tuple(cut))


def own_supports(
    table: pd.DataFrame,
    sizes: Sequence[int],
    *,
    seed: int,
    sets: int = 5,
    where: object = "column split",
) -> dict[int, Split]:
    """Seeded support sets: n train and n validation patients who are not tested.

    Like the authors' sets, each is drawn anew: sets of a size overlap as chance has it, and
    larger sets do not contain smaller ones. Unlike a bare draw, patients are exchanged until
    every class is in train, then in validation, as far as n patients allow.

    Args:
        table: That of `own_folds`; patients with split "validation" may fall on either side.
        sizes: Patients n of each support set; other sizes do not change a set.
        seed: Seed, 0 or more; `own_folds` with the same seed has the same test patients.
        sets: Support sets of each size; more of them do not change the others.
        where: As for `own_folds`.

    Source: FetalCLIP (arXiv 2502.14807), few-data training.
    """
    require_range("sets", sets, 1)
    for n in sizes:
        require_range("sizes", n, 1)
    test, rest = _test_and_rest(table, seed, where)
    patients = rest["patient"].nunique()
    refuse(
        [n for n in sizes if 2 * n > patients],
        "Too few patients for support sets",
        where="support sizes",
        expected=f"{patients // 2} or less: {patients} patients are not tested (n train, n "
        "validation)",
        fix="leave these sizes out or add patients",
    )

    def drawn(n: int) -> tuple[Fold, ...]:
        return tuple(support_patients(rest, n, (seed, _SUPPORTS, n, i)) for i in range(sets))

    return {n: Split("own", test, drawn(n)) for n in sizes}


def _test_and_rest(
    table: pd.DataFrame, seed: int, where: object
) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Test patients, and the rows of all others."""
    table = table[["patient", "label", "split"]].astype(str)
    found, empty = set(table["split"]), (table["split"] == "").sum()
    alone = "validation" in found and not {"train", "test"} <= found
    problems = [
        f"split empty for {empty} of {len(table)} items" if 0 < empty < len(table) else "",
        "validation without train or test" if alone else "",
        "test alone" if found == {"test"} else "",
    ]
    refuse(
        filter(None, problems),
        "Splits in the table cannot be used",
        where=where,
        expected="train and test; or train, validation and test; or empty for every item",
        fix="name a split for every image or clip, or for none to have patients drawn",
    )
    test = _patients(table[table["split"] == "test"])
    if not test:
        test = stratified_parts(table, _TEST_PARTS, (seed, _TEST))[0]
    return test, table[~rows_of(table, test)]


def _patients(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted(set(table["patient"])))
