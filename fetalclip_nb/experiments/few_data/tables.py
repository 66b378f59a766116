"""Tables and sentences of chapter 5."""

from collections.abc import Mapping

import pandas as pd

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.few_data.curves import Curves, Logits, Needed, ZeroShot
from fetalclip_nb.results import protocol
from fetalclip_nb.results.formats import format_interval, with_interval
from fetalclip_nb.stats.classification import as_table, predict
from fetalclip_nb.stats.runs import ensemble
from fetalclip_nb.stats.scores import RunScores
from fetalclip_nb.tasks.items import Task


def support_table(tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Least and most items of a support set and its validation, one row a task and size."""
    sides = [protocol.split_table(t.splits, t.items.table).assign(task=n) for n, t in tasks.items()]
    drawn = pd.concat(sides).rename(columns={"split": "patients"}).groupby(["task", "patients"])
    return drawn[["train items", "validation items", "test items"]].agg(["min", "max"])


def size_table(curves: Curves, zero_shot: ZeroShot) -> pd.DataFrame:
    """Macro F1 at each number of patients and without training, in percent, with intervals."""
    rows, sizes = {}, {n for points in curves.values() for n in points}
    for name in dict.fromkeys(name for _, name in curves):
        for model in [model for model, task in curves if task == name]:
            rows[name.replace("_", " "), model] = _texts(curves[model, name], "f1_macro") | {
                "zero-shot": with_interval(zero_shot[model, name]["f1_macro"].score)
            }
    table = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    return table[[*(f"{n} patients" for n in sorted(sizes)), "zero-shot"]]


def head_table(curves: Curves) -> pd.DataFrame:
    """Pooled DSC of heads at each number of patients, in percent, with intervals."""
    rows = {model: _texts(points, "dsc") for (model, _), points in curves.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _texts(points: Mapping[int, Mapping[str, RunScores]], kind: str) -> dict[str, str]:
    return {f"{n} patients": with_interval(found[kind].score) for n, found in points.items()}


def needed_table(needed: Needed) -> pd.DataFrame:
    """Training patients to beat zero-shot, one row a task and model."""
    texts = {(name.replace("_", " "), model): found.text for (name, model), found in needed.items()}
    return pd.Series(texts, name="training patients to beat zero-shot").to_frame()


def files(
    curves: Curves, logits: Logits, tasks: Mapping[str, Task], model: str
) -> dict[str, pd.DataFrame]:
    """Tables that are kept beside the scores, by name: all runs, and a model's answers.

    Args:
        curves: Of all tasks, heads among them.
        logits: Of the probes.
        tasks: All tasks of the curves.
        model: Whose answers after training on the largest sets are kept.
    """
    sized = {(m, f"{name}_{n}"): s for (m, name), c in curves.items() for n, s in c.items()}
    drawn = {f"{name}_{n}": s for name, task in tasks.items() for n, s in task.splits.items()}
    tables = {"runs": protocol.runs_table(sized, drawn)}
    for (encoder, _, name), values in logits.items():
        if encoder == model:
            task = tasks[name]
            sizes = task.by_split(values)
            mean = ensemble(sizes[max(sizes)])
            answers = predict(mean, task.table["label"], task.items.classes)
            tables[f"predictions-{name}"] = as_table(answers, task.table["id"])
    return tables


def facts(
    tasks: Mapping[str, Task],
    curves: Curves,
    needed: Needed,
    settings: Mapping[str, int],
    model: str,
) -> dict[str, object]:
    """What the prose says of planes.

    Args:
        tasks: The two tasks on planes.
        curves: As given by `score_curves`.
        needed: As given by `patients_needed`.
        settings: The recipe's, as they are compared with the paper's.
        model: The headline model.
    """
    splits = [task.split for task in tasks.values()]
    unlike = protocol.deviation(splits, settings, protocol.FEW_DATA)
    texts = protocol.split_facts(tasks["six_planes"].split)
    for name, task in tasks.items():
        points = curves[model, name]
        score = points[max(points)]["f1_macro"].score
        texts |= {
            f"largest_{name}": max(points),
            f"largest_f1_{name}": score.value,
            f"largest_interval_{name}": format_interval(score),
            f"needed_{name}": needed[name, model].text,
            f"probes_{name}": sum(len(found["f1_macro"].values) for found in points.values()),
            "images_are": kind_of_images(task.dataset),
        }
    return texts | {"unlike_paper": unlike or "nothing"}


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
        points = {n: found["dsc"].score for n, found in curves[model, "head"].items()}
        least, most = min(points), max(points)
        sentence = (
            f"Heads, outlined by decoders on the same encoder: a pooled Dice coefficient of "
            f"{with_interval(points[least])} % after {least} training "
            f"{'patient' if least == 1 else 'patients'}, {with_interval(points[most])} % after "
            f"{most}. The images of heads are {kind_of_images(heads.dataset)}."
        )
        differs = unlike or "nothing"
    return {"heads_sentence": sentence, "heads_unlike_paper": differs}
