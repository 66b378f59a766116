"""Prompt sets: our own sentences, and files in the form of the FetalCLIP authors'."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from fetalclip_nb.errors import DataError, ParameterError, listing, reading, refuse
from fetalclip_nb.paths import resolve

PROMPT_SETS = ("planes", "brain")

_FORM = '{"class": ["sentence", ...], ...}'

_FIX = "correct the file: each class with a list of its sentences"

_AGE_FORM = '{"templates": ["...", ...]}'

_AGE_FIELDS = ("{weeks}", "{days}", "{spacing}")


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
        source: "gestational_age" for our own, or a JSON file with a list "templates" (and
            "unseen", or that is empty); each frame holds {weeks}, {days} and {spacing}.
    """
    content, where = _read_json(source, ("gestational_age",), _AGE_FORM)
    known = content if isinstance(content, dict) else {}
    frames = {key: known.get(key) or [] for key in ("templates", "unseen")}
    if not (_are_sentences(frames["templates"]) and _are_sentences(frames["unseen"] or ["none"])):
        raise DataError("Template file has another form", where=where, expected=_AGE_FORM)
    wrong = [
        frame
        for frame in frames["templates"] + frames["unseen"]
        if not all(field in frame for field in _AGE_FIELDS)
    ]
    refuse(wrong, "Frames lack a field", where=where, expected=" ".join(_AGE_FIELDS))
    return frames


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
    path = resolve(source)
    if str(source) in sets:
        path = Path(__file__).parent / "prompts" / f"{source}.json"
    elif not path.is_file():
        raise DataError(
            "Prompt file is missing",
            where=path,
            expected=f"{' or '.join(sets)}, or a JSON file of the form {form}",
            fix="correct the name",
        )
    with reading(path, "Prompt file is no JSON", expected=form, fix="correct it, save it as UTF-8"):
        # Bytes: json finds out whether they are UTF-8 or UTF-16, with or without its mark.
        content = json.loads(path.read_bytes(), object_pairs_hook=partial(_once, path))
        json.dumps(content, ensure_ascii=False).encode()  # half a character cannot be read
    return content, str(source)


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
