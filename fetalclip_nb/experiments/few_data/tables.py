"""Tables and sentences of chapter 5."""

from collections.abc import Mapping

import pandas as pd

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.few_data.curves import Curves, Needed, ZeroShot
from fetalclip_nb.results import protocol
from fetalclip_nb.results.formats import format_number, with_interval
from fetalclip_nb.stats.scores import FEWEST_SETS, RunScores
from fetalclip_nb.tasks.classes import own_facts
from fetalclip_nb.tasks.items import Task


def support_table(tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Least and most items of a support set and its validation, one row a task and size."""
    sides = [protocol.split_table(t.splits, t.items.table).assign(task=n) for n, t in tasks.items()]
    drawn = pd.concat(sides).rename(columns={"split": "patients"}).groupby(["task", "patients"])
    return drawn[["train items", "validation items", "test items"]].agg(["min", "max"])


def size_table(curves: Curves, zero_shot: ZeroShot) -> pd.DataFrame:
    """Macro F1 at each number of patients and without training, in percent (`score_text`)."""
    rows, sizes = {}, {n for points in curves.values() for n in points}
    for name in dict.fromkeys(name for _, name in curves):
        for model in [model for model, task in curves if task == name]:
            spoken = zero_shot.get((model, name))
            rows[name.replace("_", " "), model] = _texts(curves[model, name], "f1_macro") | {
                "zero-shot": with_interval(spoken["f1_macro"].score) if spoken else "not asked"
            }
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    return table[[*(f"{n} patients" for n in sorted(sizes)), "zero-shot"]]


def largest(tasks: Mapping[str, Task]) -> str:
    """Name of the score of the last task, the finest, after training on the largest sets."""
    name, task = list(tasks.items())[-1]
    return f"{name}_{max(task.splits)}/f1_macro"


def head_table(curves: Curves) -> pd.DataFrame:
    """Pooled DSC of heads at each number of patients, in percent (`score_text`)."""
    rows = {model: _texts(points, "dsc") for (model, _), points in curves.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _texts(points: Mapping[int, Mapping[str, RunScores]], kind: str) -> dict[str, str]:
    return {f"{n} patients": score_text(found[kind]) for n, found in points.items()}


def score_text(found: RunScores) -> str:
    """Mean and interval in percent; where fewer than five sets were drawn, the mean of each set.

    >>> import numpy as np
    >>> from fetalclip_nb.stats.scores import Score
    >>> score = Score(0.5, 0.4, 0.6, 0.5, 9, 9)
    >>> score_text(RunScores(np.array([0.25, 0.75]), score, sets=2))
    '50.0 (sets: 25.0, 75.0)'
    """
    if not 0 < found.sets < FEWEST_SETS:
        return with_interval(found.score)
    unit = found.score.unit
    each = ", ".join(format_number(mean, unit) for mean in found.of_sets)
    return f"{format_number(found.score.value, unit)} (sets: {each})"


def needed_table(needed: Needed) -> pd.DataFrame:
    """Training patients to beat zero-shot, one row a task and model."""
    texts = {(name.replace("_", " "), model): f.texts for (name, model), f in needed.items()}
    columns = ["training patients to beat zero-shot", "95 %", "not within the sizes"]
    return pd.DataFrame.from_dict(texts, orient="index", columns=columns)


def runs_table(curves: Curves, tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Every score of every fit, of all tasks, heads among them (`protocol.runs_table`)."""
    sized = {(m, f"{name}_{n}"): s for (m, name), c in curves.items() for n, s in c.items()}
    drawn = {f"{name}_{n}": s for name, task in tasks.items() for n, s in task.splits.items()}
    return protocol.runs_table(sized, drawn)


def facts(
    tasks: Mapping[str, Task],
    curves: Curves,
    needed: Needed,
    settings: Mapping[str, int],
    model: str,
) -> dict[str, object]:
    """What the prose says of classes of images.

    Args:
        tasks: Those on classes of images.
        curves: As given by `score_curves`.
        needed: As given by `patients_needed`.
        settings: The recipe's, as they are compared with the paper's.
        model: The headline model.
    """
    splits = [task.split for task in tasks.values()]
    unlike = protocol.deviation(splits, settings, protocol.FEW_DATA)
    first = next(iter(tasks.values()))
    texts = protocol.split_facts(first.split)
    for name, task in tasks.items():
        points = curves[model, name]
        asked = needed.get((name, model))
        texts |= {
            f"largest_{name}": max(points),
            f"largest_f1_{name}": f"{score_text(points[max(points)]['f1_macro'])} %",
            f"needed_{name}": asked.text if asked else "not asked (no trained sentences)",
            f"probes_{name}": sum(len(found["f1_macro"].values) for found in points.values()),
            "images_are": kind_of_images(task.dataset),
        }
    own = own_facts({name: task.dataset for name, task in tasks.items()})
    return texts | own | {"unlike_paper": unlike or "nothing"}


def head_facts(heads: Task | None, curves: Curves, unlike: str, model: str) -> dict[str, str]:
    """What the prose says of heads.

    Args:
        heads: None where none were given.
        curves: Theirs.
        unlike: How their decoders' sets and recipe differ from the paper's.
        model: The headline model.
    """
    if heads is None:
        sentence, differs = "No heads were outlined in this run.", "no heads were given"
    else:
        points = {n: score_text(found["dsc"]) for n, found in curves[model, "head"].items()}
        least, most, units = min(points), max(points), heads.dataset.units
        sentence = (
            f"Heads, outlined by decoders on the same encoder: a pooled Dice coefficient of "
            f"{points[least]} % after {least} training "
            f"{units.removesuffix('s') if least == 1 else units}, {points[most]} % after "
            f"{most}. The images of heads are {kind_of_images(heads.dataset)}."
        )
        differs = unlike or "nothing"
    return {"heads_sentence": sentence, "heads_unlike_paper": differs}
