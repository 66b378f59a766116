"""Few-data training: how scores grow with the number of patients, beside zero-shot."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.special import logsumexp

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.errors import ParameterError, listing
from fetalclip_nb.experiments.few_data.crossing import Crossing, crossing
from fetalclip_nb.models import similarity
from fetalclip_nb.models.embed import text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.results.protocol import task_results
from fetalclip_nb.stats.runs import resampled_f1, run_scores
from fetalclip_nb.stats.scores import RunScores
from fetalclip_nb.tasks.choice import choose_supports
from fetalclip_nb.tasks.items import Items, Task, plane_items

Logits = Mapping[tuple[str, str, str], np.ndarray]
"""Model, reader and task to what H probes say of the N tested items, (H, N, C)."""

Curves = Mapping[tuple[str, str], Mapping[int, Mapping[str, RunScores]]]
"""Model and task to number of training patients to scores by name."""

ZeroShot = Mapping[tuple[str, str], Mapping[str, RunScores]]
"""Model and task to scores by name."""


class Features(Protocol):
    """Features of a task's items: un-normalised embeddings of shape (N, D)."""

    plain: np.ndarray


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


def support_tasks(
    planes: Dataset,
    choice: str,
    released_root: Path,
    *,
    plane_sizes: str,
    brain_sizes: str,
    sets: int,
    seed: int,
) -> dict[str, Task]:
    """Six planes and three brain sub-planes, with support sets: name to task.

    Args:
        planes: FETAL_PLANES_DB, or what has its layout.
        choice: "auto", "official" or "own" support sets (`tasks.choice.choose_supports`).
        released_root: Folder of the authors' split files; it need not be there.
        plane_sizes: Numbers of training patients for six planes, as `support_sizes` reads them.
        brain_sizes: The same for brain sub-planes.
        sets: Own sets of each size.
        seed: Seed of own sets.
    """
    sizes = {"six_planes": plane_sizes, "brain_subplanes": brain_sizes}
    return {
        name: support_task(
            items, planes, choice, released_root, sizes=sizes[name], sets=sets, seed=seed
        )
        for name, items in plane_items(planes).items()
    }


def support_task(
    items: Items,
    dataset: Dataset,
    choice: str,
    released_root: Path,
    *,
    sizes: str,
    sets: int,
    seed: int,
) -> Task:
    """Items of a data set with support sets of some sizes, as `support_tasks` draws them."""
    numbers = support_sizes(sizes)
    supports = choose_supports(
        choice, items, dataset, released_root, sizes=numbers, seed=seed, sets=sets
    )
    return Task(dataset, items, supports)


def load_sentences(tasks: Mapping[str, Task], **prompts: str) -> dict[str, dict[str, list[str]]]:
    """Sentences of each class, by task; a task whose classes have none is refused.

    Args:
        tasks: Name to task.
        **prompts: Name of a task to the name or file of its prompts (`load_prompts`).
    """
    sentences = {name: load_prompts(text) for name, text in prompts.items()}
    for name, task in tasks.items():
        require_sentences(sentences[name], task.items.classes)
    return sentences


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


def class_logits(
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
    """
    rest = [name for name in prompts if name not in classes]
    embedded = similarity.class_embeddings(encode, dict(prompts))
    every = similarity.zero_shot_logits(similarity.normalise(vectors), embedded)
    columns = {name: every[:, i] for i, name in enumerate(prompts)}
    if REST not in columns and rest:
        columns[REST] = logsumexp(np.stack([columns[name] for name in rest]), axis=0)
    return np.stack([columns[name] for name in classes], axis=-1)[None]


def zero_shot_logits(
    models: Iterable[Model],
    features: Mapping[tuple[str, str], Features],
    tasks: Mapping[str, Task],
    sentences: Mapping[str, Mapping[str, list[str]]],
    *,
    cache_dir: Path,
) -> dict[tuple[str, str, str], np.ndarray]:
    """What each model says of each task's tested items without any training.

    Args:
        models: Encoders, one after the other.
        features: Model and task to features of the items.
        tasks: Name to task.
        sentences: Task to sentences of its classes.
        cache_dir: Folder that all notebooks share.
    """
    logits = {}
    for model in models:
        encode = text_encoder(model, cache_dir)
        for name, task in tasks.items():
            tested = features[model.name, name].plain[task.tested]
            logits[model.name, "zero-shot", name] = class_logits(
                tested, encode, sentences[name], task.items.classes
            )
    return logits


def score_curves(logits: Logits, tasks: Mapping[str, Task]) -> Curves:
    """All scores at each number of training patients, over all sets and runs."""
    return {
        (model, name): {
            n: run_scores(part, *tasks[name].truth)
            for n, part in tasks[name].by_split(values).items()
        }
        for (model, _, name), values in logits.items()
    }


def score_zero_shot(spoken: Logits, tasks: Mapping[str, Task]) -> ZeroShot:
    """All zero-shot scores on the same test items."""
    return {
        (model, name): run_scores(values, *tasks[name].truth)
        for (model, _, name), values in spoken.items()
    }


def patients_needed(
    logits: Logits, spoken: Logits, tasks: Mapping[str, Task]
) -> dict[tuple[str, str], Crossing]:
    """From how many training patients on probes beat zero-shot, by macro F1.

    Args:
        logits: Of the probes.
        spoken: As given by `zero_shot_logits`.
        tasks: Name to task.

    Returns:
        Task and model to the number of patients.
    """
    return {
        (name, model): first_ahead(
            task.by_split(logits[model, reader, name]), spoken[model, "zero-shot", name], task
        )
        for name, task in tasks.items()
        for model, reader in dict.fromkeys((model, reader) for model, reader, _ in logits)
    }


def first_ahead(logits: Mapping[int, np.ndarray], level: np.ndarray, task: Task) -> Crossing:
    """From how many training patients on probes beat zero-shot in one task.

    Args:
        logits: Number of patients to logits of shape (H, N, C).
        level: Zero-shot logits of the same items, shape (1, N, C).
        task: Its tested items are the N.
    """
    labels, patients, _ = task.truth
    replicates = [resampled_f1(part, labels, patients) for part in logits.values()]
    ahead_of = resampled_f1(level, labels, patients)
    return crossing(list(logits), np.stack(replicates, axis=1), ahead_of)


def save_scores(
    save: Callable,
    curves: Curves,
    zero_shot: ZeroShot = {},  # noqa: B006 (it is not changed)
    *,
    subject: str = "",
    dataset: Dataset | None = None,
) -> None:
    """Save a row for each model: TASK_N/SCORE for N training patients, TASK_zero_shot/SCORE.

    Args:
        save: The session's function.
        curves: As given by `score_curves`.
        zero_shot: As given by `score_zero_shot`.
        subject: What was measured, where that is not planes.
        dataset: What was scored, where that is not the notebook's first data set.
    """
    for model in dict.fromkeys(model for model, _ in curves):
        results = {}
        for name in [name for encoder, name in curves if encoder == model]:
            for n, scores in curves[model, name].items():
                results |= task_results(scores, f"{name}_{n}")
            results |= task_results(zero_shot.get((model, name), {}), f"{name}_zero_shot")
        save(model, results, subject=subject, dataset=dataset)
