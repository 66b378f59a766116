"""Notebook parameters: what a notebook declares against what it is to be given."""

import ast
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fetalclip_nb.errors import ParameterError, reading
from fetalclip_nb.workflow.dependencies import read_notebook

_TYPES = {"str": {str}, "int": {int}, "float": {float, int}, "bool": {bool}}


@dataclass(frozen=True)
class Parameter:
    """What a notebook says of a parameter.

    Attributes:
        kind: "str", "int", "float" or "bool"; anything else is not checked.
        default: Value in the notebook.
        choices: Legal values; empty for any.
    """

    kind: str
    default: object = None
    choices: tuple[str, ...] = ()


def declared_parameters(notebook: Path) -> dict[str, Parameter]:
    """Names and declarations in the cell of a source notebook that is tagged "parameters".

    A comment that lists alternatives (``auto | cpu | cuda``) with the default among them
    closes the list of legal values.

    Raises:
        ParameterError: There is none.
    """
    import papermill  # a notebook that checks its own parameters does without it

    read_notebook(notebook)
    declared = {}
    form = "one cell tagged 'parameters' with lines `name: type = literal  # meaning`"
    with reading(notebook, "Parameters cannot be read", error=ParameterError, expected=form):
        for name, entry in papermill.inspect_notebook(str(notebook)).items():
            default = ast.literal_eval(entry["default"])
            listed = re.search(r"[\w.-]+(?: \| [\w.-]+)+", entry["help"])
            choices = tuple(listed[0].split(" | ")) if listed else ()
            kept = choices if default in choices else ()
            declared[name] = Parameter(entry["inferred_type_name"], default, kept)
    if not declared:
        what = "Notebook declares no parameters"
        raise ParameterError(what, where=notebook.name, expected=form)
    return declared


def check_parameters(
    notebook: str, declared: Mapping[str, Parameter], values: Mapping[str, object]
) -> None:
    """Compare parameter values with what the notebook of this name declares.

    Raises:
        ParameterError: Unknown names, wrong types, illegal values: all of them at once.
    """
    problems = [*filter(None, (_problem(*given, declared) for given in values.items()))]
    if problems:
        raise ParameterError(
            f"{len(problems)} parameter{'s' * (len(problems) > 1)} cannot be used",
            where=notebook,
            found="; ".join(problems),
            expected=", ".join(f"{name}: {entry.kind}" for name, entry in declared.items()),
            fix="correct them under `notebooks:` in the profile, or in the command",
        )


def _problem(name: str, value: object, declared: Mapping[str, Parameter]) -> str:
    if name not in declared:
        close = difflib.get_close_matches(name, declared, n=1)
        return f"unknown name {name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
    kind, choices = declared[name].kind, declared[name].choices
    # The very types: bool is a subclass of int, but True is no number of anything here.
    if kind in _TYPES and type(value) not in _TYPES[kind]:
        return f"{name} = {value!r} is {type(value).__name__}, not {kind}"
    if choices and value not in choices:
        return f"{name} = {value!r} is none of {', '.join(choices)}"
    return ""
