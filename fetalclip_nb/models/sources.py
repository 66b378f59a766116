"""From a model's source to its network: config and checkpoint, or what open_clip fetches."""

import contextlib
import hashlib
import json
import logging
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import open_clip
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.pretrained import download_pretrained_from_hf
from torch import nn

from fetalclip_nb.downloads.registry import file_hash, registered
from fetalclip_nb.errors import ModelError, listing, reading, refuse
from fetalclip_nb.models.checkpoints import load_weights, require_file
from fetalclip_nb.models.encoders import image_only
from fetalclip_nb.models.names import CONFIG, FETALCLIP, IN_FOLDER, NAMES, UNTRAINED, door, parts

_UNTRAINED_SEED = 0

_STATED = ("mean", "std", "interpolation", "resize_mode")

_OF_TEXT = {
    "hf_model_name": ["config.json"],
    "hf_tokenizer_name": ["tokenizer_config.json", "tokenizer.json", "vocab.txt"],
}

_PAIRS = {
    # OpenAI trained with QuickGELU: plain "ViT-L-14" would load with a warning and score lower.
    "clip": "ViT-L-14-quickgelu/openai",
    "biomedclip": "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
}

Parts = tuple[nn.Module, Callable, Callable | None, dict]
"""Network, PIL image to tensor, sentences to token ids (None: it reads none), its settings."""


def create(source: str) -> Parts:
    """A network with its weights and all of `Parts`, from a `load_model` source without NAME=."""
    if door(source):
        return image_only(source)
    config, weights = parts(source)
    if config and (weights or source.endswith(UNTRAINED)):
        beside = weights or parts(source.removesuffix(UNTRAINED))[1] or config
        made = _build(config, beside.parent, seed=None if weights else _UNTRAINED_SEED)
        if weights:
            load_weights(made[0], weights, config)
        return made
    return _create_from_open_clip(_PAIRS.get(source, source))


@cache
def published_as(source: str) -> str:
    """Name under which scores of these weights are published, or "".

    FetalCLIP's files are known by their hash. Nobody has published one for the others: they are
    known by their name, with the config and from the address that go with it.
    """
    config, weights = parts(source)
    given = zip((config, weights), map(registered("fetalclip").file, FETALCLIP), strict=True)
    if all(
        path and path.stat().st_size == file.bytes and file_hash(path, file.hash) == file.hash
        for path, file in given
    ):
        return "fetalclip"
    if config:
        return source if config.name == f"{source}.json" else ""
    return {pair: name for name, pair in _PAIRS.items()}.get(_PAIRS.get(source, source), "")


def _build(path: Path, beside: Path, *, seed: int | None = None) -> Parts:
    """An open_clip model from a config, with random weights, and files beside its own weights."""
    config = read_config(path)
    options = {f"image_{key}": value for key, value in _preprocessing(config, path).items()}
    fix = f"correct it, or take the open_clip that wrote it (here: {open_clip.__version__}); "
    towers = listing(re.findall(r'_name": "([^"]+)', json.dumps(config["model_cfg"]))) or "none"
    fix += f"what other libraries build ({towers}) needs the network unless its config.json, "
    fix += f"vocab.txt and tokenizer_config.json lie in a folder of its last name in {beside}"
    # open_clip's warning that weights are random: here that is meant, or passing.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with (
        contextlib.ExitStack() as stack,
        reading(path, "Model cannot be built from its config", error=ModelError, fix=fix),
        torch.random.fork_rng(devices=[], enabled=seed is not None),
    ):
        stack.callback(logging.disable, before)
        if seed is not None:
            torch.manual_seed(seed)
        name = _register(_with_local_text(config["model_cfg"], beside))
        made = _with_tokenizer(name, load_weights=False, pretrained_text=False, **options)
        return *made[:3], config["model_cfg"]  # the same wherever the files lie


def _register(config: dict) -> str:
    """Tell open_clip of a config; the name that it has there."""
    text = json.dumps(config, sort_keys=True)
    name = f"fetalclip-nb-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.json").write_text(text, "utf-8")
        open_clip.add_model_config(folder)
    return name


def _with_local_text(config: dict, beside: Path) -> dict:
    """A config whose text tower and tokenizer of transformers are read from files, if here."""
    text = dict(config["text_cfg"])
    for key, files in ((key, files) for key, files in _OF_TEXT.items() if text.get(key)):
        places = [beside / Path(text[key]).name, beside][: 1 + ("tokenizer" in key)]
        here = [each for each in places if any((each / name).is_file() for name in files)]
        text[key] = str(here[0]) if here else text[key]
    return {**config, "text_cfg": text}


def _preprocessing(config: dict, path: Path) -> dict:
    """What a config states of the preparation of images, mean and deviation at least."""
    stated = {k: v for k, v in config["preprocess_cfg"].items() if k in _STATED}
    known = registered("fetalclip").file(FETALCLIP[0])
    if path.name == FETALCLIP[0] or file_hash(path, known.hash) == known.hash:
        stated = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD} | stated
    wrong = [f"{key}: {stated.get(key)}" for key in ("mean", "std") if not _three(stated.get(key))]
    refuse(
        wrong,
        "Config does not state how images are normalised",
        error=ModelError,
        where=path,
        expected="preprocess_cfg with mean and std, three numbers each, as in training",
        fix='write {"model_cfg": {...}, "preprocess_cfg": {"mean": [...], "std": [...]}} there (of '
        f"a hub's model in a copy, {IN_FOLDER}FOLDER); OpenAI's are {list(OPENAI_DATASET_MEAN)} "
        f"and {list(OPENAI_DATASET_STD)}",
    )
    return stated


def _three(values: object) -> bool:
    numbers = values if isinstance(values, list | tuple) else ()
    return len(numbers) == 3 and all(type(each) in (int, float) for each in numbers)


def _create_from_open_clip(source: str) -> Parts:
    source = source if source.startswith("hf-hub:") else _require_pair(source)
    name, _, pretrained = source.partition("/") if ":" not in source else (source, "", "")
    fix = "check the name, the network connection and that `transformers` is installed where the "
    fix += "text tower needs it"
    with reading(source, "Model cannot be loaded", error=ModelError, fix=fix):
        if source.startswith("hf-hub:"):
            path = Path(download_pretrained_from_hf(name.removeprefix("hf-hub:"), filename=CONFIG))
            _preprocessing(read_config(path), path)
        return _with_tokenizer(name, pretrained=pretrained or None, require_pretrained=True)


def _with_tokenizer(name: str, **options) -> Parts:
    network, _, preprocess = open_clip.create_model_and_transforms(name, **options)
    return network, preprocess, open_clip.get_tokenizer(name), open_clip.get_model_config(name)


def _require_pair(source: str) -> str:
    """Check ARCHITECTURE/PRETRAINED against what open_clip offers."""
    name, _, pretrained = source.partition("/")
    if name not in open_clip.list_models() or not pretrained:
        raise ModelError(
            "Unknown model",
            found=source,
            expected=f"{', '.join(NAMES)}, NAME-untrained, "
            "ARCHITECTURE/PRETRAINED, hf-hub:..., local-dir:..., CONFIG.json+CHECKPOINT, "
            "timm:NAME, hf:NAME, or FILE.py:FUNCTION",
            fix="open_clip.list_pretrained() names all pairs",
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        raise ModelError(
            "open_clip has no such weights for this architecture",
            where=source,
            expected=", ".join(tags) or "none at all",
            found=pretrained,
        )
    if pretrained == "openai" and f"{name}-quickgelu" in open_clip.list_models():
        right = f"{name}-quickgelu/openai"
        raise ModelError("OpenAI's weights need QuickGELU", where=source, expected=right)
    return source


def read_config(path: Path) -> dict:
    """Model_cfg and preprocess_cfg (it may be empty) of an open_clip config, which may be bare."""
    require_file(path, "config")
    with reading(path, "Config is no JSON", error=ModelError, fix="correct it"):
        content = json.loads(path.read_text("utf-8"))
    content = content if isinstance(content, dict) else {}
    model = content.get("model_cfg", content)
    keys = model if isinstance(model, dict) else ()
    missing = [f"no {key}" for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in keys]
    fix = "give a config of open_clip"
    refuse(missing, "Config lacks keys", error=ModelError, where=path, fix=fix)
    stated = content.get("preprocess_cfg")
    model = {key: value for key, value in model.items() if key != "preprocess_cfg"}
    return {"model_cfg": model, "preprocess_cfg": stated if isinstance(stated, dict) else {}}
