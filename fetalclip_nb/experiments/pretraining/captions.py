"""Training captions in our own words: anatomy, its parts, gestational age, pixel spacing.

A caption is a sentence frame around a noun phrase, often followed by the structures that the
plane shows. It may name a part: the sub-plane of a brain, or how the four chambers of a heart
look, in a reader's words for sizes and gaps; no caption names a disease. Whole prompts of the
plane files are never among the captions; the age templates of the evaluation are (numbers are
read only in frames that training has seen), their unseen paraphrases are not.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from fetalclip_nb.data.prompts import PROMPT_SETS, age_sentence, load_age_templates, load_prompts

PART_SHARE = 0.75
"""Share of captions that name the part where the image shows one."""

_VOCABULARY = json.loads((resources.files(__package__) / "captions.json").read_text("utf-8"))

NOUNS: dict[str, list[str]] = _VOCABULARY["nouns"]
"""Plane -> noun phrases that name it."""

PART_NOUNS: dict[str, dict[str, list[str]]] = _VOCABULARY["part_nouns"]
"""Plane -> part (brain sub-plane, look of the four chambers) -> noun phrases that name it."""


@dataclass(frozen=True)
class Caption:
    """A sentence and the part that it names, where it names one."""

    text: str
    part: str | None = None


def plane_caption(rng: np.random.Generator, plane: str, part: str | None = None) -> Caption:
    """Draw a caption for an image of a plane, a key of ``NOUNS``.

    A part, a key of ``PART_NOUNS[plane]``, is named with probability ``PART_SHARE``.
    """
    named = part if part and rng.random() < PART_SHARE else None
    nouns, structures = NOUNS[plane], _VOCABULARY["structures"][plane]
    if named:
        nouns = PART_NOUNS[plane][named]
        structures = _VOCABULARY["part_structures"][plane][named]
    while True:
        count = min(int(rng.integers(0, 4)), len(structures))
        listed = [structures[i] for i in rng.permutation(len(structures))[:count]]
        phrase = _choice(rng, nouns) + _enumeration(rng, listed)
        text = _choice(rng, _VOCABULARY["frames"]).format(phrase)
        if _plain(text) not in reserved_prompts():
            return Caption(text, named)


@cache
def reserved_prompts() -> frozenset[str]:
    """The evaluation's plane prompts, in small letters: never used as captions."""
    sets = [load_prompts(name) for name in PROMPT_SETS]
    return frozenset(_plain(text) for group in sets for texts in group.values() for text in texts)


def _plain(text: str) -> str:
    return text.lower().rstrip(".")


@cache
def age_frames() -> tuple[str, ...]:
    """Sentence frames of age captions: the evaluation's templates, then the training-only ones."""
    return (*load_age_templates()["templates"], *_VOCABULARY["age_frames"])


def age_caption(rng: np.random.Generator, age_days: int, spacing_mm: float) -> str:
    """Draw a caption that states gestational age and pixel spacing (two decimals)."""
    return age_sentence(_choice(rng, age_frames()), age_days, f"{spacing_mm:.2f}")


def _choice(rng: np.random.Generator, items: Sequence[str]) -> str:
    return items[int(rng.integers(len(items)))]


def _enumeration(rng: np.random.Generator, items: list[str]) -> str:
    """``, showing a, b and c`` or the like; nothing for an empty list."""
    if not items:
        return ""
    head, last = items[:-1], items[-1]
    joined = f"{', '.join(head)} and {last}" if head else last
    return _choice(rng, (" with ", ", showing ", " and ", ": ")) + joined
