"""Pretraining of the small CLIP that ships: recipe, command, and the order of its steps.

``fetalclip-nb pretrain`` draws the phantoms, trains, exports and scores. Torch is imported
only when the command runs.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights" / "phantomclip"
"""Folder of the shipped model; its ``open_clip_config.json`` is also what training starts from."""


@dataclass(frozen=True)
class Recipe:
    """Every setting that decides what the trained model is.

    Attributes:
        seed: Seed of phantoms, initial weights, batches and augmentation.
        steps: Optimisation steps.
        heads: Brain phantoms in the pool.
        others: Phantoms of all other planes in the pool.
        plane_batch: Images a step with captions of anatomy; half of them are brains.
        age_batch: Heads a step with captions of gestational age.
        age_from_step: First step with captions of gestational age.
        extra_ages: Captions a step that state a neighbouring age of one of the heads.
        extra_spread: Standard deviation of log circumference for these ages.
        sigma: Tolerance of the soft age targets in log circumference.
        zoom: Smallest and largest magnification in augmentation.
        muon_lr: Learning rate of Muon (matrices of the blocks).
        adamw_lr: Learning rate of AdamW (all other parameters).
        weight_decay: Weight decay of Muon.
        warmup: Steps of linear warm-up.
        clip_norm: Largest norm of the gradient.
        bfloat16: Whether products are computed in bfloat16.
    """

    seed: int = 0
    steps: int = 2800
    heads: int = 6000
    others: int = 6000
    plane_batch: int = 32
    age_batch: int = 32
    age_from_step: int = 300
    extra_ages: int = 32
    extra_spread: float = 0.25
    sigma: float = 0.05
    zoom: tuple[float, float] = (0.7, 1.25)
    muon_lr: float = 5e-3
    adamw_lr: float = 6e-4
    weight_decay: float = 0.05
    warmup: int = 40
    clip_norm: float = 1.0
    bfloat16: bool = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb pretrain``."""
    default = Recipe()
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the exported model")
    parser.add_argument("--cache", type=Path, default=Path("build/cache/pretraining"))
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--heads", type=int, default=default.heads, help="brain phantoms")
    parser.add_argument("--others", type=int, default=default.others, help="other phantoms")
    parser.add_argument("--threads", type=int, default=2, help="torch threads and processes")
    parser.add_argument("--real", type=Path, help="HC18 folder: also score on real heads")


def main(args: argparse.Namespace) -> int:
    """Draw phantoms, train (or resume), export, score and write the model card."""
    from fetalclip_nb import pretraining_run

    recipe = Recipe(seed=args.seed, steps=args.steps, heads=args.heads, others=args.others)
    pretraining_run.run(
        recipe, out=args.out, cache=args.cache, threads=args.threads, real=args.real
    )
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=main.__doc__)
    add_arguments(parser)
    raise SystemExit(main(parser.parse_args()))
