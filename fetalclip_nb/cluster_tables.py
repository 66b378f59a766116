"""Scores of clusters as tables and sentences of the book."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fetalclip_nb.metrics import Score
from fetalclip_nb.results import format_interval, format_number, format_value

COLUMNS = {
    "purity": "purity (%)",
    "purity_chance": "by chance (%)",
    "excess": "excess",
    "purity_within": "purity, same plane (%)",
    "purity_within_chance": "by chance, same plane (%)",
    "excess_within": "excess, same plane",
    "silhouette": "silhouette",
    "ari": "adjusted Rand index",
}
"""Scores of `clusters.cluster_scores` and the columns that show them."""


def cluster_table(
    scores: Mapping[str, Mapping[str, Score]], labellings: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """Values with intervals as texts: one row a labelling and model.

    Args:
        scores: Model to scores named LABELLING/SCORE.
        labellings: What the images were labelled by ("planes", "machine"), one block each.
        names: Scores to show, of `COLUMNS`; chance levels are shown without interval.

    Returns:
        Texts, indexed by labelling and model, with the number of images.
    """
    rows = {
        (labelling, model): _texts(found, labelling, names)
        for labelling in labellings
        for model, found in scores.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")


def others_sentence(scores: Mapping[str, Mapping[str, Score]], labelling: str) -> str:
    """Purity, silhouette and adjusted Rand index of all models but the first, in words.

    Args:
        scores: Model to scores named LABELLING/SCORE, the headline model first.
        labelling: What the images were labelled by.
    """
    parts = []
    for model, found in list(scores.items())[1:]:
        texts = [
            f"{word} {format_value(name, found[f'{labelling}/{name}'].value)}"
            for name, word in _WORDS.items()
        ]
        parts.append(f"{model} reaches {', '.join(texts[:-1])} and {texts[-1]}")
    return f"For comparison, {'; '.join(parts)}." if parts else "No other model was run."


_WORDS = {
    "purity": "a purity of",
    "silhouette": "a silhouette of",
    "ari": "an adjusted Rand index of",
}


def separation_sentence(anatomy: Score, other: Score, name: str) -> str:
    """Whether neighbours share the plane more than, say, the machine, in words.

    Args:
        anatomy: Excess of purity over chance, labelled by plane.
        other: Excess within a plane, labelled by something that is no anatomy.
        name: What that is ("machine").

    >>> plane, machine = (Score(v, v - 0.1, v + 0.1, v, 9, 9) for v in (0.8, 0.05))
    >>> separation_sentence(plane, machine, "machine").split(":")[0]
    'Anatomy is separated more than the machine'
    """
    if anatomy.low > other.high:
        verdict = f"Anatomy is separated more than the {name}"
    elif other.low > anatomy.high:
        verdict = f"The {name} is separated more than anatomy"
    else:
        verdict = f"Whether anatomy or the {name} is separated more cannot be told"
    return (
        f"{verdict}: the excess over chance is {_with_interval(anatomy)} for planes and, among "
        f"images of one plane, {_with_interval(other)} for the {name}, {_against_chance(other)}."
    )


def gap_sentence(scores: Mapping[str, Score], name: str, images: str) -> str:
    """How near the nearest heads are in age, and in size in the picture, in words.

    Args:
        scores: age_gap_days, size_gap_px and their chance levels, as the chapter saves them.
        name: The model.
        images: What the heads are.
    """
    parts = []
    for what, unit in {"age": "days", "size in the picture": "px"}.items():
        gap = f"{what.split()[0]}_gap_{unit}"
        near, chance = scores[gap], scores[gap.replace("gap", "gap_chance")]
        interval = format_interval(gap, near.low, near.high)
        parts.append(
            f"in {what} by {format_value(gap, near.value)} ({interval}; any other patient's head "
            f"by {format_value(gap, chance.value)})"
        )
    return (
        f"For {name}, a head differs from the nearest heads of other patients "
        f"{' and '.join(parts)}. The heads are {images}."
    )


def _texts(found: Mapping[str, Score], labelling: str, names: Sequence[str]) -> dict[str, str]:
    kept = {name: found[f"{labelling}/{name}"] for name in names if f"{labelling}/{name}" in found}
    sizes = [score.n for score in kept.values()]
    texts = {"n": f"{max(sizes):,}"} if sizes else {}
    for name, score in kept.items():
        value, low, high = (
            format_number(name, getattr(score, end)) for end in ("value", "low", "high")
        )
        texts[COLUMNS[name]] = value if name.endswith("_chance") else f"{value} ({low} to {high})"
    return texts


def _with_interval(score: Score) -> str:
    value = format_value("excess", score.value)
    return f"{value} ({format_interval('excess', score.low, score.high)})"


def _against_chance(score: Score) -> str:
    return "more than by chance" if score.low > 0 else "no more than by chance"
