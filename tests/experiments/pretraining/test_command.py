"""The command draws, trains, exports, scores and writes the card."""

import argparse
import json
from pathlib import Path

import open_clip
import pytest

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.pretraining.card import model_card
from fetalclip_nb.experiments.pretraining.command import add_arguments, main
from fetalclip_nb.experiments.pretraining.recipe import Recipe
from fetalclip_nb.experiments.pretraining.scores import HELD_OUT
from fetalclip_nb.phantoms import write_hc18


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser


def test_command_line_offers_the_recipe(parser):
    args = parser.parse_args(["--steps", "7", "5", "2", "--out", "there"])
    assert (args.steps, args.seed, args.out) == ([7, 5, 2], Recipe().seed, Path("there"))


def test_steps_are_asked_for_each_stage(parser):
    with pytest.raises(ParameterError, match="steps for each stage"):
        main(parser.parse_args(["--steps", "1", "2"]))


def test_command_trains_exports_scores_and_describes(tmp_path, monkeypatch, parser):
    monkeypatch.setitem(HELD_OUT, "fetal_planes", {"patients": 8, "seed": 1})
    monkeypatch.setitem(HELD_OUT, "hc18", {"patients": 6, "seed": 2})
    out, cache = tmp_path / "out", tmp_path / "cache"
    write_hc18(tmp_path / "heads", patients=6, seed=3, workers=1)
    words = f"--out {out} --cache {cache} --steps 1 1 1 --heads 6 --others 9 --hearts 8 --threads 1"
    assert main(parser.parse_args([*words.split(), "--real", str(tmp_path / "heads")])) == 0
    scores = json.loads((out / "scores.json").read_text("utf-8"))
    assert [stage["steps"] for stage in scores["recipe"]["stages"]] == [1, 1, 1]
    assert {"planes", "brain", "age", "real_hc18"} < set(scores)
    assert 0 <= scores["planes"]["f1_macro"]["value"] <= 1
    assert set(scores["real_hc18"]) == set(scores["age"])
    assert (out / "README.md").read_text("utf-8") == model_card(scores)
    monkeypatch.setitem(HELD_OUT, "hc18", {"patients": 7, "seed": 4})
    assert main(parser.parse_args([*words.split(), "--score-only"])) == 0
    again = json.loads((out / "scores.json").read_text("utf-8"))
    assert again["held_out"]["hc18"] == {"patients": 7, "seed": 4} and again["age"] != scores["age"]
    kept = ("model", "training", "recipe", "planes", "real_hc18")
    assert [again[name] for name in kept] == [scores[name] for name in kept]
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{out}")
    assert sum(p.numel() for p in model.parameters()) == scores["model"]["parameters"]
