"""Prompt sets: our own sentences, and files in the form of the FetalCLIP authors'."""

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from fetalclip_nb.errors import DataError, ParameterError, listing, reading, refuse
from fetalclip_nb.paths import resolve

PROMPT_SETS = ("planes", "brain")

_FORM = '{"class": ["sentence", ...], ...}'

_FIX = "correct the file: each class with a list of its sentences"

_AGE_FORM = '{"templates": ["...", ...]}, or a .py script with one such list of sentences'

_AGE_FIELDS = ("{weeks}", "{days}", "{spacing}")

_SAYS = ("week", "day", "spac|pixel")
"""What the name of each field has in it, whatever else."""


def load_prompts(source: str | Path) -> dict[str, list[str]]:
    """Read the sentences of each class, in file order.

    Args:
        source: "planes" or "brain" for our own sets, or a JSON file that maps each class to
            a list of sentences (the form of the authors' released files).

    >>> sorted(load_prompts("brain"))
    ['trans-cerebellum', 'trans-thalamic', 'trans-ventricular']
    """
    content, where = _read_json(source, PROMPT_SETS, _FORM)
    if not isinstance(content, dict) or not content:
        raise DataError("Prompt file has another form", where=where, expected=_FORM, fix=_FIX)
    wrong = [name for name, sentences in content.items() if not _are_sentences(sentences)]
    what = "Classes without a list of sentences"
    refuse(wrong, what, where=where, expected=_FORM, fix=_FIX)
    return content


def load_age_templates(source: str | Path = "gestational_age") -> dict[str, list[str]]:
    """Read the sentence frames of the gestational-age task.

    Args:
        source: "gestational_age" for our own; a JSON file with a list "templates" (and "unseen",
            or that is empty); or a Python script, as the authors', with one list of sentences or
            f-strings, which is read and never run. Each frame holds three fields: names with
            "week", "day" and "spac" or "pixel" in them, or {} in this order.

    Returns:
        The two lists, their fields called {weeks}, {days} and {spacing}.
    """
    if str(source).lower().endswith(".py"):
        return {"templates": _script_frames(_present(source, _AGE_FORM)), "unseen": []}
    content, where = _read_json(source, ("gestational_age",), _AGE_FORM)
    known = content if isinstance(content, dict) else {}
    frames = {key: known.get(key) or [] for key in ("templates", "unseen")}
    if not (_are_sentences(frames["templates"]) and _are_sentences(frames["unseen"] or ["none"])):
        raise DataError("Template file has another form", where=where, expected=_AGE_FORM)
    return {key: _with_our_fields(each, where) for key, each in frames.items()}


def _script_frames(path: Path) -> list[str]:
    """The one list of a Python script whose sentences all have three fields."""
    with reading(path, "Script cannot be read", expected="Python", fix="fetch it again"):
        nodes = [*ast.walk(ast.parse(path.read_bytes()))]
    lists = [_texts(node) for node in nodes if isinstance(node, ast.List | ast.Tuple)]
    lists = [texts for texts in lists if texts and all(len(_fields(t)) > 2 for t in texts)]
    if len(lists) != 1:
        raise DataError(
            "Script has not one list of sentences on age",
            where=path,
            expected="one list of texts, each with fields for weeks, days and pixel spacing",
            found=f"{len(lists)} such lists",
            fix=f"give the sentences as JSON: {_AGE_FORM.partition(',')[0]}",
        )
    return _with_our_fields(lists[0], path)


def _texts(node: ast.List | ast.Tuple) -> list[str]:
    """The elements of a list of texts and f-strings, none of a list with others."""
    parts = [e.values if isinstance(e, ast.JoinedStr) else [e] for e in node.elts]
    pieces = [[_piece(part) for part in each] for each in parts]
    return [] if any(None in each for each in pieces) else list(map("".join, pieces))


def _piece(node: ast.expr) -> str | None:
    if isinstance(node, ast.FormattedValue):
        return f"{{{ast.unparse(node.value)}}}"
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _fields(frame: str) -> list[str]:
    return re.findall(r"\{([^{}]*)\}", frame)


def _with_our_fields(frames: Sequence[str], where: object) -> list[str]:
    """Frames whose fields, however they are called, have the names that `age_sentence` fills."""
    renamed, wrong = [], []
    for frame in frames:
        names = [re.split("[:!]", field)[0].strip().lower() for field in _fields(frame)]
        meant = [[i for i in range(3) if re.search(_SAYS[i], name)] for name in names]
        if names in (["", "", ""], ["0", "1", "2"]):
            meant = [[0], [1], [2]]
        if {*map(tuple, meant)} == {(0,), (1,), (2,)}:
            fields = iter(_AGE_FIELDS[i] for (i,) in meant)
            renamed.append(re.sub(r"\{[^{}]*\}", lambda _, left=fields: next(left), frame))
        else:
            wrong.append(repr(frame))
    refuse(wrong, "Frames lack a field or have others", where=where, expected=" ".join(_AGE_FIELDS))
    return renamed


def age_sentence(frame: str, age_days: int, spacing: str) -> str:
    """Fill a frame.

    Args:
        frame: A sentence with {weeks}, {days} and {spacing}.
        age_days: Gestational age in days.
        spacing: Pixel spacing in mm, printed with two decimals.

    >>> age_sentence("{weeks} weeks {days} days, {spacing} mm", 143, "0.47")
    '20 weeks 3 days, 0.47 mm'
    """
    values = (*divmod(int(age_days), 7), spacing)
    for field, value in zip(_AGE_FIELDS, values, strict=True):
        frame = frame.replace(field, str(value))
    return frame


def _read_json(source: str | Path, sets: tuple[str, ...], form: str) -> tuple[object, str]:
    """Content of one of our own sets or of a user's file, and its name for messages."""
    if str(source) in sets:
        path = Path(__file__).parent / "prompts" / f"{source}.json"
    else:
        path = _present(source, f"{' or '.join(sets)}, or a JSON file of the form {form}")
    with reading(path, "Prompt file is no JSON", expected=form, fix="correct it, save it as UTF-8"):
        # Bytes: json finds out whether they are UTF-8 or UTF-16, with or without its mark.
        content = json.loads(path.read_bytes(), object_pairs_hook=partial(_once, path))
        json.dumps(content, ensure_ascii=False).encode()  # half a character cannot be read
    return content, str(source)


def _present(source: str | Path, form: str) -> Path:
    path = resolve(source)
    if not path.is_file():
        what, fix = "Prompt file is missing", "correct the name"
        raise DataError(what, where=path, expected=form, fix=fix)
    return path


def _once(path: Path, pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of a JSON file; of a name that stands twice, json would drop the first value."""
    names = Counter(name.strip().casefold() for name, _ in pairs)
    twice = [repr(name) for name in names if names[name] > 1 or not name]
    fix = "write each class once, with all its sentences"
    refuse(twice, "Names are empty or stand twice", where=path, fix=fix)
    return dict(pairs)


def _are_sentences(value: object) -> bool:
    texts = value if isinstance(value, list) else []
    return bool(texts) and all(isinstance(text, str) and text.strip() for text in texts)


COLUMNS = ("image", "prediction")
"""What a table of predictions has beside the probabilities of the classes."""


def sentence_classes(sentences: Sequence[str]) -> dict[str, list[str]]:
    """Each sentence as a class of its own, named by itself.

    >>> sentence_classes(["a head ", "a femur"])
    {'a head': ['a head'], 'a femur': ['a femur']}
    """
    texts = [sentence.strip() for sentence in sentences]
    if not all(texts) or len(set(texts)) < len(texts):
        raise ParameterError(
            "Sentences are empty or repeated", where="prompts", found=listing(map(repr, texts))
        )
    classes = {text: [text] for text in texts}
    require_choice(classes)
    return classes


def require_choice(prompts: Mapping[str, Sequence[str]], *, where: str = "prompts") -> None:
    """Refuse classes between which nothing can be chosen, or that cannot head a column."""
    if len(prompts) < 2:
        raise ParameterError(
            "One class alone always gets 100 %",
            where=where,
            expected="at least two classes or sentences to choose between",
            found=listing(prompts) or "none",
            fix="add a sentence that says what the image may show instead",
        )
    reserved = [name for name in COLUMNS if name in prompts]
    what = "Class names are reserved"
    refuse(reserved, what, error=ParameterError, where=where, fix="rename them")
