"""``fetalclip-nb bench``: every experiment that a model can do, and one row of what came of it.

The experiments are the chapters, at the sizes of a profile; what was asked is left as a profile
of its own, build/bench-MODEL/profile.yaml, which `fetalclip-nb run` and `book` take as any other.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import yaml

from fetalclip_nb.data.kinds import CLASSIFIED, kind_of
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.errors import ModelError, ParameterError, listing, refuse
from fetalclip_nb.experiments.summary.flat import (
    MEASURES,
    STAND_INS,
    flat_table,
    read_flat,
    write_flat,
)
from fetalclip_nb.files import lock, slug, write_text
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.names import model_name
from fetalclip_nb.paths import project_root, resolve, shown
from fetalclip_nb.profiles import DataSource, Profile, load_profile, named_data
from fetalclip_nb.results.formats import format_number
from fetalclip_nb.workflow.parameters import declared_parameters
from fetalclip_nb.workflow.runner import source_of
from fetalclip_nb.workflow.session import NEEDS

NEEDED = {
    "01_zero_shot": "text",
    "02_gestational_age": "text",
    "04_segmentation": "blocks",
    "06_cam": "maps",
}
"""What a chapter needs of a model, a key of `NEEDS`; the others need images alone."""

ROWS = "models.csv"


def tailored(
    base: Profile, spec: str, model: Model, folders: Sequence[str] = (), prompts: str | None = None
) -> Profile:
    """The profile of one model: the chapters that it can do, on given data; written and read.

    Args:
        base: Sizes, and data where none are given.
        spec: The model, as `load_model` takes it.
        model: The same, loaded.
        folders: Data sets in place of all of the base's.
        prompts: Sentences of the classes of a manifest; without them nothing is asked there.

    Raises:
        ParameterError: Folders that no experiment takes, or two for the same.
        ModelError: The model can do none of the experiments.
    """
    data = given_data(base, folders) if folders else dict(base.data)
    lacks = {need for need in NEEDED.values() if not _has(model, need)}
    asked = {name: named_data(values.get("data", {})) for name, values in base.notebooks.items()}
    owned = {name for name, source in data.items() if source.kind == "manifest"}
    if prompts:
        where, fix = f"--prompts {prompts}", "name the folder of a manifest with --data"
        what = "Sentences are given for the classes of a manifest, and there is none"
        none = not owned & {wanted.get("data_root") for wanted in asked.values()}
        refuse([*data] if none else [], what, error=ParameterError, where=where, fix=fix)
        load_prompts(prompts)
    notebooks = {}
    for name, values in base.notebooks.items():
        wanted = asked[name]
        own = wanted.get("data_root") in owned
        if NEEDED.get(name) in lacks or wanted.get("data_root") not in data:
            continue
        said = (prompts and str(resolve(prompts))) or values.get("plane_prompts", "")
        if own and not said and name == "01_zero_shot":
            continue
        there = {key: source for key, source in wanted.items() if source in data}
        values = values | dict.fromkeys(wanted.keys() - there.keys(), "") | {"data": there}
        values.pop("models", None)  # a chapter's own choice of the profile's models
        if name == "05_few_data" and "blocks" in lacks:
            values |= {"hc18_root": "", "data": {"data_root": there["data_root"]}}
        if own and "plane_prompts" in declared_parameters(source_of(base, name)):
            values["plane_prompts"] = said
        notebooks[name] = values
    if not notebooks:
        raise ModelError("Model can do none of the experiments", where=spec, found=listing(lacks))
    return _written(base, spec, data, notebooks)


def _has(model: Model, need: str) -> bool:
    try:
        NEEDS[need](model)
    except ModelError:
        return False
    return True


def given_data(base: Profile, folders: Sequence[str]) -> dict[str, DataSource]:
    """Data sets by the name that the base profile has for their kind."""
    names = {source.kind: name for name, source in base.data.items()}
    names |= dict.fromkeys(CLASSIFIED, next((names[k] for k in CLASSIFIED if k in names), ""))
    found: dict[str, DataSource] = {}
    wrong = []
    for folder in map(resolve, folders):
        kind = kind_of(folder)
        name = names.get(kind, "")
        if not name or name in found:
            wrong.append(f"{shown(folder)} ({kind or 'unknown layout'})")
        found[name] = DataSource(kind, folder)
    refuse(
        wrong,
        "Data are of no use to the experiments",
        error=ParameterError,
        where="--data",
        expected=f"one folder of each: {listing(sorted(filter(None, names)))}",
        fix="your own images need a manifest.csv with the columns image, label and patient",
    )
    return found


def _written(
    base: Profile, spec: str, data: Mapping[str, DataSource], notebooks: Mapping[str, dict]
) -> Profile:
    name = f"bench-{slug(model_name(spec)).replace('.', '-')}"
    sources = {key: {**vars(source), "root": str(source.root)} for key, source in data.items()}
    content = {
        "name": name,
        "description": f"{base.description} Model: {model_name(spec)}.",
        "device": base.device,
        "precision": base.precision,
        "missing": "leave out" if base.leaves_out else "stop",
        "data": sources,
        "models": [spec],
        "notebooks": dict(notebooks),
    }
    path = project_root() / "build" / name / "profile.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return load_profile(path)


def add_row(profile: Profile, out: Path) -> pd.DataFrame:
    """Put a profile's rows into the table of all; an older row of the same model goes.

    Rows are the same if model, data and protocol are.

    Args:
        profile: Whose chapters have been run.
        out: Folder of the table.

    Returns:
        The profile's rows.
    """
    rows, path = flat_table(profile.folder / "results"), out / ROWS
    out.mkdir(parents=True, exist_ok=True)
    with lock(path):
        every = pd.concat([read_flat(path), rows]) if path.is_file() else rows
        every = every.drop_duplicates(["model", "reader", "data", "protocol"], keep="last")
        every = every.reset_index(drop=True)
        write_flat(every[[not _is_told(every, row) for row in every.index]], out)
    return rows


def _is_told(table: pd.DataFrame, number: int) -> bool:
    """Whether another row of a baseline has all that this one has: it comes with every model."""
    row = table.loc[number]
    known = [measure for measure in MEASURES if pd.notna(row[f"{measure}/value"])]
    cells = [f"{measure}/{part}" for measure in known for part in ("value", "data", "protocol")]
    others = table[(table["model"] == row["model"]) & (table["reader"] == row["reader"])]
    same = (others.drop(index=number)[cells] == row[cells]).all(axis=1)
    return row["model"] in STAND_INS and bool(same.any())


def row_text(rows: pd.DataFrame, model: str) -> str:
    """A model's scores with 95 % intervals in percent, beside those of what stands for none."""
    texts: dict[str, dict[str, str]] = {}
    for row in rows.to_dict("records"):
        for measure, column in MEASURES.items():
            value, low, high = (row[f"{measure}/{part}"] for part in ("value", "low", "high"))
            if value == value:
                ends = "-".join(format_number(end, decimals=1) for end in (low, high))
                text = f"{format_number(value, decimals=1)} ({ends})"
                texts.setdefault(column.name, {})[row["model"]] = text
    table = pd.DataFrame.from_dict(texts, orient="index").fillna("")
    first = [name for name in table if name == model]
    return table[first + [name for name in table if name != model]].to_string()
