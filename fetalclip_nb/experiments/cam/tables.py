"""Tables and sentences of chapter 6."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from fetalclip_nb.data.dataset import Dataset, kind_of_images
from fetalclip_nb.data.fetal_planes import FIVE_PLANES
from fetalclip_nb.experiments.cam.gallery import Gallery
from fetalclip_nb.experiments.cam.images import PLANES
from fetalclip_nb.experiments.cam.maps import TITLES
from fetalclip_nb.experiments.cam.overlays import WEIGHT
from fetalclip_nb.experiments.cam.regions import Outlined
from fetalclip_nb.experiments.cam.scores import Units, of_measure
from fetalclip_nb.experiments.cam.trial import Trial
from fetalclip_nb.models.embed import black_embedding
from fetalclip_nb.models.similarity import zero_shot_logits
from fetalclip_nb.results.formats import format_range, format_value, readable, with_interval
from fetalclip_nb.results.tables import plain_table
from fetalclip_nb.stats.scores import Score

FEWEST = 5
"""Images of a class below which no interval of the class is judged: two images of two patients
have an interval above 0 whenever both values are."""

_TOO_FEW = f"No class has the {FEWEST} images that it takes to judge it by an interval."

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

    Args:
        scores: Kind of map to scores named MEASURE/CLASS.
        measure: "difference" or "ahead".
    """
    table = pd.DataFrame({kind: of_measure(units, measure) for kind, units in scores.items()})
    return table.map(with_interval, na_action="ignore", between=" to ")


def image_table(trial: Trial, images: pd.DataFrame) -> pd.DataFrame:
    """The images' rows with the areas under the curves of every kind of map."""
    columns = {
        f"{kind}, {name}": values
        for kind, measured in trial.areas.items()
        for name, values in measured.items()
    }
    return images[["id", "label", "patient"]].assign(**columns)


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
    outlined: Outlined,
    planes: Dataset,
    *,
    per_class: int,
    weight: float,
    steps: int,
) -> dict[str, object]:
    """What the chapter's prose says.

    Args:
        gallery: Maps of all models.
        trial: Deletion and insertion.
        outlined: What lies inside structures.
        planes: The data set of planes.
        per_class: Images of each class.
        weight: Of the map in an overlay.
        steps: Equal parts of the pixels.
    """
    method, first = gallery.methods[0], gallery.headline
    scores, blacks = (trial.of(values, headline=False) for values in (trial.scores, trial.blacks))
    origins = {
        name: task.stand_in or kind_of_images(task.dataset) for name, task in outlined.tasks.items()
    }
    inside = {task: outlined.scores[first, task] for task in outlined.tasks}
    another = len(trial.patients)  # the headline maps once more, for another class
    black = zero_shot_logits(black_embedding(gallery.models[first]), gallery.vectors[first, PLANES])
    return {
        "method": TITLES[method],
        "classes": len(FIVE_PLANES),
        "images_are": kind_of_images(planes),
        "maps": sum(len(cams.maps) for cams in gallery.cams.values()) + another + outlined.made,
        "ceiling": 1 - 1 / steps,
        "ahead_sentence": ahead_text(trial.scores[first], scores),
        "paired_sentence": paired_text(trial.of(trial.gains, headline=False)),
        "ahead_black_sentence": ahead_text(trial.blacks[first], blacks),
        "region_sentence": region_text(inside, origins),
        "black_text": black_text(softmax(black[0]), list(gallery.chosen.prompts[PLANES])),
        "twin_sentence": twin_text(gallery.others),
        "deviation_sentence": deviation_text(method, per_class, weight),
    }


def clearly_ahead(one: Units, other: Units) -> list[str]:
    """Classes in which one kind of map is ahead of another with intervals that do not touch."""
    ours, theirs = (of_measure(scores, "difference") for scores in (one, other))
    return [
        name
        for name, score in ours.items()
        if name != "all" and name in theirs and score.low > theirs[name].high
    ]


def ahead_text(one: Units, others: Mapping[str, Units]) -> str:
    """In how many classes one kind of map is clearly ahead of each other kind, as a sentence."""
    classes = _counted(of_measure(one, "difference"))
    if not classes:
        return _TOO_FEW
    parts = []
    for kind, scores in others.items():
        ahead = [name for name in clearly_ahead(one, scores) if name in classes]
        parts.append(f"the {kind} in {_listed(ahead, classes)}")
    return f"Class by class, its interval lies wholly above that of {'; of '.join(parts)}."


def paired_text(gains: Mapping[str, Units]) -> str:
    """By how much one kind of map is ahead of each other kind, image by image, as a sentence."""
    parts, end = [], ""
    for kind, found in gains.items():
        by_class = of_measure(found, "ahead")
        overall, classes = by_class["all"], _counted(by_class)
        ahead = [name for name in classes if by_class[name].low > 0]
        parts.append(
            f"{100 * overall.value:+.1f} ({100 * overall.low:+.1f} to {100 * overall.high:+.1f}) "
            f"against the {kind}" + (f", above 0 in {_listed(ahead, classes)}" if classes else "")
        )
        end = end if classes else f" {_TOO_FEW}"
    return f"Compared image by image, in percentage points: {'; '.join(parts)}.{end}"


def _counted(scores: Mapping[str, Score]) -> list[str]:
    """Classes with enough images for an interval to mean something."""
    return [name for name, score in scores.items() if name != "all" and score.n >= FEWEST]


def _listed(ahead: list[str], classes: list[str]) -> str:
    names = f" ({', '.join(ahead)})" if ahead else ""
    return f"{len(ahead)} of {len(classes)}{names}"


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


def deviation_text(method: str, per_class: int, weight: float) -> str:
    """In what maps of a run differ from the published ones, as a sentence.

    >>> deviation_text("gradcam", 10, 0.5)
    'Not as published: GradCAM (published: ScoreCAM).'
    """
    unlike = []
    if method != "scorecam":
        unlike.append(f"{TITLES[method]} (published: ScoreCAM)")
    if per_class != PUBLISHED_IMAGES:
        unlike.append(f"{per_class} images of each class ({PUBLISHED_IMAGES})")
    if weight != WEIGHT:
        unlike.append(f"weight of the overlay {weight:g} ({WEIGHT})")
    if not unlike:
        return "Method, images of each class and weight of the overlay are the published ones."
    return f"Not as published: {'; '.join(unlike)}."
