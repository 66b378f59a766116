"""The paper's models, with random weights in their publishers' layouts, through `load_model`."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fetalclip_nb.errors import ModelError
from fetalclip_nb.models import names
from fetalclip_nb.models.blocks import BlockEncoder
from fetalclip_nb.models.model import load_model, trimmed_text
from fetalclip_nb.models.sources import published_as
from fetalclip_nb.models.tower import vision_tower
from published_models import BERT, CONFIG, IMAGE_ONLY, IMAGENET, NAMES, OPENAI, write, write_bert

SENTENCES = ["Fetal head at 20 weeks.", "femur"]
FACTS = {  # embedding, pixels, tokens, normalisation, patches along a side
    "fetalclip": (768, 224, 117, OPENAI, 16),
    "clip": (768, 224, 77, OPENAI, 16),
    "biomedclip": (512, 160, 256, OPENAI, 10),
    "unimed-clip": (512, 224, 256, OPENAI, 14),
    "mobilefetalclip": (512, 256, 117, IMAGENET, None),
}


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory):
    """A folder with all five."""
    folder = tmp_path_factory.mktemp("models")
    for name in NAMES:
        write(name, folder)
    return folder


@pytest.fixture(autouse=True)
def here(miniatures, monkeypatch):
    """The five are where `download` puts the paper's."""
    monkeypatch.setenv("FETALCLIP_NB_MODELS", str(miniatures))
    return miniatures


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_by_name_with_its_own_pixels_and_words(name):
    size, side, length, stated, grid = FACTS[name]
    model = load_model(name, device="cpu")
    grey = [model.preprocess(Image.new("L", (300, 300), value)) for value in (0, 255)]
    for band, (mean, std) in enumerate(zip(*stated.values(), strict=True)):
        assert grey[0][band].unique().tolist() == pytest.approx([(0 - mean) / std], abs=1e-5)
        assert grey[1][band].unique().tolist() == pytest.approx([(1 - mean) / std], abs=1e-5)
    assert grey[0].shape == (3, side, side)
    assert model.tokenizer(SENTENCES).shape == (2, length)
    images, texts = model.encode_images(torch.stack(grey)), model.encode_text(SENTENCES)
    assert images.shape == texts.shape == (2, size)
    assert np.abs(images[0] - images[1]).max() > 1e-5
    assert np.abs(texts[0] - texts[1]).max() > 1e-3
    if grid is None:  # stages in place of blocks: features of each, and no maps
        with pytest.raises(ModelError, match="no plain vision transformer.*mobilefetal.*FastVit"):
            vision_tower(model)
        stages = BlockEncoder(model)
        assert (stages.blocks, stages.grid, stages.width) == ((1, 2, 3, 4), 64, 512)
        features = BlockEncoder(model, grid=14).encode_images(torch.stack(grey))
        assert features.shape == (2, 4, 14, 14, 512)
    else:
        assert vision_tower(model).grid == grid
        assert BlockEncoder(model).blocks == (1, 2, 3, 6)


@pytest.mark.parametrize(
    ("name", "parameters", "gelu"),
    [("unimed-clip", 86.2e6, "QuickGELU"), ("mobilefetalclip", 11.4e6, "GELU")],  # of images
)
def test_the_configs_that_come_with_the_package(name, parameters, gelu, tmp_path, monkeypatch):
    monkeypatch.setenv("FETALCLIP_NB_MODELS", str(tmp_path))
    write_bert(tmp_path / name / BERT, 1, 64)
    _, side, length, stated, _ = FACTS[name]
    twin = load_model(f"{name}-untrained", device="cpu")
    assert sum(v.numel() for v in twin.network.visual.parameters()) == pytest.approx(
        parameters, rel=0.01
    )
    assert f"mean={[*stated['mean']]}" in repr(twin.preprocess).replace("(", "[").replace(")", "]")
    assert twin.preprocess(Image.new("L", (9, 9))).shape == (3, side, side)
    assert twin.tokenizer(["a"]).shape == (1, length)
    kinds = {type(part).__name__ for part in twin.network.visual.modules()}
    assert kinds & {"QuickGELU", "GELU"} == {gelu}


@pytest.mark.parametrize("name", ["biomedclip", "unimed-clip", "mobilefetalclip"])
def test_sentences_at_their_own_length_are_what_they_are_at_full_length(name):
    model = load_model(name, device="cpu")
    tokens = model.tokenizer(SENTENCES)
    lengths = []
    model.network.text.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    with torch.inference_mode():
        full, trimmed = model.network.encode_text(tokens), trimmed_text(model.network, tokens)
    assert torch.allclose(full, trimmed, atol=1e-5)
    assert lengths[0] == tokens.shape[1]
    assert lengths[1] == (117 if name == "mobilefetalclip" else (tokens != 0).sum(1).max())


def test_what_is_published_is_told_from_what_stands_in_its_place(here, tmp_path, monkeypatch):
    asked = published_as.__wrapped__
    assert [asked(name) for name in NAMES] == [""] * 5  # configs of one's own
    monkeypatch.setenv("FETALCLIP_NB_MODELS", str(tmp_path / "paper"))
    folder = tmp_path / "paper" / "fetalclip"
    folder.mkdir(parents=True)
    for file in names.FETALCLIP:  # of these the hash is known
        (folder / file).touch()
    assert [asked(name) for name in NAMES] == ["", *NAMES[1:]]
    assert [asked(f"{name}-untrained") for name in NAMES] == [""] * 5


@pytest.mark.parametrize("name", IMAGE_ONLY)
def test_two_without_text_are_miniatures_of_their_publishers_files(name, tmp_path):
    model = load_model(f"local-dir:{write(name, tmp_path, depth=7)}", device="cpu")
    assert (model.image_side, model.reads_text) == (224, False)
    assert model.encode_images(torch.zeros(2, 3, 224, 224)).shape == (2, 64)
    assert BlockEncoder(model, "even").blocks == (1, 3, 5, 7)
    assert vision_tower(model).grid == 224 // IMAGE_ONLY[name]


def test_untrained_twins_have_the_shape_of_the_trained():
    for name in ("fetalclip", "unimed-clip"):
        twin, trained = (load_model(f"{name}{end}", device="cpu") for end in ("-untrained", ""))
        assert twin.parameters == trained.parameters
        assert twin.fingerprint != trained.fingerprint


def test_other_weights_than_a_layout_asks_for_are_one_error(here):
    state = {"module.text_encoder.a": torch.ones(1), "module.visual.b": torch.ones(2)}
    weights = here / "unimed-clip" / "unimed-clip-vit-b16.pt"
    kept = weights.read_bytes()
    torch.save({"state_dict": state}, weights)
    try:
        with pytest.raises(ModelError, match=r"as open_clip_config\.json asks for.*missing.*text"):
            load_model("unimed-clip", device="cpu")
    finally:
        weights.write_bytes(kept)


def test_a_text_tower_that_is_not_here_says_where_it_belongs(here, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (here / "unimed-clip" / BERT).rename(here / BERT)
    try:
        message = rf"{BERT}.*needs the network.*vocab\.txt.*of its last name in .*unimed-clip"
        with pytest.raises(ModelError, match=message):
            load_model("unimed-clip", device="cpu")
    finally:
        (here / BERT).rename(here / "unimed-clip" / BERT)


@pytest.mark.parametrize("stated", [None, {}, {"mean": [0.5] * 3}, {"mean": 0.5, "std": [1.0] * 3}])
def test_a_config_that_does_not_state_the_preparation_is_asked_for_it(stated, here, tmp_path):
    content = json.loads((here / "clip" / CONFIG).read_text())
    config = tmp_path / "mine.json"
    config.write_text(json.dumps({"model_cfg": content["model_cfg"], "preprocess_cfg": stated}))
    weights = here / "clip" / "open_clip_model.safetensors"
    message = r"not state how images.*mine\.json.*preprocess_cfg.*Found: .*(mean|std): .*What to do"
    with pytest.raises(ModelError, match=message):
        load_model(f"{config}+{weights}", device="cpu")
    for bare in ({**content["model_cfg"], "preprocess_cfg": OPENAI}, content):
        config.write_text(json.dumps(bare))
        load_model(f"{config}+{weights}", device="cpu")


def test_biomedclip_comes_from_the_cache_of_the_hub(here, tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    revision = "0" * 40
    for repository, folder in (
        ("microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224", here / "biomedclip"),
        (f"microsoft/{BERT}", here / "biomedclip" / BERT),
    ):
        place = cache / f"models--{repository.replace('/', '--')}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(revision)
        (place / "snapshots").mkdir()
        (place / "snapshots" / revision).symlink_to(folder)
    silent = shutil.copytree(here / "biomedclip", tmp_path / "silent")
    content = json.loads((silent / CONFIG).read_text())
    (silent / CONFIG).write_text(json.dumps({"model_cfg": content["model_cfg"]}))
    local = load_model("biomedclip", device="cpu")
    monkeypatch.setenv("FETALCLIP_NB_MODELS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fetched = load_model("biomedclip", device="cpu")
    pixels = torch.rand(2, 3, 160, 160, generator=torch.manual_seed(0))
    assert np.allclose(fetched.encode_images(pixels), local.encode_images(pixels))
    assert np.allclose(fetched.encode_text(SENTENCES), local.encode_text(SENTENCES))
    link = next(cache.glob("*BiomedCLIP*/snapshots/*"))
    link.unlink()
    link.symlink_to(silent)
    with pytest.raises(ModelError, match=r"not state how.*local-dir:FOLDER"):
        load_model("biomedclip", device="cpu")
