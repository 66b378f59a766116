"""Scores that others have published, with their source (published.yaml)."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml

from fetalclip_nb.errors import ParameterError


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes:
        value: The score, in ``unit``.
        unit: "fraction".
        n: How many images (or clips, see ``note``) it was measured on; None if not stated.
        source: Document, and table or place in it.
        note: Data and protocol behind the number.
        errata: Numbers in the book's list of errata that concern it.
    """

    value: float
    unit: str
    n: int | None
    source: str
    note: str
    errata: tuple[int, ...] = ()


def published(task: str, model: str) -> Published | None:
    """The published score of a model, None if nobody has published it.

    Args:
        task: "<experiment>/<data>/<metric>", one of `published_tasks`.
        model: "clip", "biomedclip", "unimed-clip", "fetalclip" or "mobilefetalclip".

    Raises:
        ParameterError: If the task is unknown.

    >>> published("gestational_age/vpr", "fetalclip").n
    814
    >>> published("segmentation/head/dsc", "mobilefetalclip") is None
    True
    """
    return published_scores(task).get(model)


def published_scores(task: str) -> dict[str, Published]:
    """The published scores of a task by model.

    Raises:
        ParameterError: If the task is unknown.
    """
    if task not in _scores():
        raise ParameterError(
            "No scores are published for this task",
            where="published.yaml",
            expected=", ".join(published_tasks()),
            found=task,
        )
    return dict(_scores()[task])


def published_tasks() -> tuple[str, ...]:
    """The tasks with published scores, in the order of the paper's table."""
    return tuple(_scores())


@cache
def _scores() -> dict[str, dict[str, Published]]:
    text = (resources.files(__package__) / "published.yaml").read_text("utf-8")
    return {task: _task_scores(facts) for task, facts in yaml.safe_load(text).items()}


def _task_scores(facts: dict) -> dict[str, Published]:
    shared = {key: content for key, content in facts.items() if key != "values"}
    scores = {}
    for model, content in facts["values"].items():
        own = content if isinstance(content, dict) else {"value": content}
        errata = sorted({*shared["errata"], *own.get("errata", ())})
        scores[model] = Published(**{**shared, **own, "errata": tuple(errata)})
    return scores


def published_facts(experiment: str, model: str = "fetalclip") -> dict[str, str]:
    """Published scores of a model as the prose shows them: published_TASK.

    Args:
        experiment: First part of the names in published.yaml ("linear_probe").
        model: Whose scores.
    """
    names = [name for name in published_tasks() if name.startswith(f"{experiment}/")]
    found = {name.split("/")[1]: published(name, model) for name in names}
    return {f"published_{task}": f"{100 * one.value:.2f} %" for task, one in found.items() if one}
