"""Few-data training: how scores grow with the number of patients, beside zero-shot."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from scipy.special import logsumexp

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.few_data.crossing import Crossing, crossing
from fetalclip_nb.models import similarity
from fetalclip_nb.models.embed import text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.names import UNTRAINED
from fetalclip_nb.results.protocol import task_results
from fetalclip_nb.stats.answers import Answers, answer_table
from fetalclip_nb.stats.runs import resampled_f1, run_scores
from fetalclip_nb.stats.scores import RunScores
from fetalclip_nb.tasks.choice import choose_supports
from fetalclip_nb.tasks.classes import REST
from fetalclip_nb.tasks.items import Items, Task

Logits = Mapping[tuple[str, str, str], np.ndarray]
"""Model, reader and task to what H probes say of the N tested items, (H, N, C)."""

Curves = Mapping[tuple[str, str], Mapping[int, Mapping[str, RunScores]]]
"""Model and task to number of training patients to scores by name."""

ZeroShot = Mapping[tuple[str, str], Mapping[str, RunScores]]
"""Model and task to scores by name."""


Needed = Mapping[tuple[str, str], Crossing]
"""Task and model to the number of training patients to beat zero-shot."""


class Features(Protocol):
    """Features of a task's items: un-normalised embeddings of shape (N, D)."""

    plain: np.ndarray


ZERO_SHOT = "zero-shot"


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
    items: Mapping[str, Items],
    dataset: Dataset,
    choice: str,
    released_root: Path,
    *,
    sizes: Sequence[str],
    sets: int,
    seed: int,
) -> dict[str, Task]:
    """Items of a data set with support sets: name to task.

    Args:
        items: Name to items.
        dataset: Theirs.
        choice: "auto", "official" or "own" support sets (`tasks.choice.choose_supports`).
        released_root: Folder of the authors' split files; it need not be there.
        sizes: For one task after the other, numbers of training patients, as `support_sizes`
            reads them.
        sets: Own sets of each size.
        seed: Seed of own sets.
    """
    tasks = {}
    for (name, asked), text in zip(items.items(), sizes, strict=False):
        numbers = support_sizes(text)
        supports = choose_supports(
            choice, asked, dataset, released_root, sizes=numbers, seed=seed, sets=sets
        )
        tasks[name] = Task(dataset, asked, supports)
    return tasks


def class_logits(
    vectors: np.ndarray, encode: Callable, prompts: Mapping[str, list[str]], classes: Sequence[str]
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
        sentences: Task to sentences of its classes; a task without any is not asked.
        cache_dir: Folder that all notebooks share.
    """
    logits = {}
    for model in models:
        encode = text_encoder(model, cache_dir)
        for name in sentences:
            task = tasks[name]
            tested = features[model.name, name].plain[task.tested]
            logits[model.name, ZERO_SHOT, name] = class_logits(
                tested, encode, sentences[name], task.items.classes
            )
    return logits


def score_curves(logits: Logits, tasks: Mapping[str, Task]) -> Curves:
    """All scores at each number of training patients, over all sets and runs.

    Intervals are over test patients and sets: what another clinic, with other patients to train
    on and to test on, would have found.
    """
    return {
        (model, name): {
            n: run_scores(part, *tasks[name].truth, sets=tasks[name].splits[n].sets)
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


def patients_needed(logits: Logits, spoken: Logits, tasks: Mapping[str, Task]) -> Needed:
    """From how many training patients on probes beat zero-shot, by macro F1.

    Untrained models are left out: their sentences say nothing, so that nothing is beaten. So are
    models without sentences.

    Args:
        logits: Of the probes.
        spoken: As given by `zero_shot_logits`.
        tasks: Name to task.
    """
    needed = {}
    for (model, _, name), values in logits.items():
        if not model.endswith(UNTRAINED) and (model, ZERO_SHOT, name) in spoken:
            task = tasks[name]
            labels, patients, _ = task.truth
            replicates = [
                resampled_f1(part, labels, patients, sets=task.splits[n].sets)
                for n, part in task.by_split(values).items()
            ]
            level = resampled_f1(spoken[model, ZERO_SHOT, name], labels, patients)
            sets = min(len(split.folds) for split in task.splits.values())
            curve = np.stack(replicates, axis=1)
            needed[name, model] = crossing(list(task.splits), curve, level, sets=sets)
    return needed


def save_scores(
    save: Callable, curves: Curves, zero_shot: ZeroShot, answers: Mapping[str, Answers], **where
) -> None:
    """Save a row for each model: TASK_N/SCORE for N training patients, TASK_zero_shot/SCORE.

    Args:
        save: The session's function.
        curves: As given by `score_curves`.
        zero_shot: As given by `score_zero_shot`.
        answers: Model to what its probes or decoders answered.
        **where: Its subject and data set, where these are not planes.
    """
    for model in dict.fromkeys(model for model, _ in curves):
        results = {}
        for name in [name for encoder, name in curves if encoder == model]:
            for n, scores in curves[model, name].items():
                results |= task_results(scores, f"{name}_{n}")
            results |= task_results(zero_shot.get((model, name), {}), f"{name}_zero_shot")
        save(model, results, answers=answers[model], **where)


def plane_answers(logits: Logits, spoken: Logits, tasks: Mapping[str, Task]) -> dict[str, Answers]:
    """What each model's probes, and its sentences, chose for the tested items, by model.

    Runs are in the order of sets and runs, as many of each set as of the others.

    Args:
        logits: Of the probes.
        spoken: As given by `zero_shot_logits`.
        tasks: Name to task.
    """
    found: dict[str, Answers] = {}
    for (model, reader, name), values in [*logits.items(), *spoken.items()]:
        task = tasks[name]
        parts = {"zero_shot": values} if reader == ZERO_SHOT else task.by_split(values)
        items = task.table["id"], task.table["patient"]
        for size, part in parts.items():
            chosen = np.array(task.items.classes)[part.argmax(-1)]
            table = answer_table(*items, true=task.table["label"], predicted=chosen)
            found.setdefault(model, {})[f"{name}_{size}/f1_macro"] = table
    return found
