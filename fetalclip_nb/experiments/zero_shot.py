"""Chapter 1: planes from sentences, and what is known of images beside their answers."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fetal_planes import brain_subplanes, five_planes
from fetalclip_nb.data.released import released_predictions
from fetalclip_nb.models.embed import image_embeddings, text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.similarity import class_embeddings, normalise, zero_shot_logits
from fetalclip_nb.stats import classification, patients
from fetalclip_nb.stats.classification import Predictions
from fetalclip_nb.stats.scores import Score

MAJORITY = "majority class"

TASKS = {"five_planes": five_planes, "brain_subplanes": brain_subplanes}


def plane_tasks(planes: Dataset) -> dict[str, Dataset]:
    """Images of the two tasks: five planes, three brain sub-planes."""
    return {task: images_of(planes) for task, images_of in TASKS.items()}


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
    planes: Dataset,
    tasks: Mapping[str, Dataset],
    prompts: Mapping[str, Mapping[str, Sequence[str]]],
    *,
    cache_dir: Path,
    batch_size: int,
) -> dict[str, dict[str, Predictions]]:
    """Answers of each model, and of always naming the first model's most frequent class.

    Args:
        models: One after the other; each is used and let go.
        planes: All images; they are embedded once, for every chapter.
        tasks: Images of each task.
        prompts: Task to class to sentences.
        cache_dir: Folder of embeddings.
        batch_size: Images in a forward pass.

    Returns:
        Ranked classes by model and task; the last model is `MAJORITY`.

    Raises:
        DataError: If a label has no sentences.
    """
    answers: dict[str, dict[str, Predictions]] = {}
    for model in models:
        answers[model.name] = {}
        encode = text_encoder(model, cache_dir)
        classes = {task: class_embeddings(encode, prompts[task]) for task in tasks}
        embedded = image_embeddings(model, planes, cache_dir=cache_dir, batch_size=batch_size)
        for task, images in tasks.items():
            logits = zero_shot_logits(normalise(embedded.of(images)), classes[task])
            patients = images.table["patient"].to_numpy()
            answers[model.name][task] = classification.predict(
                logits, images.table["label"], tuple(prompts[task]), patients
            )
    first = next(iter(answers.values()))
    return answers | {MAJORITY: {task: classification.majority(first[task]) for task in tasks}}


def plane_scores(answers: Mapping[str, Predictions]) -> dict[str, dict[str, Score]]:
    """All scores of one model: those of each task, and the paper's mean over eight classes."""
    scores = {}
    for task, ranked in answers.items():
        scores |= classification.task_scores(ranked, task)
    both = classification.joined(*answers.values())
    return scores | classification.task_scores(both, "eight_classes", ["f1_macro"])


def plane_answers(
    answers: Mapping[str, Predictions], tasks: Mapping[str, Dataset]
) -> dict[str, pd.DataFrame]:
    """What one model answered for each image, by the scores of `plane_scores` that are compared."""
    found = {}
    for task, ranked in answers.items():
        table = classification.as_table(ranked, tasks[task].table["id"])
        found[f"{task}/f1_macro"] = table.assign(run=0)
    return found | {"eight_classes/f1_macro": pd.concat(found.values(), ignore_index=True)}


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
    """Share of right answers of each machine and each operator, patients resampled."""
    groups = classification.subgroup_accuracy(answers, table["machine"].to_numpy())
    operators = "operator " + table["operator"].to_numpy()
    return groups | classification.subgroup_accuracy(answers, operators)


def likeness(answers: Predictions) -> float:
    """Intraclass correlation of the right answers within a patient, as of `patients.likeness`."""
    return patients.likeness(answers.right, answers.patients)


def released_planes(folder: Path) -> dict[str, Predictions]:
    """FetalCLIP's first choices of both plane tasks, from the authors' files without patients."""
    released = {task: released_predictions(folder, task) for task in TASKS}
    return {
        task: Predictions(found.classes, found.labels, found.predictions[:, None], None)
        for task, found in released.items()
    }
