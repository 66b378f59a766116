"""Scores of clusters as tables and sentences of the book."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fetalclip_nb.models.names import UNTRAINED
from fetalclip_nb.results.formats import (
    format_interval,
    format_number,
    format_range,
    format_value,
    with_interval,
)
from fetalclip_nb.stats.scores import Score

COLUMNS = {
    "purity": "purity (%)",
    "purity_chance": "by chance (%)",
    "excess": "excess",
    "purity_within": "purity, same plane (%)",
    "purity_within_chance": "by chance, same plane (%)",
    "excess_within": "excess, same plane",
    "excess_within/permuted": "excess, permuted",
    "silhouette": "silhouette",
    "ari": "adjusted Rand index",
}
"""Scores of `clusters.cluster_scores` and the columns that show them."""

GAP_COLUMNS = {
    "age_gap_days": "age, nearest (days)",
    "age_gap_chance_days": "age, by chance (days)",
    "size_gap_px": "size, nearest (px)",
    "size_gap_chance_px": "size, by chance (px)",
}
"""Differences between heads, as the chapter saves them, and the columns that show them."""

PHANTOMS = (
    "The machines of phantoms differ in tone and sharpness, their operators in nothing but the "
    "name: with phantoms, chance is the only right answer for operators. That machines are or are "
    "not told apart here says nothing about real ones; run the page on real images for that."
)
"""What machines and operators of phantoms can show."""


def cluster_table(
    scores: Mapping[str, Mapping[str, Score]], labellings: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """Values with intervals as texts: one row a labelling and model.

    Args:
        scores: Model to scores named LABELLING/SCORE.
        labellings: What the images were labelled by ("planes", "machine"), one block each.
        names: Scores to show, of `COLUMNS`; chance levels are shown without interval, and what
            comes of permutations as its 95 % range only.

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
            f"{word} {format_value(found[f'{labelling}/{name}'])}" for name, word in _WORDS.items()
        ]
        parts.append(f"{model} reaches {', '.join(texts[:-1])} and {texts[-1]}")
    return f"For comparison, {'; '.join(parts)}." if parts else "No other model was run."


_WORDS = {
    "purity": "a purity of",
    "silhouette": "a silhouette of",
    "ari": "an adjusted Rand index of",
}


def untrained_sentence(models: Sequence[str]) -> str:
    """What the scores of untrained twins mean, for those among the models; else nothing.

    >>> untrained_sentence(["phantomclip", "clip"])
    ''
    """
    twins = [name for name in models if name.endswith(UNTRAINED)]
    if not twins:
        return ""
    have = "has the shape of its trained twin" if len(twins) == 1 else "have their twins' shapes"
    return (
        f"{' and '.join(twins)} {have} and random weights: what is reached so above chance comes "
        "from brightness and layout of the pictures, not from learning."
    )


def separation_sentence(scores: Mapping[str, Score], name: str) -> str:
    """Whether neighbours share the plane more than, say, the machine, in words.

    Intervals decide between plane and machine. Whether the machine is told at all is decided
    by the machines permuted among patients: intervals are too narrow for what patients carry.

    Args:
        scores: Scores of one model named LABELLING/SCORE: planes/excess, the excess of the
            other labelling within planes, and its permutations.
        name: The other labelling, which is no anatomy ("machine").

    >>> values = {"planes/excess": 0.8, "machine/excess_within": 0.05}
    >>> values["machine/excess_within/permuted"] = 0.0
    >>> scores = {key: Score(v, v - 0.1, v + 0.1, v, 9, 9, "") for key, v in values.items()}
    >>> separation_sentence(scores, "machine").split(":")[0]
    'Anatomy is separated more than the machine'
    >>> separation_sentence(scores, "operator")
    'All images have the same operator.'
    """
    verdict = _verdict(scores, name)
    if verdict == "same":
        return f"{_VERDICTS[verdict].format(name)}."
    if verdict == "unmeasured":
        return (
            f"{_VERDICTS[verdict].format(name)}: no plane has images of more than one {name} and "
            "of more than one patient."
        )
    keys = ("planes/excess", f"{name}/excess_within", f"{name}/excess_within/permuted")
    anatomy, other, permuted = (scores[key] for key in keys)
    return (
        f"{_VERDICTS[verdict].format(name)}: the excess over chance is {_with_interval(anatomy)} "
        f"for planes and, among images of one plane, {_with_interval(other)} for the {name}, "
        f"{'' if _told(other, permuted) else 'not shown to be '}more than by chance (where "
        f"patients exchange their {name}, 95 % of the excesses are {format_interval(permuted)})."
    )


def separation_summary(scores: Mapping[str, Score], names: Sequence[str]) -> str:
    """The verdicts of `separation_sentence` for several labellings, in one sentence.

    Args:
        scores: As for `separation_sentence`.
        names: The labellings that are no anatomy.

    >>> separation_summary({"planes/excess": Score(0.8, 0.7, 0.9, 0.8, 9, 9)}, ["operator"])
    'All images have the same operator.'
    """
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_VERDICTS[_verdict(scores, name)], []).append(name)
    same = _VERDICTS["same"]
    parts = [
        text.format((" and the same " if text == same else " and the ").join(found))
        for text, found in alike.items()
    ]
    first, *others = parts
    return "; ".join([first, *(text[0].lower() + text[1:] for text in others)]) + "."


_VERDICTS = {
    "same": "All images have the same {}",
    "anatomy": "Anatomy is separated more than the {}",
    "other": "Anatomy is separated less than the {}",
    "open": "Whether anatomy or the {} is separated more cannot be told",
    "unmeasured": "Whether anatomy or the {} is separated more cannot be told",
}


def _verdict(scores: Mapping[str, Score], name: str) -> str:
    if f"{name}/purity" not in scores and f"{name}/excess_within" not in scores:
        return "same"
    anatomy, other = scores.get("planes/excess"), scores.get(f"{name}/excess_within")
    permuted = scores.get(f"{name}/excess_within/permuted")
    if anatomy is None or other is None or permuted is None:
        return "unmeasured"
    if anatomy.low > other.high:
        return "anatomy"
    return "other" if _told(other, permuted) and other.low > anatomy.high else "open"


def _told(other: Score, permuted: Score) -> bool:
    return other.value > permuted.high


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
        parts.append(
            f"in {what} by {format_value(near)} ({format_interval(near)}; any other patient's "
            f"head by {format_value(chance)})"
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
        text = with_interval(score, " to ")
        if name.endswith("/permuted"):
            text = format_range(score, " to ")
        if name.endswith("_chance"):
            text = format_number(score.value, score.unit)
        texts[COLUMNS[name]] = text
    return texts


def _with_interval(score: Score) -> str:
    return f"{format_value(score)} ({format_interval(score)})"
