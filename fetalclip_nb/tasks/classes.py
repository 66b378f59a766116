"""What the images of a data set are told apart by: its planes, or a user's own classes."""

from collections.abc import Mapping, Sequence

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fetal_planes import (
    BRAIN_SUBPLANES,
    FIVE_PLANES,
    SIX_PLANES,
    brain_subplanes,
    five_planes,
    six_planes,
)
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.errors import DataError, ParameterError, listing, refuse

OWN = "own_classes"
"""Task of a data set whose classes are no planes of FETAL_PLANES_DB."""

REST = "other"
"""Class that needs no sentences: it takes what those of no class of the task are told."""

_PLANES = {
    "five_planes": (five_planes, FIVE_PLANES),
    "six_planes": (six_planes, SIX_PLANES),
    "brain_subplanes": (brain_subplanes, BRAIN_SUBPLANES),
}

_RESERVED = ("all", "")
"""Names of classes that tables use for all images, and of none."""


def asked_tasks(images: Dataset) -> dict[str, Dataset]:
    """What sentences are asked: five planes and sub-planes of the brain, or own classes.

    Returns:
        Task to its images, which have a column label; the first task is the coarse one.
    """
    return _tasks(images, "five_planes")


def taught_tasks(images: Dataset) -> dict[str, Dataset]:
    """What probes are taught: six planes (with "other") and sub-planes, or own classes.

    Returns:
        Task to its images, which have a column label; the first task is the coarse one.
    """
    return _tasks(images, "six_planes")


def _tasks(images: Dataset, planes: str) -> dict[str, Dataset]:
    if "brain_plane" in images.table:
        return {task: _PLANES[task][0](images) for task in (planes, "brain_subplanes")}
    names = sorted(set(images.table["label"]))
    reserved = [repr(name) for name in names if name in _RESERVED]
    where = f"{images.root}, column label"
    refuse(reserved, "Class names are reserved or empty", where=where, fix="rename these classes")
    if len(names) < 2:
        what, fix = "One class cannot be told from others", "label images of a second class"
        raise DataError(what, where=where, expected="two classes", found=listing(names), fix=fix)
    return {OWN: images}


def class_names(task: str, images: Dataset) -> tuple[str, ...]:
    """Classes of a task in the order of tables: as published, own ones by name."""
    return _PLANES[task][1] if task in _PLANES else tuple(sorted(set(images.table["label"])))


def own_facts(tasks: Mapping[str, Dataset]) -> dict[str, object]:
    """What the prose says of own classes; nothing where a run has none."""
    if OWN not in tasks:
        return {}
    names = class_names(OWN, tasks[OWN])
    return {"own_names": ", ".join(names), "own_count": len(names)}


def task_sentences(tasks: Mapping[str, Dataset], *sources: str) -> dict[str, dict[str, list[str]]]:
    """Sentences of each class, by task; a class without any is refused before work starts.

    Args:
        tasks: As given by `asked_tasks` or `taught_tasks`.
        *sources: For one task after the other, as `load_prompts` takes them; empty for a task
            that nothing is asked of. The class `REST` needs no sentences where others have some
            that are no classes of the task.
    """
    sentences = {}
    for (task, images), source in zip(tasks.items(), sources, strict=False):
        if source:
            sentences[task] = load_prompts(source)
            _require_sentences(sentences[task], class_names(task, images), source)
    return sentences


def taught_sentences(images: Dataset, *sources: str) -> dict[str, dict[str, list[str]]]:
    """`task_sentences` of all that probes are taught on a data set."""
    return task_sentences(taught_tasks(images), *sources)


def _require_sentences(
    prompts: Mapping[str, Sequence[str]], classes: Sequence[str], source: str
) -> None:
    rest = prompts.keys() - classes
    missing = [c for c in classes if c not in prompts and not (c == REST and rest)]
    refuse(
        missing,
        "Classes without sentences",
        error=ParameterError,
        where=source,
        expected=f"sentences of {listing(classes)}",
        fix="name a JSON file of prompts that has these classes, spelt as in the data set",
    )
