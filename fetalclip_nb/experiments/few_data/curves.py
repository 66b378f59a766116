"""Few-data training: how scores grow with the number of patients, beside zero-shot."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import logsumexp

from fetalclip_nb.errors import ParameterError, listing
from fetalclip_nb.experiments.few_data.crossing import Crossing, crossing
from fetalclip_nb.models import similarity
from fetalclip_nb.stats.runs import resampled_f1, run_scores
from fetalclip_nb.stats.scores import RunScores
from fetalclip_nb.tasks.items import Items
from fetalclip_nb.tasks.splits import Split

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
        Logits of shape (1, N, C), as one probe's.

    Raises:
        ParameterError: If a class has no sentences.
    """
    require_sentences(prompts, classes)
    rest = [name for name in prompts if name not in classes]
    embedded = similarity.class_embeddings(encode, dict(prompts))
    every = similarity.zero_shot_logits(similarity.normalise(vectors), embedded)
    columns = {name: every[:, i] for i, name in enumerate(prompts)}
    if REST not in columns and rest:
        columns[REST] = logsumexp(np.stack([columns[name] for name in rest]), axis=0)
    return np.stack([columns[name] for name in classes], axis=-1)[None]


def by_size(logits: np.ndarray, supports: Mapping[int, Split]) -> dict[int, np.ndarray]:
    """Cut the logits of all probes by number of training patients.

    Args:
        logits: Shape (H, N, C), in the order of `probe.fit_probes`: all runs of the first
            set of the first size, then of its second set.
        supports: Number of patients to its support sets, as given to `probe.fit_probes`.

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


def patients_needed(
    logits: Mapping[int, np.ndarray], level: np.ndarray, items: Items, split: Split
) -> Crossing:
    """From how many training patients on probes beat zero-shot, by macro F1.

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
