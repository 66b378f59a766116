"""The command ``fetalclip-nb pretrain``: draws the phantoms, trains, exports and scores."""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from fetalclip_nb.errors import ParameterError, refuse
from fetalclip_nb.experiments.pretraining.recipe import Recipe
from fetalclip_nb.paths import SHIPPED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb pretrain``."""
    default = Recipe()
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder of the exported model")
    parser.add_argument("--cache", type=Path, default=Path("build/cache/pretraining"))
    steps = [stage.steps for stage in default.stages]
    parser.add_argument("--steps", type=int, nargs="+", default=steps, help="steps of each stage")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--heads", type=int, default=default.heads, help="brain phantoms")
    parser.add_argument("--others", type=int, default=default.others, help="other phantoms")
    parser.add_argument("--hearts", type=int, default=default.hearts, help="frames of clips")
    parser.add_argument("--threads", type=int, default=2, help="torch threads and processes")
    scored = "only score the model in --out again, as after a change of the held-out phantoms"
    parser.add_argument("--score-only", action="store_true", help=scored)
    parser.add_argument("--real", type=Path, help="HC18 folder: also score on real heads")


def main(args: argparse.Namespace) -> int:
    """Draw phantoms, train (or resume), export, score and write the model card."""
    from fetalclip_nb.data.kinds import load_dataset
    from fetalclip_nb.experiments.pretraining import run

    numbers = {"threads": args.threads, "heads": args.heads, "others": args.others}
    numbers |= {"hearts": args.hearts, "steps": min(args.steps), "seed": args.seed + 1}
    wrong = [f"--{name}" for name, number in numbers.items() if number < 1]
    refuse(wrong, "Number is too small", error=ParameterError, expected="1 (of a seed: 0) or more")
    args.out.mkdir(parents=True, exist_ok=True)  # what would fail after hours, fails now
    tempfile.TemporaryFile(dir=args.out).close()
    if args.real is not None:
        load_dataset("hc18", args.real)
    if args.score_only:
        facts = json.loads((args.out / "scores.json").read_text(encoding="utf-8"))
        run.scored(facts, out=args.out, cache=args.cache, real=args.real)
        return 0
    if len(args.steps) != len(Recipe.stages):
        raise ParameterError("Give steps for each stage", where="--steps", found=args.steps)
    stages = tuple(replace(s, steps=n) for s, n in zip(Recipe.stages, args.steps, strict=True))
    pool = {"heads": args.heads, "others": args.others, "hearts": args.hearts}
    recipe = Recipe(seed=args.seed, stages=stages, **pool)
    run.run(recipe, out=args.out, cache=args.cache, threads=args.threads, real=args.real)
    return 0
