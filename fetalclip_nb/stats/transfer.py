"""How much of a score is left far from home: the same classes in two cohorts of other patients."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from fetalclip_nb.errors import ShapeError, listing
from fetalclip_nb.stats import scores
from fetalclip_nb.stats.answers import choices_of, named_classes
from fetalclip_nb.stats.classification import choice_scores
from fetalclip_nb.stats.scores import RESAMPLES, Score


class Transfer(NamedTuple):
    """A score at home and abroad, over the classes that both have, and abroad minus home."""

    home: Score
    abroad: Score
    change: Score


def transfer(
    home: pd.DataFrame, abroad: pd.DataFrame, *, resamples: int = RESAMPLES
) -> dict[str, Transfer]:
    """Macro F1 and mean recall in two cohorts, over the classes that have items in both.

    Items of other classes are left out, answers that name other classes are wrong. Patients are
    resampled in both cohorts, each by itself: the change's interval holds the chance of both.
    Where all answers of a cohort are right no resample differs, and its chance is missing.

    Args:
        home: Answers as of `answers.answer_table`, with the columns true and predicted.
        abroad: The same of other patients.
        resamples: Number of bootstrap resamples.

    Returns:
        "f1_macro" and "accuracy_macro" from 0 to 1; means over the runs.

    Raises:
        ShapeError: If no class has items in both.
    """
    here, there = (set(table["true"].astype(str)) for table in (home, abroad))
    shared = sorted(here & there)
    if not shared:
        named = {"expected": listing(sorted(here)), "found": listing(sorted(there))}
        raise ShapeError("Cohorts share no class", **named)
    (at_home, drawn), (away, others) = (_scored(t, shared, resamples) for t in (home, abroad))
    # Equally large cohorts are given the same draws: another order makes them independent.
    order = np.random.default_rng(scores.SEED).permutation(resamples)
    found = {}
    for name in at_home:
        a, b = at_home[name], away[name]
        sizes = {"n": a.n + b.n, "groups": a.groups + b.groups}
        change = scores.interval(b.value - a.value, others[name][order] - drawn[name], **sizes)
        found[name] = Transfer(a, b, change)
    return found


def _scored(
    table: pd.DataFrame, classes: list[str], resamples: int
) -> tuple[dict[str, Score], dict[str, np.ndarray]]:
    """Scores over some classes, and what they are in each resample."""
    table = table[table["true"].isin(classes)]
    names, labels = named_classes(table)
    owner, units = scores.owners(table.loc[table["run"] == 0, "patient"].to_numpy())
    sums = choices_of(table, names, owner, labels)
    present = sorted(set(labels.tolist()))
    of_sums = scores.on_sums(partial(choice_scores, classes=names, present=present), *sums)
    whole = of_sums(np.ones((1, units), np.float32))
    drawn = scores.resampled(of_sums, units, resamples=resamples)
    kept = ("f1_macro", "accuracy_macro")
    found = {
        name: scores.interval(float(whole[name].mean()), drawn[name], n=len(labels), groups=units)
        for name in kept
    }
    return found, drawn
