"""Chapter 1: classes from sentences, and what is known of images beside their answers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset, kind_of_images
from fetalclip_nb.data.released import released_predictions
from fetalclip_nb.models.embed import image_embeddings, text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.similarity import class_embeddings, normalise, zero_shot_logits
from fetalclip_nb.stats import classification, patients
from fetalclip_nb.stats.classification import Predictions
from fetalclip_nb.stats.scores import Score
from fetalclip_nb.tasks.classes import class_names, own_facts

MAJORITY = "majority class"

JOINED = "eight_classes"
"""The paper's mean over the classes of both of its tasks."""


def compared(tasks: Mapping[str, Dataset]) -> list[str]:
    """Tasks that have a table: all, and `JOINED` where there are two."""
    return [*tasks, JOINED] if len(tasks) > 1 else [*tasks]


def shown_classes(tasks: Mapping[str, Dataset]) -> list[str]:
    """Classes that have images, task by task."""
    return [name for task, images in tasks.items() for name in class_names(task, images)]


def counts(tasks: Mapping[str, Dataset]) -> pd.DataFrame:
    """Images and patients of each class."""
    summaries = {task: images.summary("label") for task, images in tasks.items()}
    return pd.concat(summaries, names=["task", ""]).droplevel(1)


def examples(tasks: Mapping[str, Dataset], most: int) -> pd.DataFrame:
    """The first images of each class: their rows, with the column file."""
    return pd.concat(
        images.table.assign(file=images.paths).groupby("label").head(most).sort_values("label")
        for images in tasks.values()
    )


def predictions(
    models: Iterable[Model],
    images: Dataset,
    tasks: Mapping[str, Dataset],
    prompts: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    cache_dir: Path,
    batch_size: int,
) -> dict[str, dict[str, Predictions]]:
    """Answers of each model, and of always naming the first model's most frequent class.

    Args:
        models: One after the other; each is used and let go.
        images: All images; they are embedded once, for every chapter.
        tasks: Images of each task.
        prompts: Task to class to sentences.
        cache_dir: Folder of embeddings.
        batch_size: Images in a forward pass.

    Returns:
        Ranked classes by model and task; the last model is `MAJORITY`.
    """
    answers: dict[str, dict[str, Predictions]] = {}
    for model in models:
        answers[model.name] = {}
        encode = text_encoder(model, cache_dir)
        classes = {task: class_embeddings(encode, prompts[task]) for task in tasks}
        embedded = image_embeddings(model, images, cache_dir=cache_dir, batch_size=batch_size)
        for task, part in tasks.items():
            logits = zero_shot_logits(normalise(embedded.of(part)), classes[task])
            owners = part.table["patient"].to_numpy()
            answers[model.name][task] = classification.predict(
                logits, part.table["label"], tuple(prompts[task]), owners
            )
    first = next(iter(answers.values()))
    return answers | {MAJORITY: {task: classification.majority(first[task]) for task in tasks}}


def task_scores(answers: Mapping[str, Predictions]) -> dict[str, dict[str, Score]]:
    """All scores of one model: those of each task, and of two tasks the mean over all classes."""
    scores = {}
    for task, ranked in answers.items():
        scores |= classification.task_scores(ranked, task)
    if len(answers) > 1:
        both = classification.joined(*answers.values())
        scores |= classification.task_scores(both, JOINED, ["f1_macro"])
    return scores


def task_answers(
    answers: Mapping[str, Predictions], tasks: Mapping[str, Dataset]
) -> dict[str, pd.DataFrame]:
    """What one model answered for each image, by the scores of `task_scores` that are compared."""
    found = {}
    for task, ranked in answers.items():
        table = classification.as_table(ranked, tasks[task].table["id"])
        found[f"{task}/f1_macro"] = table.assign(run=0)
    both = {f"{JOINED}/f1_macro": pd.concat(found.values(), ignore_index=True)}
    return found | (both if len(found) > 1 else {})


def confident_mistakes(
    answers: Mapping[str, Predictions], tasks: Mapping[str, Dataset], most: int
) -> pd.DataFrame:
    """The wrong answers of one model with the highest confidence, `most` of each task.

    Returns:
        Columns image (the file), true, predicted, confidence.
    """
    return pd.concat(
        classification.mistakes(answers[task], images.paths, most) for task, images in tasks.items()
    )


def by_machine_and_operator(answers: Predictions, table: pd.DataFrame) -> dict[str, Score]:
    """Share of right answers of each machine and each operator, patients resampled.

    Where the table names none, or none of five patients, the share of all images alone.
    """
    groups = {"all images": np.full(len(table), "all images")}
    for column, word in (("machine", ""), ("operator", "operator "), ("centre", "")):
        if column in table:
            groups[column] = word + table[column].to_numpy(str).astype(object)
    found = {c: classification.subgroup_accuracy(answers, g) for c, g in groups.items()}
    named = {name: score for c in [*groups][1:] for name, score in found[c].items()}
    return named or found["all images"]


def facts(
    answers: Mapping[str, Predictions], tasks: Mapping[str, Dataset], images: Dataset, unlike: str
) -> dict[str, object]:
    """What the prose says of this run.

    Args:
        answers: The headline model's, by task.
        tasks: Images of each task.
        images: The whole data set.
        unlike: How the run leaves the paper's protocol.
    """
    alike = {t: f"{patients.likeness(a.right, a.patients):.2f}" for t, a in answers.items()}
    first = next(iter(answers.values()))
    return {
        "images_are": kind_of_images(images),
        "images": len(images),
        "patients": images.table["patient"].nunique(),
        **{f"likeness_{task}": text for task, text in alike.items()},
        "classes": len(first.classes),
        **own_facts(tasks),
        "unlike_paper": unlike,
    }


def released_planes(folder: Path) -> dict[str, Predictions]:
    """FetalCLIP's first choices of both plane tasks, from the authors' files without patients."""
    released = {t: released_predictions(folder, t) for t in ("five_planes", "brain_subplanes")}
    return {
        task: Predictions(found.classes, found.labels, found.predictions[:, None], None)
        for task, found in released.items()
    }
