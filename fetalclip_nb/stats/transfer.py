"""How much of a score is left far from home: the same classes in two cohorts of other patients."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from fetalclip_nb.errors import ShapeError, listing
from fetalclip_nb.stats import scores
from fetalclip_nb.stats.answers import choices_of, named_classes
from fetalclip_nb.stats.classification import choice_scores
from fetalclip_nb.stats.scores import RESAMPLES, RunScores, Score


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
    classes = [sorted(set(table["true"].astype(str))) for table in (home, abroad)]
    shared = [name for name in classes[0] if name in classes[1]]
    if not shared:
        expected, found = map(listing, classes)
        raise ShapeError("Cohorts share no class", expected=expected, found=found)
    (here, at_home), (there, away) = (
        _scored(table[table["true"].isin(shared)], resamples) for table in (home, abroad)
    )
    # Equally large cohorts are given the same draws: another order makes them independent.
    order = np.random.default_rng(scores.SEED).permutation(resamples)
    found = {}
    for name in ("f1_macro", "accuracy_macro"):
        a, b, apart = here[name].score, there[name].score, away[name][order] - at_home[name]
        sizes = {"n": a.n + b.n, "groups": a.groups + b.groups}
        found[name] = Transfer(a, b, scores.interval(b.value - a.value, apart, **sizes))
    return found


def _scored(
    table: pd.DataFrame, resamples: int
) -> tuple[dict[str, RunScores], dict[str, np.ndarray]]:
    """Scores of one cohort, and what they are in each resample."""
    names, labels = named_classes(table)
    owner, units = scores.owners(table.loc[table["run"] == 0, "patient"].to_numpy())
    statistic = partial(choice_scores, classes=names, present=sorted(set(labels.tolist())))
    of_sums = scores.on_sums(statistic, *choices_of(table, names, owner, labels))
    found = scores.bootstrap(of_sums, units, len(labels), resamples=resamples)
    return found, scores.resampled(of_sums, units, resamples=resamples)
