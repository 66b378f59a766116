"""Training captions: which sentences they may use, and what they say of spacing and age."""

import re

import numpy as np
import pytest

from fetalclip_nb.data.prompts import load_age_templates, load_prompts
from fetalclip_nb.experiments.pretraining import captions
from fetalclip_nb.phantoms.framing import BRAIN_PLANES, PLANES

HEART_WORDS = {
    "even chambers": "equal|even|intact|balance|whole",
    "open crux": "gap|ends before|hole|open into|broken",
    "small left ventricle": "small left|left ventricle is much|tiny left|smaller|apex formed by",
    "wide right atrium": "wide right|right atrium",
}
"""One of these stands in every caption that says how the chambers look."""


def drawn(plane: str, part: str | None = None, n: int = 300) -> list[captions.Caption]:
    rng = np.random.default_rng(0)
    return [captions.plane_caption(rng, plane, part) for _ in range(n)]


def test_every_plane_of_the_phantoms_has_captions():
    assert set(captions.NOUNS) == set(PLANES)
    assert set(captions.PART_NOUNS["brain"]) == set(BRAIN_PLANES)
    assert set(captions.PART_NOUNS["thorax"]) == set(HEART_WORDS)


def test_captions_vary_and_state_their_plane():
    texts = {caption.text for caption in drawn("femur")}
    assert len(texts) > 100
    assert all(re.search("femur|thigh", text) for text in texts)
    assert {caption.part for caption in drawn("brain")} == {None}
    chest = " ".join(caption.text for caption in drawn("thorax"))
    assert "four-chamber view" in chest and "the left ventricle" in chest


@pytest.mark.parametrize(
    ("plane", "part", "words"),
    [
        ("brain", "trans-cerebellum", "cerebell"),
        *(("thorax", part, words) for part, words in HEART_WORDS.items()),
    ],
)
def test_captions_name_the_part_in_three_of_four_cases(plane, part, words):
    found = drawn(plane, part, 1000)
    named = [caption.text for caption in found if caption.part == part]
    assert len(named) / len(found) == pytest.approx(captions.PART_SHARE, abs=0.05)
    assert {caption.part for caption in found} == {part, None}
    assert all(re.search(words, text) for text in named)
    plain = {caption.text for caption in found if caption.part is None}
    assert not plain & set(named)
    for noun in captions.PART_NOUNS[plane][part]:
        assert any(noun in text for text in named) and not any(noun in text for text in plain)


def test_captions_of_different_hearts_differ():
    nouns = [noun for group in captions.PART_NOUNS["thorax"].values() for noun in group]
    assert len(set(nouns)) == len(nouns) == 5 * len(HEART_WORDS)
    texts = [{c.text for c in drawn("thorax", part) if c.part} for part in HEART_WORDS]
    assert sum(map(len, texts)) == len(set.union(*texts))


def test_no_caption_names_a_disease():
    disease = r"(?i)defect|disease|hypoplas|chd|congenital|malform|anomal|abnormal|syndrome|dilat"
    disease += r"|patholog|septal|ebstein|stenosis|atresia|\bnormal|healthy|sick"
    for plane in captions.NOUNS:
        for part in (None, *captions.PART_NOUNS.get(plane, ())):
            assert not [c.text for c in drawn(plane, part) if re.search(disease, c.text)]


def test_plane_prompts_of_the_evaluation_are_no_captions():
    prompts = [s for name in ("planes", "brain") for g in load_prompts(name).values() for s in g]
    known = {prompt.lower().rstrip(".") for prompt in prompts}
    # Frames and phrases of the training captions can make this very prompt.
    assert "ultrasound image of the fetal brain at the level of the thalami" in known
    texts = {c.text.lower().rstrip(".") for c in drawn("brain", "trans-thalamic", 4000)}
    texts |= {c.text.lower().rstrip(".") for plane in captions.NOUNS for c in drawn(plane)}
    assert not texts & known


def test_age_captions_use_the_evaluation_templates_and_never_the_unseen_ones():
    frames = load_age_templates()
    assert set(frames["templates"]) < set(captions.age_frames())
    assert not set(frames["unseen"]) & set(captions.age_frames())


def test_age_caption_states_weeks_days_and_two_decimals():
    rng = np.random.default_rng(0)
    texts = {captions.age_caption(rng, 143, 0.4) for _ in range(200)}
    assert len(texts) == len(captions.age_frames())
    for text in texts:
        assert re.findall(r"\d+\.\d+", text) == ["0.40"]
        assert re.findall(r"(?<![.\d])\d+(?![.\d])", text) == ["20", "3"]
