"""Notebook parameters: what a notebook declares against what it is to be given."""

import ast
import difflib
import re
from collections.abc import Mapping
from pathlib import Path

import papermill

from fetalclip_nb.errors import ParameterError

_TYPES = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


def check_parameters(notebook: Path, values: Mapping[str, object]) -> None:
    """Compare parameter values with what a notebook declares, before a kernel starts.

    A comment that lists alternatives (``auto | cpu | cuda``) with the default among them
    closes the list of legal values.

    Args:
        notebook: Source notebook with one cell tagged "parameters".
        values: Parameter names and values.

    Raises:
        ParameterError: Unknown names, wrong types, illegal values: all of them at once.
    """
    declared = papermill.inspect_notebook(str(notebook))
    if not declared:
        raise ParameterError(
            "Notebook declares no parameters",
            where=notebook.name,
            expected="one cell tagged 'parameters' with lines `name: type = literal  # meaning`",
        )
    problems = [
        problem for name, value in values.items() if (problem := _problem(name, value, declared))
    ]
    if problems:
        raise ParameterError(
            f"{len(problems)} parameter{'s' * (len(problems) > 1)} cannot be used",
            where=notebook.name,
            found="; ".join(problems),
            expected=", ".join(_signature(entry) for entry in declared.values()),
            fix="correct them under `notebooks:` in the profile, or in the command",
        )


def _problem(name: str, value: object, declared: Mapping[str, dict]) -> str:
    if name not in declared:
        close = difflib.get_close_matches(name, declared, n=1)
        return f"unknown name {name!r}" + (f" (did you mean {close[0]!r}?)" if close else "")
    kind = _kind(declared[name])
    if kind and not _fits(value, kind):
        return f"{name} = {value!r} is {type(value).__name__}, not {kind}"
    choices = _choices(declared[name])
    if choices and value not in choices:
        return f"{name} = {value!r} is none of {', '.join(choices)}"
    return ""


def _kind(entry: Mapping[str, str]) -> str:
    """Declared type, else that of the default value, else "" for unknown."""
    if entry["inferred_type_name"] in _TYPES:
        return entry["inferred_type_name"]
    name = type(_literal(entry["default"])).__name__
    return name if name in _TYPES else ""


def _fits(value: object, kind: str) -> bool:
    # bool is a subclass of int, but True is no number of anything here.
    return isinstance(value, _TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def _choices(entry: Mapping[str, str]) -> list[str]:
    listed = re.search(r"[\w.-]+(?: \| [\w.-]+)+", entry["help"])
    choices = listed[0].split(" | ") if listed else []
    return choices if _literal(entry["default"]) in choices else []


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None


def _signature(entry: Mapping[str, str]) -> str:
    return f"{entry['name']}: {_kind(entry) or 'any'}"
