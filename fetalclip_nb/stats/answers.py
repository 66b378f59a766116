"""What each row answered for each image, and by how much two rows' answers differ: from them alone.

A table of answers has a line for each item of each run: image, patient, run and, by kind of score,

- true and predicted, names of classes: macro F1;
- part and whole, whose sums are divided: shares, and Dice coefficients of pooled pixels; with a
  column structure the score is the mean over the structures;
- target (1 or 0) and score, by which items are ranked: AUROC.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from fetalclip_nb.stats import scores
from fetalclip_nb.stats.classification import choice_scores, choice_sums
from fetalclip_nb.stats.differences import Difference, paired, paired_auroc
from fetalclip_nb.stats.scores import mean_of_defined, ratio

Answers = Mapping[str, pd.DataFrame]
"""Name of a score to the answers that it is made of."""


def answer_table(
    images: np.ndarray, patients: np.ndarray, **columns: np.ndarray | list
) -> pd.DataFrame:
    """Answers in long form: runs one after the other, in each the items in their order.

    Args:
        images: Name of each item, shape (N,).
        patients: Patient of each item, shape (N,).
        columns: Values of shape (N,), or of each run (H, N).
    """
    wide = {name: np.asarray(values) for name, values in columns.items()}
    runs = max(len(values) if values.ndim == 2 else 1 for values in wide.values())
    shape = (runs, len(images))
    wide = {"image": images, "patient": patients, "run": np.arange(runs)[:, None]} | wide
    return pd.DataFrame({name: np.broadcast_to(v, shape).ravel() for name, v in wide.items()})


def between(ours: Answers, others: Answers) -> dict[str, Difference]:
    """Differences of two rows, ours minus the others', where both answer for the same items.

    Args:
        ours: Tables as `answer_table` makes them; a kind of score is told by the columns.
        others: The other row's.
    """
    found = {}
    for name in ours:
        pair = [table[name] for table in (ours, others) if name in table]
        if len(pair) == 2 and _items(pair[0]).equals(_items(pair[1])):
            found[name] = _difference(*pair)
    return found


def _items(table: pd.DataFrame) -> pd.DataFrame:
    """The items of the first run, and what is true of them."""
    kept = [name for name in ("image", "patient", "structure", "true", "target") if name in table]
    first = table.loc[table["run"] == 0, kept]
    return first.astype(str).reset_index(drop=True)


def _difference(ours: pd.DataFrame, others: pd.DataFrame) -> Difference:
    first = ours[ours["run"] == 0]
    owner, _ = scores.owners(first["patient"].to_numpy())
    if "score" in ours:
        ranked = [_runs(table, table["score"]) for table in (ours, others)]
        return paired_auroc(*ranked, first["target"].to_numpy(int), owner)
    if "part" in ours:
        sums = [_ratio_sums(table, owner) for table in (ours, others)]
        return paired(_mean_ratio, *sums)["score"]
    names, labels = named_classes(ours, others)
    sums = [choices_of(table, names, owner, labels) for table in (ours, others)]
    statistic = partial(choice_scores, classes=names, present=sorted(set(labels.tolist())))
    return paired(statistic, *sums)["f1_macro"]


def named_classes(*tables: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """All classes that some tables name, and which of them is true of each item of the first."""
    columns = [table[name].astype(str) for table in tables for name in ("true", "predicted")]
    names = pd.unique(pd.concat(columns))
    first = tables[0][tables[0]["run"] == 0]
    return names, pd.Index(names).get_indexer(first["true"].astype(str))


def choices_of(
    table: pd.DataFrame, names: np.ndarray, owner: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What each patient adds to the sums of `choice_scores`, as of `choice_sums`."""
    predicted = _runs(table, pd.Index(names).get_indexer(table["predicted"].astype(str)))
    return choice_sums(predicted[..., None], labels, owner, len(names), guesses=1)


def _runs(table: pd.DataFrame, values: np.ndarray | pd.Series) -> np.ndarray:
    """A column as runs of items, shape (H, N)."""
    return np.asarray(values).reshape(table["run"].nunique(), -1)


def _ratio_sums(table: pd.DataFrame, owner: np.ndarray) -> list[np.ndarray]:
    """Sums of parts and wholes of each patient, run and structure: (P, H, C, 2)."""
    structure = table.get("structure", pd.Series("", table.index))
    codes = _runs(table, pd.factorize(structure, sort=True)[0])
    pairs = np.stack([_runs(table, table[name]) for name in ("part", "whole")], axis=-1)
    sums = np.zeros((owner.max() + 1, len(pairs), codes.max() + 1, 2))
    np.add.at(sums, (owner, np.arange(len(pairs))[:, None], codes), pairs)
    return [sums]


def _mean_ratio(sums: np.ndarray) -> dict[str, np.ndarray]:
    return {"score": mean_of_defined(ratio(sums[..., 0], sums[..., 1]))}
