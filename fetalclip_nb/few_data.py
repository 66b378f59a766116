"""Few-data training: how scores grow with the number of patients, beside zero-shot."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from fetalclip_nb import zero_shot
from fetalclip_nb.errors import ParameterError, listing
from fetalclip_nb.learning_curves import Crossing, crossing
from fetalclip_nb.metrics import Score
from fetalclip_nb.probe_items import Items
from fetalclip_nb.probe_tables import percent_text, task_results
from fetalclip_nb.results import format_interval
from fetalclip_nb.run_scores import RunScores, resampled_f1, run_scores
from fetalclip_nb.splits import Split

REST = "other"
"""Class that takes the probability of all sentences which describe none of the task's classes."""


def support_sizes(text: str) -> list[int]:
    """Numbers of patients from a notebook parameter.

    Raises:
        ParameterError: Not rising whole numbers from 1 up, separated by commas.

    >>> support_sizes("2, 4, 8")
    [2, 4, 8]
    """
    words = [word.strip() for word in text.split(",")]
    sizes = [int(word) for word in words if word.isascii() and word.isdigit()]
    if len(sizes) != len(words) or sorted(set(sizes)) != sizes or sizes[0] < 1:
        raise ParameterError(
            "Support sizes cannot be read",
            expected="rising whole numbers from 1 up, separated by commas: 2, 4, 8",
            found=repr(text),
        )
    return sizes


def require_sentences(prompts: Mapping[str, list[str]], classes: Sequence[str]) -> None:
    """Refuse prompts that leave a class without sentences, before any embedding.

    Args:
        prompts: Sentences of each class.
        classes: The task's classes; "other" needs none where prompts have further classes.

    Raises:
        ParameterError: Naming all such classes.

    >>> require_sentences({"brain": ["A brain."], "femur": ["A femur."]}, ["brain", "other"])
    """
    rest = [name for name in prompts if name not in classes]
    missing = [name for name in classes if name not in prompts and not (name == REST and rest)]
    if missing:
        raise ParameterError(
            "Classes without sentences",
            expected=listing(classes),
            found=f"no {listing(missing)}",
            fix="add sentences of these classes to the prompts",
        )


def zero_shot_logits(
    vectors: np.ndarray,
    encode: Callable[[list[str]], np.ndarray],
    prompts: Mapping[str, list[str]],
    classes: Sequence[str],
) -> np.ndarray:
    """Zero-shot logits over a task's classes.

    Sentences of no class of the task (kidney, spine, profile, lips and nose among the planes)
    speak for the class "other" if the task has it without sentences of its own: their
    probabilities add up. Otherwise they cannot be chosen.

    Args:
        vectors: Un-normalised embeddings of the tested images, shape (N, D).
        encode: Sentences to embeddings.
        prompts: Sentences of each class.
        classes: The task's classes.

    Returns:
        Logits of shape (1, N, C), as one head's.

    Raises:
        ParameterError: If a class has no sentences.
    """
    require_sentences(prompts, classes)
    rest = [name for name in prompts if name not in classes]
    embedded = zero_shot.class_embeddings(encode, dict(prompts))
    every = zero_shot.zero_shot_logits(zero_shot.normalise(vectors), embedded)
    columns = {name: every[:, i] for i, name in enumerate(prompts)}
    if REST not in columns and rest:
        columns[REST] = logsumexp(np.stack([columns[name] for name in rest]), axis=0)
    return np.stack([columns[name] for name in classes], axis=-1)[None]


def by_size(logits: np.ndarray, supports: Mapping[int, Split]) -> dict[int, np.ndarray]:
    """Cut the logits of all heads by number of training patients.

    Args:
        logits: Shape (H, N, C), in the order of `probing.fit_heads`: all runs of the first
            set of the first size, then of its second set.
        supports: Number of patients to its support sets, as given to `probing.fit_heads`.

    Returns:
        Number of patients to logits of shape (sets * runs, N, C).
    """
    sets = np.array([len(split.folds) for split in supports.values()])
    runs = len(logits) // sets.sum()
    parts = np.split(logits, runs * sets.cumsum()[:-1])
    return dict(zip(supports, parts, strict=True))


def curve(
    logits: Mapping[int, np.ndarray], items: Items, split: Split
) -> dict[int, dict[str, RunScores]]:
    """All scores at each number of training patients.

    Args:
        logits: Number of patients to logits of shape (H, N, C).
        items: The task.
        split: Any of its splits: they share the test patients.
    """
    return {n: run_scores(found, *items.truth(split)) for n, found in logits.items()}


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
    """Macro F1 of a task: model to number of patients to scores of the heads."""
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
    return {f"{n} patients": percent_text(found["f1_macro"].score) for n, found in points.items()}


def largest_facts(points: Mapping[int, Mapping[str, RunScores]], task: str) -> dict[str, object]:
    """The largest support size and its macro F1, as the prose shows them."""
    n = max(points)
    score = points[n]["f1_macro"].score
    return {
        f"largest_{task}": n,
        f"largest_f1_{task}": score.value,
        f"largest_interval_{task}": format_interval("f1", score.low, score.high),
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
        f"{percent_text(points[least].score)} % after {least} training {patients}, "
        f"{percent_text(points[most].score)} % after {most}. The images of heads are {images_are}."
    )


def patients_needed(
    logits: Mapping[int, np.ndarray], level: np.ndarray, items: Items, split: Split
) -> Crossing:
    """From how many training patients on heads beat zero-shot, by macro F1.

    Args:
        logits: Number of patients to logits of shape (H, N, C).
        level: Zero-shot logits of the same items, shape (1, N, C).
        items: The task.
        split: Any of its splits.
    """
    labels, patients, _ = items.truth(split)
    replicates = [resampled_f1(found, labels, patients) for found in logits.values()]
    ahead_of = resampled_f1(level, labels, patients)
    return crossing(list(logits), np.stack(replicates, axis=1), ahead_of)


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
