"""The shipped model: size, form, loading by open_clip alone, card, and what it can do."""

import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from fetalclip_nb import phantoms
from fetalclip_nb.data.images import pad_to_square
from fetalclip_nb.data.prompts import load_age_templates, load_prompts
from fetalclip_nb.experiments.gestational_age import ages
from fetalclip_nb.experiments.pretraining.run import WEIGHTS_FILE
from fetalclip_nb.models.model import load_model
from fetalclip_nb.models.shipped import shipped_scores
from fetalclip_nb.models.similarity import class_embeddings, normalise, zero_shot_logits
from fetalclip_nb.paths import SHIPPED

PROMPT_CLASS = {"thorax": "heart"}
SEED = 424_242


@pytest.fixture(scope="module")
def scores() -> dict:
    return json.loads((SHIPPED / "scores.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def model():
    return load_model("phantomclip", device="cpu")


def embedded(model, drawn) -> np.ndarray:
    images = [model.preprocess(pad_to_square(Image.fromarray(p.image))) for p in drawn]
    return normalise(model.encode_images(torch.stack(images)))


def test_weights_are_small_and_half_precision():
    path = SHIPPED / WEIGHTS_FILE
    assert path.stat().st_size <= 10_000_000
    with safe_open(path, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_open_clip_loads_the_folder_by_itself():
    source = f"local-dir:{SHIPPED}"
    network, _, preprocess = open_clip.create_model_and_transforms(source)
    tokens = open_clip.get_tokenizer(source)(["fetal head"])
    assert tokens.shape == (1, 117)
    assert preprocess(Image.new("L", (90, 60))).shape == (3, 64, 64)
    with safe_open(SHIPPED / WEIGHTS_FILE, "pt") as file:
        for name, value in network.state_dict().items():
            assert torch.equal(value, file.get_tensor(name).to(value.dtype)), name


def test_scores_belong_to_these_weights(scores):
    data = (SHIPPED / WEIGHTS_FILE).read_bytes()
    assert scores["model"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert scores["model"]["bytes"] == len(data)


def test_new_phantoms_are_classified_from_prompts_alone(model):
    planes = ("abdomen", "brain", "femur", "thorax", "cervix")
    drawn = [
        phantoms.draw(plane, np.random.default_rng([SEED, i, k]))
        for i in range(8)
        for k, plane in enumerate(planes)
    ]
    prompts = load_prompts("planes")
    classes = class_embeddings(model.encode_text, prompts)
    found = zero_shot_logits(embedded(model, drawn), classes).argmax(axis=1)
    names = list(prompts)
    right = [
        names[f] == PROMPT_CLASS.get(p.plane, p.plane) for f, p in zip(found, drawn, strict=True)
    ]
    assert np.mean(right) >= 0.85


def test_age_of_new_heads_follows_picture_and_spacing(model):
    streams = [np.random.default_rng([SEED, i]) for i in range(16)]
    heads = [phantoms.draw_patient(rng, age_days=110 + 8 * i) for i, rng in enumerate(streams)]
    pairs = zip(streams, heads, strict=True)
    drawn = [phantoms.draw("brain", rng, patient=head) for rng, head in pairs]
    widths = [p.image.shape[1] for p in drawn]
    heights = [p.image.shape[0] for p in drawn]
    spacings = ages.prompt_spacing(widths, heights, [p.pixel_mm for p in drawn])
    frames = load_age_templates()["templates"][:2]
    texts = ages.age_embeddings(model.encode_text, frames, spacings)
    similarity = ages.age_similarity(embedded(model, drawn), spacings, texts)
    days = ages.predict_age(similarity)
    valid = ages.is_valid(days, np.array([p.hc_mm for p in drawn]))
    assert valid.mean() >= 0.75
    # The same pictures with the spacings of other heads must not do as well.
    shifted = spacings[8:] + spacings[:8]
    other = ages.age_similarity(embedded(model, drawn), shifted, texts)
    wrong = ages.predict_age(other)
    assert ages.is_valid(wrong, np.array([p.hc_mm for p in drawn])).mean() < 0.5


def test_real_heads_stand_beside_their_controls():
    found = shipped_scores("real_hc18")
    controls = {"shuffled images", "mean embedding", "black image", "constant age", "spacing only"}
    assert controls | {"phantomclip", "phantomclip, unseen sentences"} == set(found)
    assert len({scores["vpr"].n for scores in found.values()}) == 1
