"""Prompt sets: our own sentences, and files in the form of the FetalCLIP authors'."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from fetalclip_nb.errors import DataError, ParameterError, listing
from fetalclip_nb.paths import resolve

PROMPT_SETS = ("planes", "brain")

_FORM = '{"class": ["sentence", ...], ...}'

_FIX = "correct the file: each class with a list of its sentences"

_AGE_SETS = ("gestational_age",)

_AGE_FIELDS = ("{weeks}", "{days}", "{spacing}")


def load_prompts(source: str | Path) -> dict[str, list[str]]:
    """Read the sentences of each class.

    Args:
        source: "planes" or "brain" for our own sets, or a JSON file that maps each class to
            a list of sentences (the form of the authors' released files).

    Returns:
        Class name to sentences, in file order.

    Raises:
        DataError: Missing file, no JSON, or a class without sentences.

    >>> sorted(load_prompts("brain"))
    ['trans-cerebellum', 'trans-thalamic', 'trans-ventricular']
    """
    content, where = _read_json(source, PROMPT_SETS, _FORM)
    if not isinstance(content, dict) or not content:
        raise DataError("Prompt file has another form", where=where, expected=_FORM, fix=_FIX)
    wrong = [name for name, sentences in content.items() if not _are_sentences(sentences)]
    if wrong:
        raise DataError(
            "Classes without a list of sentences",
            where=where,
            expected=_FORM,
            found=listing(wrong),
            fix=_FIX,
        )
    return {name: list(sentences) for name, sentences in content.items()}


def load_age_templates(source: str | Path = "gestational_age") -> dict[str, list[str]]:
    """Read the sentence frames of the gestational-age task.

    Args:
        source: "gestational_age" for our own, or a JSON file with a list "templates" (and,
            optionally, "unseen"); each frame holds {weeks}, {days} and {spacing}.

    Returns:
        {"templates": [...], "unseen": [...]}; "unseen" may be empty.

    Raises:
        DataError: Missing file or a frame that lacks a field.
    """
    content, where = _read_json(source, _AGE_SETS, '{"templates": ["...", ...]}')
    if not isinstance(content, dict) or not _are_sentences(content.get("templates")):
        raise DataError(
            "Template file has another form", where=where, expected='{"templates": ["...", ...]}'
        )
    frames = {key: list(content.get(key, [])) for key in ("templates", "unseen")}
    wrong = [f for f in frames["templates"] + frames["unseen"] if not _has_fields(f)]
    if wrong:
        raise DataError(
            "Frames lack a field",
            where=where,
            expected=" ".join(_AGE_FIELDS),
            found=listing(wrong, 3),
        )
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
    weeks, days = divmod(int(age_days), 7)
    return (
        frame.replace("{weeks}", str(weeks))
        .replace("{days}", str(days))
        .replace("{spacing}", spacing)
    )


def _read_json(source: str | Path, sets: tuple[str, ...], form: str) -> tuple[object, str]:
    packaged = resources.files(__package__) / "prompts" / f"{source}.json"
    path = resolve(source)
    own = str(source) in sets
    if not own and not path.is_file():
        raise DataError(
            "Prompt file is missing",
            where=path,
            expected=f"{' or '.join(sets)}, or a JSON file of the form {form}",
            fix="correct the name",
        )
    try:
        return json.loads((packaged if own else path).read_text("utf-8")), str(source)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(
            "Prompt file is no JSON", where=path, expected=form, found=str(error), fix="correct it"
        ) from None


def _are_sentences(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, str) for v in value)


def _has_fields(frame: str) -> bool:
    return all(field in frame for field in _AGE_FIELDS)


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
    """Refuse classes between which nothing can be chosen, or that cannot head a column.

    Args:
        prompts: Sentences of each class.
        where: Parameter or file that they come from, for the message.
    """
    if len(prompts) < 2:
        raise ParameterError(
            "One class alone always gets 100 %",
            where=where,
            expected="at least two classes or sentences to choose between",
            found=listing(prompts) or "none",
            fix="add a sentence that says what the image may show instead",
        )
    reserved = [name for name in COLUMNS if name in prompts]
    if reserved:
        raise ParameterError(
            "Class names are reserved", where=where, found=listing(reserved), fix="rename them"
        )
