"""Tables and sentences of chapter 6."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from fetalclip_nb.data.dataset import Dataset, kind_of_images
from fetalclip_nb.experiments.cam.gallery import Gallery
from fetalclip_nb.experiments.cam.maps import TITLES
from fetalclip_nb.experiments.cam.overlays import WEIGHT
from fetalclip_nb.experiments.cam.regions import Outlined
from fetalclip_nb.experiments.cam.scores import Units, of_measure
from fetalclip_nb.experiments.cam.trial import Trial
from fetalclip_nb.models.embed import black_embedding
from fetalclip_nb.models.similarity import zero_shot_logits
from fetalclip_nb.results.formats import (
    format_number,
    format_probability,
    format_range,
    format_value,
    readable,
    with_interval,
)
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.results.tables import plain_table
from fetalclip_nb.stats.differences import LEVEL, holm
from fetalclip_nb.stats.scores import Score
from fetalclip_nb.tasks.classes import own_facts

ENOUGH = 20
"""Patients below which no bootstrap interval stands beside a claim."""

MAIN = {"head": "head", "abdomen": "abdominal_circumference", "four_chamber": "heart"}
"""Structure of each task that its class is named after."""

LABELS = {"head": "heads", "four_chamber": "four-chamber"}
"""Tasks as the names of results have them, where that is not the task's own name."""

PUBLISHED_IMAGES = 10
"""Images of each class."""


def area_table(trial: Trial) -> pd.DataFrame:
    """Areas under the curves of every kind of map, in percent."""
    measures = ("insertion", "deletion", "difference")
    flat = {
        kind: {name: units[f"{name}/all"]["patient"] for name in measures}
        for kind, units in trial.scores.items()
    }
    return plain_table(flat, measures)


def likeness_table(alike: Mapping[str, Units]) -> pd.DataFrame:
    """Rank correlations with the headline map, from -1 to 1."""
    flat = {kind: {"similarity": units["similarity"]["patient"]} for kind, units in alike.items()}
    return plain_table(flat, ["similarity"])


def class_texts(scores: Mapping[str, Units], measure: str) -> pd.DataFrame:
    """A measure as texts in percent: one row a class (all images first), one column a kind.

    Under 20 patients no interval is given: the bootstrap's would be too narrow.

    Args:
        scores: Kind of map to scores named MEASURE/CLASS.
        measure: Name of the score before its class.
    """
    table = pd.DataFrame({kind: of_measure(units, measure) for kind, units in scores.items()})

    def text(score: Score) -> str:
        if score.groups < ENOUGH:
            return format_number(score.value, score.unit)
        return with_interval(score, between=" to ")

    return table.map(text, na_action="ignore")


def claims(results: Mapping[str, Row], trial: Trial, measure: str = "difference") -> pd.DataFrame:
    """How far the headline maps are ahead of each other kind, image by image.

    Args:
        results: As given by `load_results`.
        trial: Whose kinds are compared; the headline's further methods are not.
        measure: "difference", or "black/difference".

    Returns:
        One line a claim: kind, place ("all" or a class), gain, low and high (from 0 to 1), n
        (patients) and p, corrected by Holm for all lines.
    """
    lines = [
        (
            kind,
            name.rpartition("/")[2],
            -found.value,
            -found.high,
            -found.low,
            found.groups,
            found.p,
        )
        for kind in trial.of(trial.kinds)
        for name, found in results[kind].differences.items()
        if name.rpartition("/")[0] == measure
    ]
    table = pd.DataFrame(lines, columns=["kind", "place", "gain", "low", "high", "n", "p"])
    return table.assign(p=holm(table["p"]))


def claim_table(claimed: pd.DataFrame) -> pd.DataFrame:
    """Claims as texts in percentage points: one row a class (all images first), one column a kind.

    Under 20 patients a bootstrap interval is too narrow: then p alone is given.
    """
    texts: dict[str, dict[str, str]] = {}
    for c in claimed.itertuples():
        ends = f" ({100 * c.low:+.1f} to {100 * c.high:+.1f})" if c.n >= ENOUGH else ""
        text = f"{100 * c.gain:+.1f}{ends}, p {format_probability(c.p)}"
        texts.setdefault(c.kind, {})[f"{c.place} ({c.n} patients)"] = text
    return pd.DataFrame(texts)


def by_kind(found: Mapping[tuple[str, str], Units]) -> dict[str, Units]:
    """Scores of all tasks together, for a figure.

    Args:
        found: (kind of map, task) to scores, as given by `region_scores`.

    Returns:
        Kind of map to scores named energy/TASK/STRUCTURE, or energy/STRUCTURE where a task has
        no other structure than the one of its name.
    """
    kinds: dict[str, dict] = {}
    for (kind, task), scores in found.items():
        for name, score in scores.items():
            measure, _, structure = name.partition("/")
            place = structure if structure == task else f"{task}/{structure}"
            kinds.setdefault(kind, {})[f"{measure}/{place}"] = score
    return kinds


def region_rows(outlined: Outlined) -> Iterator[tuple[str, str, Dataset, Units]]:
    """Kind of map, subject as results name it, data set and scores of each row."""
    for (kind, task), scores in outlined.scores.items():
        yield kind, LABELS.get(task, task), outlined.tasks[task].dataset, scores


def facts(
    gallery: Gallery,
    trial: Trial,
    results: Mapping[str, Row],
    outlined: Outlined,
    *,
    per_class: int,
    choice: str,
    weight: float,
    steps: int,
) -> dict[str, object]:
    """What the chapter's prose says.

    Args:
        gallery: Maps of all models.
        trial: Deletion and insertion.
        results: The rows that were saved of it.
        outlined: What lies inside structures.
        per_class: Images of each class.
        choice: How they were chosen.
        weight: Of the map in an overlay.
        steps: Equal parts of the pixels.
    """
    method, first = gallery.methods[0], gallery.headline
    origins = {
        name: task.stand_in or kind_of_images(task.dataset) for name, task in outlined.tasks.items()
    }
    inside = {task: outlined.scores[first, task] for task in outlined.tasks}
    another = len(trial.patients)  # the headline maps once more, for another class
    black = zero_shot_logits(
        black_embedding(gallery.models[first]), gallery.vectors[first, gallery.main]
    )
    return {
        "method": TITLES[method],
        "classes": len(gallery.chosen.classes(gallery.main)),
        "images_are": kind_of_images(gallery.chosen.source),
        "maps": sum(len(cams.maps) for cams in gallery.cams.values()) + another + outlined.made,
        "ceiling": 1 - 1 / steps,
        "paired_sentence": claim_text(claims(results, trial)),
        "black_sentence": claim_text(claims(results, trial, "black/difference")),
        "region_sentence": region_text(inside, origins),
        "black_text": black_text(softmax(black[0]), gallery.classes[first, gallery.main]),
        **own_facts(gallery.chosen.every),
        "twin_sentence": twin_text(gallery.others),
        "deviation_sentence": deviation_text(method, per_class, choice, weight),
    }


def claim_text(claimed: pd.DataFrame) -> str:
    """By how much the headline maps are ahead of each other kind, and in which classes."""
    parts = []
    for kind, lines in claimed.groupby("kind", sort=False):
        overall, classes = lines[lines["place"] == "all"].iloc[0], lines[lines["place"] != "all"]
        names = classes.loc[(classes["p"] < LEVEL) & (classes["gain"] > 0), "place"].tolist()
        listed = f" ({', '.join(names)})" if names else ""
        parts.append(
            f"{100 * overall['gain']:+.1f} against the {kind} "
            f"(p {format_probability(overall['p'])}), "
            f"ahead in {len(names)} of {len(classes)} classes{listed}"
        )
    text = (
        f"Compared image by image, in percentage points, with p corrected for {len(claimed)} claims"
    )
    most = claimed.loc[claimed["place"] != "all", "n"].max()
    # Of n patients, all ahead, p is 2 of 2**n, and the first claim's is multiplied by their number.
    fewest = int(np.log2(2 * len(claimed) / LEVEL)) + 1
    few = "" if most >= fewest else f" No class has the {fewest} patients that it takes to decide."
    return f"{text}: {'; '.join(parts)}.{few}"


def black_text(probabilities: np.ndarray, classes: Sequence[str]) -> str:
    """What a model calls a black image, as the end of a sentence.

    >>> black_text(np.array([0.25, 0.75]), ["brain", "heart"])
    'calls a black image heart (75.0 %)'
    """
    best = int(np.argmax(probabilities))
    return f"calls a black image {classes[best]} ({100 * probabilities[best]:.1f} %)"


def region_text(found: Mapping[str, Units], origins: Mapping[str, str]) -> str:
    """What share of a kind of map lies inside the structure that each task is about.

    Args:
        found: Task to scores of the kind of map, as given by `region_scores`.
        origins: Task to what its images are ("synthetic phantoms", a stand-in, ...).
    """
    if not found:
        return "No outlined structures were given."
    parts = []
    for task, scores in found.items():
        name = MAIN.get(task)
        if f"energy/{name}" in scores:
            energy, area = (scores[f"{m}/{name}"]["patient"] for m in ("energy", "area"))
            parts.append(
                f"the {readable(name)} holds {format_value(energy)} "
                f"({format_range(energy, ' to ')}) of the map "
                f"on {format_value(area)} of the picture"
            )
    origin, *more = dict.fromkeys(origins.values())
    if more:
        origin = "; ".join(f"{task.replace('_', '-')}: {of}" for task, of in origins.items())
    if not parts:
        return f"No structure that a class is named after is outlined ({origin})."
    return f"Where structures are outlined ({origin}), {'; '.join(parts)}."


def twin_text(others: Sequence[str]) -> str:
    """Whether an untrained model was run beside, as a sentence.

    >>> twin_text(["ours-untrained", "clip"])
    'Untrained here: ours-untrained.'
    """
    untrained = [name for name in others if name.endswith("-untrained")]
    if untrained:
        return f"Untrained here: {', '.join(untrained)}."
    return (
        "No untrained model was run, so this question stays open: add CONFIG.json-untrained to the "
        "models."
    )


def deviation_text(method: str, per_class: int, choice: str, weight: float) -> str:
    """In what maps of a run differ from the published ones, as a sentence.

    >>> deviation_text("gradcam", 10, "published", 0.5)
    'Not as published: GradCAM (published: ScoreCAM).'
    """
    unlike = []
    if method != "scorecam":
        unlike.append(f"{TITLES[method]} (published: ScoreCAM)")
    if per_class != PUBLISHED_IMAGES:
        unlike.append(f"{per_class} images of each class ({PUBLISHED_IMAGES})")
    if choice != "published":
        unlike.append("images drawn, files in our colours (the first of each class, JET)")
    if weight != WEIGHT:
        unlike.append(f"weight of the overlay {weight:g} ({WEIGHT})")
    if not unlike:
        return "Method, choice of images, colours of the files and weight are the published ones."
    return f"Not as published: {'; '.join(unlike)}."
