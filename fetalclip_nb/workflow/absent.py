"""What a profile names and this machine cannot have, and the page of a chapter that lacks it.

Only a profile with ``missing: leave out`` goes on without. Nothing is downloaded here: files are
looked for, and what `fetalclip-nb embed` could not load has left a note.
"""

import re
from collections.abc import Collection, Mapping
from itertools import takewhile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from fetalclip_nb.data.kinds import KINDS
from fetalclip_nb.downloads.registry import registry
from fetalclip_nb.errors import FetalClipError
from fetalclip_nb.files import slug, write_text
from fetalclip_nb.models.names import model_files, model_name, parse_models
from fetalclip_nb.paths import resolve, shown
from fetalclip_nb.profiles import DataSource, Profile, named_data


def absent_data(profile: Profile) -> dict[str, str]:
    """The data sets that a profile may leave out and that are not there, each with the reason."""
    lacking = profile.data.items() if profile.leaves_out else ()
    return {name: _data_reason(source) for name, source in lacking if not is_there(source)}


def is_there(source: DataSource) -> bool:
    """Whether a data set has its files, or can be drawn; the authors' files are optional."""
    if source.phantoms or source.kind not in KINDS or source.root.is_file():
        return True
    return all((source.root / part).exists() for part in KINDS[source.kind].layout)


def _data_reason(source: DataSource, what: str = "its data") -> str:
    how = f"`fetalclip-nb download {source.download}` fetches them" if source.download else ""
    how = how or "nobody offers them for download: put your own there"
    return f"{what} are not in {shown(source.root)} ({how})"


def absent_models(profile: Profile) -> dict[str, str]:
    """The models, by spec, that a profile may leave out and that are not there, with reasons."""
    own = [str(each.get("models", "")) for each in profile.notebooks.values()]
    specs = [*profile.models, *(spec for text in own if text for spec in parse_models(text))]
    found = {spec: _model_reason(profile, spec) for spec in specs if profile.leaves_out}
    return {spec: why for spec, why in found.items() if why}


def _model_reason(profile: Profile, spec: str) -> str:
    if lost := _lost(spec):
        pairs = ((entry.name, file.path) for entry in registry().values() for file in entry.files)
        known = [name for name, path in pairs if path == lost[0].name]
        how = f" (`fetalclip-nb download {known[0]}` fetches it)" if known else ""
        return f"{shown(lost[0])} is not there{how}"
    note = _note(profile, spec)
    return note.read_text("utf-8") if note.is_file() else ""


def _lost(spec: str) -> list[Path]:
    return [path for path in model_files(spec) if not path.is_file()]


def note_model(profile: Profile, spec: str, error: FetalClipError | None) -> None:
    """Note why a model, whose files are here or lie in a hub, could not be loaded; None: it was."""
    if error is None or _lost(spec):
        _note(profile, spec).unlink(missing_ok=True)
    else:  # of paths on this machine, the last part: a book shows the note
        said = str(error).partition(" What to do:")[0]
        text = re.sub(r"(?<![\w:/.~-])/(?:[^\s/'\"]+/)+", "", said)
        write_text(_note(profile, spec), f"{text} (`fetalclip-nb embed` tries again)")


def _note(profile: Profile, spec: str) -> Path:
    return profile.folder / "absent" / f"{slug(spec)}.txt"


def left_out(
    profile: Profile, name: str, values: Mapping[str, object], optional: Collection[str] = ()
) -> tuple[dict, str]:
    """A notebook's parameters without what is absent, and why it cannot run; "" if it can.

    Args:
        profile: With `Profile.leaves_out`; otherwise nothing counts as absent.
        name: The notebook.
        values: Its parameters.
        optional: Those that may be empty: without their data the others of a chapter are run.
    """
    values, models, lost = dict(values), absent_models(profile), absent_data(profile)
    specs = parse_models(str(values.get("models", "")))
    data = named_data(profile.notebooks[name].get("data", {}))
    values |= {key: "" for key, source in data.items() if source in lost and key in optional}
    needed = {source for key, source in data.items() if key not in optional}
    lacking = {key: why for key, why in lost.items() if key in needed}
    lacking |= {key: why for key, why in _files(profile, values).items() if key not in lacking}
    if all(spec in models for spec in specs):
        lacking |= {model_name(spec): models[spec] for spec in specs}
    else:
        values["models"] = ", ".join(spec for spec in specs if spec not in models)
    return values, "; ".join(f"{key}: {why}" for key, why in lacking.items())


def _files(profile: Profile, values: Mapping[str, object]) -> dict[str, str]:
    """Data sets in which files that parameters name are not there, each with the reason."""
    named = [Path(v) for v in values.values() if isinstance(v, str) and Path(v).suffix]
    lost = [path for path in map(resolve, named) if not path.exists()]
    within = {
        name: [path.name for path in lost if source.root in path.parents]
        for name, source in profile.data.items()
        if profile.leaves_out
    }
    return {
        name: _data_reason(profile.data[name], " and ".join(files))
        for name, files in within.items()
        if files
    }


def names_in(source: NotebookNode) -> dict[str, str]:
    """How a chapter ("") and what has a label in it read where no link can lead to them."""
    texts = "\n".join(cell.source for cell in source.cells if cell.cell_type == "markdown")
    title = re.search(r"^# (.*)$", texts, re.M)[1]
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in source.cells]
    headings = re.findall(r"^\(([\w-]+)\)=\n+#+ (.*)$", texts, re.M)
    names = {label: f"*{heading}*" for label, heading in [("", title), *headings]}
    return names | {f["name"]: f"a figure of *{title}*" for f in figures if "name" in f}


def page(source: NotebookNode, reason: str) -> NotebookNode:
    """A chapter that was not run: its title with all its labels, the reason, and its question."""
    texts = [cell.source for cell in source.cells if cell.cell_type == "markdown"]
    labels = re.findall(r"^\([\w-]+\)=$", "\n".join(texts), re.M)
    _, title, rest = re.split(r"^(# .*)$", texts[0], maxsplit=1, flags=re.M)
    question = re.split(r"(?<=[.?])\s+", rest.strip().split("\n\n")[0])
    asked = " ".join(takewhile(lambda text: "{glue" not in text, question))
    signs = r"`[^`]+`|[\\*_{}\[\]<>$#|~`]"  # a command stays as it is
    why = re.sub(signs, lambda sign: sign[0] if len(sign[0]) > 1 else f"\\{sign[0]}", reason)
    points = why.replace("; ", "\n- ")
    note = f":::{{admonition}} Not run\n:class: warning\n- {points}\n:::"
    text = "\n\n".join(["\n".join([*labels, title]), note, asked]).strip()
    cell = nbformat.v4.new_markdown_cell(text, id="left-out")
    return nbformat.v4.new_notebook(cells=[cell], metadata=source.metadata)
