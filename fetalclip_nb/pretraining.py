"""Pretraining of the small CLIP that ships: recipe, command, and the order of its steps.

``fetalclip-nb pretrain`` draws the phantoms, trains, exports and scores. Torch is imported
only when the command runs.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from fetalclip_nb.errors import ParameterError

WEIGHTS = Path(__file__).parent / "weights" / "phantomclip"
"""Folder of the shipped model; its ``open_clip_config.json`` is also what training starts from."""


@dataclass(frozen=True)
class Stage:
    """A part of training with its own learning-rate cycle.

    Attributes:
        steps: Optimisation steps.
        zoom: Smallest and largest magnification in augmentation.
        shared: Whether every picture serves both losses (captions of anatomy for all, of
            age for all heads), instead of separate pictures for each loss.
        hearts: Frames of four-chamber clips a step, besides all others.
    """

    steps: int
    zoom: tuple[float, float] = (0.7, 1.25)
    shared: bool = False
    hearts: int = 0


@dataclass(frozen=True)
class Recipe:
    """Every setting that decides what the trained model is.

    Attributes:
        seed: Seed of phantoms, initial weights, batches and augmentation.
        stages: Parts of training, one after the other.
        heads: Brain phantoms in the pool.
        others: Phantoms of all other planes in the pool.
        hearts: Frames of four-chamber clips in the pool, half of them with a defect.
        plane_batch: Images a step for captions of anatomy, half of them brains.
        age_batch: Further heads a step for captions of gestational age.
        shared_heads: Share of heads among all images of a step in a stage that shares them.
        age_from_step: First step with captions of gestational age.
        extra_ages: Captions a step that state a neighbouring age of one of the heads.
        extra_spread: Standard deviation of log circumference for these ages.
        sigma: Tolerance of the soft age targets in log circumference.
        muon_lr: Learning rate of Muon (matrices of the blocks).
        adamw_lr: Learning rate of AdamW (all other parameters).
        weight_decay: Weight decay of Muon.
        warmup: Steps of linear warm-up of each stage.
        clip_norm: Largest norm of the gradient.
        bfloat16: Whether products are computed in bfloat16.
    """

    seed: int = 0
    stages: tuple[Stage, ...] = (
        Stage(2800),
        Stage(2000, zoom=(0.85, 1.25), shared=True),
        Stage(1000, zoom=(0.85, 1.25), shared=True, hearts=10),
    )
    heads: int = 6000
    others: int = 6000
    hearts: int = 3000
    plane_batch: int = 32
    age_batch: int = 32
    shared_heads: float = 0.625
    age_from_step: int = 300
    extra_ages: int = 32
    extra_spread: float = 0.25
    sigma: float = 0.05
    muon_lr: float = 5e-3
    adamw_lr: float = 6e-4
    weight_decay: float = 0.05
    warmup: int = 40
    clip_norm: float = 1.0
    bfloat16: bool = True

    @property
    def steps(self) -> int:
        """Optimisation steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage of a step, and the step counted from that stage's start.

        >>> Recipe(stages=(Stage(10), Stage(5, shared=True))).stage_at(12)
        (Stage(steps=5, zoom=(0.7, 1.25), shared=True, hearts=0), 2)
        """
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise ParameterError("Step beyond the last stage", expected=f"below {self.steps}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb pretrain``."""
    default = Recipe()
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the exported model")
    parser.add_argument("--cache", type=Path, default=Path("build/cache/pretraining"))
    steps = [stage.steps for stage in default.stages]
    parser.add_argument("--steps", type=int, nargs="+", default=steps, help="steps of each stage")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--heads", type=int, default=default.heads, help="brain phantoms")
    parser.add_argument("--others", type=int, default=default.others, help="other phantoms")
    parser.add_argument("--hearts", type=int, default=default.hearts, help="frames of clips")
    parser.add_argument("--threads", type=int, default=2, help="torch threads and processes")
    parser.add_argument("--real", type=Path, help="HC18 folder: also score on real heads")


def main(args: argparse.Namespace) -> int:
    """Draw phantoms, train (or resume), export, score and write the model card."""
    from fetalclip_nb import pretraining_run

    if len(args.steps) != len(Recipe.stages):
        raise ParameterError("Give steps for each stage", where="--steps", found=args.steps)
    stages = tuple(replace(s, steps=n) for s, n in zip(Recipe.stages, args.steps, strict=True))
    pool = {"heads": args.heads, "others": args.others, "hearts": args.hearts}
    recipe = Recipe(seed=args.seed, stages=stages, **pool)
    pretraining_run.run(
        recipe, out=args.out, cache=args.cache, threads=args.threads, real=args.real
    )
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=main.__doc__)
    add_arguments(parser)
    raise SystemExit(main(parser.parse_args()))
