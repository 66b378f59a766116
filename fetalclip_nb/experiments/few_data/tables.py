"""Tables and sentences of chapter 5."""

from collections.abc import Mapping, Sequence

import pandas as pd

from fetalclip_nb.results.formats import format_interval, with_interval
from fetalclip_nb.results.protocol import task_results
from fetalclip_nb.stats.scores import RunScores, Score


def curve_table(curves: Mapping[str, Mapping[int, RunScores]]) -> pd.DataFrame:
    """Rows model, patients, value, low, high, as `probe_figures.few_data_curves` takes them.

    Args:
        curves: Model to number of patients to one score.
    """
    rows = [
        (model, n, found.score.value, found.score.low, found.score.high)
        for model, points in curves.items()
        for n, found in points.items()
    ]
    return pd.DataFrame(rows, columns=["model", "patients", "value", "low", "high"])


def points_of(
    curves: Mapping[tuple[str, str], Mapping[int, Mapping[str, RunScores]]],
    task: str,
    models: Sequence[str],
) -> dict[str, dict[int, RunScores]]:
    """Macro F1 of a task: model to number of patients to scores of the probes."""
    return {
        model: {n: found["f1_macro"] for n, found in curves[model, task].items()}
        for model in models
    }


def levels_of(
    zero_shot_scores: Mapping[tuple[str, str], Mapping[str, RunScores]],
    task: str,
    models: Sequence[str],
) -> dict[str, tuple[float, float, float]]:
    """Zero-shot macro F1, low and high of each model, as the figure takes them."""
    found = {model: zero_shot_scores[model, task]["f1_macro"].score for model in models}
    return {model: (score.value, score.low, score.high) for model, score in found.items()}


def size_texts(points: Mapping[int, Mapping[str, RunScores]]) -> dict[str, str]:
    """Macro F1 at each number of patients in percent, with its interval."""
    return {f"{n} patients": with_interval(found["f1_macro"].score) for n, found in points.items()}


def largest_facts(points: Mapping[int, Mapping[str, RunScores]], task: str) -> dict[str, object]:
    """The largest support size and its macro F1, as the prose shows them."""
    n = max(points)
    score = points[n]["f1_macro"].score
    return {
        f"largest_{task}": n,
        f"largest_f1_{task}": score.value,
        f"largest_interval_{task}": format_interval(score),
    }


def heads_sentence(points: Mapping[int, RunScores], images_are: str) -> str:
    """What the prose says of heads that were outlined after training on a few patients.

    Args:
        points: Number of training patients to the pooled DSC; empty where none were outlined.
        images_are: What the images of heads are.

    >>> heads_sentence({}, "")
    'No heads were outlined in this run.'
    """
    if not points:
        return "No heads were outlined in this run."
    least, most = min(points), max(points)
    patients = "patient" if least == 1 else "patients"
    return (
        f"Heads, outlined by decoders on the same encoder: a pooled Dice coefficient of "
        f"{with_interval(points[least].score)} % after {least} training {patients}, "
        f"{with_interval(points[most].score)} % after {most}. The images of heads are {images_are}."
    )


def size_results(
    points: Mapping[int, Mapping[str, RunScores]], task: str
) -> dict[str, dict[str, Score]]:
    """Scores at each size as `Session.save` takes them, named TASK_N/SCORE.

    Args:
        points: Number of patients to scores.
        task: Task ("six_planes").
    """
    found: dict[str, dict[str, Score]] = {}
    for n, scores in points.items():
        found |= task_results(scores, f"{task}_{n}")
    return found
