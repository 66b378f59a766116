"""One pretraining run from phantoms to the exported folder: config, weights, scores, card."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save
from torch import nn

from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.experiments.pretraining.card import model_card
from fetalclip_nb.experiments.pretraining.pool import cached_pool
from fetalclip_nb.experiments.pretraining.recipe import Recipe
from fetalclip_nb.experiments.pretraining.scores import HELD_OUT, age_scores, held_out_scores
from fetalclip_nb.experiments.pretraining.training import Trainer, train
from fetalclip_nb.files import key, whole, write_text
from fetalclip_nb.models.model import load_model
from fetalclip_nb.models.sources import read_config
from fetalclip_nb.paths import SHIPPED
from fetalclip_nb.phantoms.picture import VERSION
from fetalclip_nb.results.result_files import provenance

CONFIG_FILE = "open_clip_config.json"

WEIGHTS_FILE = "open_clip_model.safetensors"


def new_model(config: dict, seed: int) -> nn.Module:
    """An open_clip CLIP with seeded random weights."""
    torch.manual_seed(seed)
    return open_clip.CLIP(**config["model_cfg"])


def run(
    recipe: Recipe, *, out: Path, cache: Path, threads: int, real: Path | None = None
) -> dict[str, dict]:
    """Train, export, score and describe a model; give back the content of its ``scores.json``.

    Args:
        recipe: What decides the result.
        out: Folder of the exported model.
        cache: Folder of phantoms, checkpoints and embeddings.
        threads: Threads of torch and processes that draw.
        real: Folder of HC18, to score on real heads as well.
    """
    trainer = trained(recipe, cache=cache, threads=threads)
    weights = export(trainer.model, read_config(SHIPPED / CONFIG_FILE), out)
    return scored(describe(trainer, weights, threads), out=out, cache=cache, real=real)


def scored(facts: dict, *, out: Path, cache: Path, real: Path | None = None) -> dict[str, dict]:
    """Score the model in ``out`` and write its card; returns the content of ``scores.json``.

    Args:
        facts: What `describe` says of its training, or the ``scores.json`` of earlier scores.
        out: Folder of the exported model.
        cache: Folder of phantoms and embeddings.
        real: Folder of HC18, to score on real heads as well.
    """
    model = load_model(f"phantomclip=local-dir:{out}", device="cpu")
    scores = facts | {"held_out": HELD_OUT} | held_out_scores(model, cache)
    if real is not None:
        scores["real_hc18"] = age_scores(model, load_dataset("hc18", real), cache)
    text = json.dumps(scores, indent=1) + "\n"
    write_text(out / "scores.json", text)
    write_text(out / "README.md", model_card(json.loads(text)))
    return scores


def describe(trainer: Trainer, weights: Path, threads: int) -> dict[str, dict]:
    """Recipe, size and circumstances of a finished training."""
    made = provenance()
    return {
        "recipe": asdict(trainer.recipe),
        "model": {
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "bytes": weights.stat().st_size,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        },
        "training": {
            "seconds": round(trainer.seconds),
            "threads": threads,
            "phantoms": VERSION,
            "commit": made["commit"],
            "torch": made["versions"]["torch"],
            "open_clip_torch": made["versions"]["open_clip_torch"],
        },
    }


def trained(recipe: Recipe, *, cache: Path, threads: int) -> Trainer:
    """Draw the phantoms or read them from the cache, then train or go on with training."""
    torch.set_num_threads(threads)
    pool = cached_pool(cache, recipe, workers=threads)
    config = read_config(SHIPPED / CONFIG_FILE)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{SHIPPED}")
    model = new_model(config, recipe.seed)
    trainer = Trainer(model, tokenizer, config["preprocess_cfg"], pool, recipe)
    train(trainer, cache / f"run-{key([asdict(recipe), config, VERSION])}.pt")
    return trainer


def export(model: nn.Module, config: dict, folder: Path) -> Path:
    """Write config and half-precision weights for open_clip's ``local-dir:``; the weights file."""
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n")
    path = folder / WEIGHTS_FILE
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    with whole(path) as made:
        made.write_bytes(save(state, metadata={"format": "pt"}))
    return path
