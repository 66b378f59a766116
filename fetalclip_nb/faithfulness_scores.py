"""Areas under deletion and insertion curves, per class, with intervals over patients."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from fetalclip_nb.errors import ShapeError
from fetalclip_nb.metrics import Score
from fetalclip_nb.patient_means import patient_means, require_one_each

FEWEST = 5
"""Images of a class below which no interval of the class is judged: two images of two patients
have an interval above 0 whenever both values are."""

_TOO_FEW = f"No class has the {FEWEST} images that it takes to judge it by an interval."


def area_under(curves: np.ndarray) -> np.ndarray:
    """Mean height of curves by the trapezoid rule, the share of pixels going from 0 to 1.

    Args:
        curves: Shape (..., K + 1).

    Returns:
        Shape (...): for deletion the smaller, for insertion the larger the better.

    >>> float(area_under(np.array([1.0, 0.5, 0.5])))
    0.625
    """
    return trapezoid(curves, dx=1 / (np.shape(curves)[-1] - 1), axis=-1)


def areas(found: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Area under each image's curves, and by how much insertion exceeds deletion.

    Args:
        found: "deletion" and "insertion" to curves, as given by `faithfulness.faithfulness_curves`.

    Returns:
        "insertion", "deletion" and "difference", float64 of shape (N,).
    """
    insertion, deletion = (area_under(found[mode]) for mode in ("insertion", "deletion"))
    return {"insertion": insertion, "deletion": deletion, "difference": insertion - deletion}


def faithfulness_scores(
    deletion: np.ndarray, insertion: np.ndarray, labels: np.ndarray, patients: np.ndarray
) -> dict[str, dict[str, Score]]:
    """Mean areas of one kind of map over all images and over those of each class.

    Args:
        deletion: Area under each image's deletion curve, shape (N,); the smaller the better.
        insertion: Area under each image's insertion curve, shape (N,); the larger the better.
        labels: Class name of each image, shape (N,).
        patients: Patient of each image, shape (N,).

    Returns:
        insertion/all, deletion/all and difference/all (insertion minus deletion; the larger the
        better), and the same of each class (difference/brain), each with its 95 % interval over
        patients, as `Session.save` takes them.

    Raises:
        ShapeError: If sizes do not match or there is no image.
    """
    deletion, insertion = np.asarray(deletion), np.asarray(insertion)
    measures = {"insertion": insertion, "deletion": deletion}
    if deletion.shape == insertion.shape:
        measures["difference"] = insertion - deletion
    return patient_means(_by_class(measures, labels), patients)


def advantage(
    one: np.ndarray, other: np.ndarray, labels: np.ndarray, patients: np.ndarray, *, name: str
) -> dict[str, dict[str, Score]]:
    """By how much one kind of map is ahead of another on the same images.

    What images have in common cancels: two kinds may have overlapping intervals although one
    is ahead in nearly every image. An interval above 0 says that it is.

    Args:
        one: Value of each image for one kind of map ("difference" of `areas`), shape (N,); NaN
            where there is none.
        other: The same for the other kind.
        labels: Class name of each image, shape (N,).
        patients: Patient of each image, shape (N,).
        name: Of the results: "over_random" gives over_random/all, over_random/brain, ...

    Returns:
        Mean of one minus other, with its 95 % interval over patients.

    Raises:
        ShapeError: If sizes do not match or there is no image.
    """
    if np.shape(one) != np.shape(other):
        raise ShapeError(
            "Maps were scored on different images", expected=np.shape(one), found=np.shape(other)
        )
    return patient_means(_by_class({name: np.subtract(one, other)}, labels), patients)


def clearly_ahead(
    one: Mapping[str, Mapping[str, Score]],
    other: Mapping[str, Mapping[str, Score]],
    measure: str = "difference",
) -> list[str]:
    """Classes in which one kind of map is ahead of another with intervals that do not touch.

    Args:
        one: As given by `faithfulness_scores`.
        other: The same for the other kind.
        measure: "difference" or "insertion", of which more is better.
    """
    return [
        key.partition("/")[2]
        for key, found in one.items()
        if key.startswith(f"{measure}/") and not key.endswith("/all")
        if key in other and found["patient"].low > other[key]["patient"].high
    ]


def ahead_text(
    one: Mapping[str, Mapping[str, Score]],
    others: Mapping[str, Mapping[str, Mapping[str, Score]]],
    measure: str = "difference",
) -> str:
    """In how many classes one kind of map is clearly ahead of each other kind, as a sentence.

    Args:
        one: As given by `faithfulness_scores`.
        others: Kind of map, as the sentence names it, to the same.
        measure: See `clearly_ahead`.
    """
    classes = _counted(one)
    if not classes:
        return _TOO_FEW
    parts = []
    for kind, scores in others.items():
        ahead = [name for name in clearly_ahead(one, scores, measure) if name in classes]
        parts.append(f"the {kind} in {_listed(ahead, classes)}")
    return f"Class by class, its interval lies wholly above that of {'; of '.join(parts)}."


def paired_text(gains: Mapping[str, Mapping[str, Mapping[str, Score]]]) -> str:
    """By how much one kind of map is ahead of each other kind, image by image, as a sentence.

    Args:
        gains: Other kind, as the sentence names it, to what `advantage` gives.
    """
    parts = []
    for kind, found in gains.items():
        by_class = {key.partition("/")[2]: units["patient"] for key, units in found.items()}
        overall, classes = by_class["all"], _counted(found)
        ahead = [name for name in classes if by_class[name].low > 0]
        parts.append(
            f"{100 * overall.value:+.1f} ({100 * overall.low:+.1f} to {100 * overall.high:+.1f}) "
            f"against the {kind}" + (f", above 0 in {_listed(ahead, classes)}" if classes else "")
        )
    end = "" if all(map(_counted, gains.values())) else f" {_TOO_FEW}"
    return f"Compared image by image, in percentage points: {'; '.join(parts)}.{end}"


def black_text(probabilities: np.ndarray, classes: Sequence[str]) -> str:
    """What a model calls a black image, as the end of a sentence.

    Args:
        probabilities: Of the classes for a black image, shape (C,).
        classes: C names.

    >>> black_text(np.array([0.25, 0.75]), ["brain", "heart"])
    'calls a black image heart (75.0 %)'
    """
    best = int(np.argmax(probabilities))
    return f"calls a black image {classes[best]} ({100 * probabilities[best]:.1f} %)"


def class_texts(
    scores: Mapping[str, Mapping[str, Mapping[str, Score]]], measure: str
) -> pd.DataFrame:
    """A measure as texts in percent: one row a class (all images first), one column a kind.

    Args:
        scores: Kind of map to scores named MEASURE/CLASS.
        measure: Such as "difference", or the name of an advantage.
    """
    return pd.DataFrame(
        {
            kind: {
                key.partition("/")[
                    2
                ]: f"{100 * s.value:.1f} ({100 * s.low:.1f} to {100 * s.high:.1f})"
                for key, units in found.items()
                if key.startswith(f"{measure}/")
                for s in [units["patient"]]
            }
            for kind, found in scores.items()
        }
    )


def _counted(scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """Classes with enough images for an interval to mean something."""
    names = {key.partition("/")[2]: units["patient"].n for key, units in scores.items()}
    return [name for name, n in names.items() if name != "all" and n >= FEWEST]


def _listed(ahead: list[str], classes: list[str]) -> str:
    names = f" ({', '.join(ahead)})" if ahead else ""
    return f"{len(ahead)} of {len(classes)}{names}"


def mean_curve(curves: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Mean of curves at each step, with its 95 % interval over patients.

    Args:
        curves: Shape (N, K + 1).
        patients: Patient of each image, shape (N,).

    Returns:
        Low end, mean and high end, float64 of shape (3, K + 1).
    """
    found = patient_means(dict(enumerate(np.transpose(curves))), patients)
    ends = [(s["patient"].low, s["patient"].value, s["patient"].high) for s in found.values()]
    return np.transpose(ends)


def _by_class(values: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Values of all images, and of each class with NaN for the others: NAME/all, NAME/CLASS."""
    labels = np.asarray(labels)
    require_one_each(values, labels)
    found = {}
    for name, each in values.items():
        found[f"{name}/all"] = each
        for label in sorted(set(labels.tolist())):
            found[f"{name}/{label}"] = np.where(labels == label, each, np.nan)
    return found
