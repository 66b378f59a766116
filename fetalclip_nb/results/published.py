"""Scores that others have published, with their source (published.yaml, context.yaml)."""

from dataclasses import dataclass
from functools import cache
from importlib import resources

import yaml


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


@cache
def published() -> dict[str, dict[str, Published]]:
    """Task ("<experiment>/<data>/<metric>") to model to its published score.

    Models are "clip", "biomedclip", "unimed-clip", "fetalclip" and "mobilefetalclip", those
    whose score of the task is published.

    >>> published()["gestational_age/vpr"]["fetalclip"].n
    814
    """
    return {task: _task_scores(facts) for task, facts in _file("published").items()}


@cache
def context() -> dict:
    """Numbers of others that are no cell of the paper's table, as context.yaml holds them.

    Returns:
        "later": lists of model, use, data, measure, value, source, what differs here, and
        CHAPTER/SCORE of ours or "". "medians": chapter to score to the medians of CLIP,
        BiomedCLIP, UniMed-CLIP and FetalCLIP, each right to 0.01 only.
    """
    return _file("context")


def _file(name: str) -> dict:
    return yaml.safe_load((resources.files(__package__) / f"{name}.yaml").read_text("utf-8"))


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

    The experiment is the first part of the names in published.yaml ("linear_probe").
    """
    return {
        f"published_{task.split('/')[1]}": f"{100 * scores[model].value:.2f} %"
        for task, scores in published().items()
        if task.startswith(f"{experiment}/") and model in scores
    }
