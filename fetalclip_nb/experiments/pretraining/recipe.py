"""Pretraining of the small CLIP that ships: the recipe.

Each setting that decides what the model is. No torch: the command reads its defaults here.
"""

from dataclasses import dataclass


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
        """The stage of a step below ``steps``, and the step counted from that stage's start.

        >>> Recipe(stages=(Stage(10), Stage(5, shared=True))).stage_at(12)
        (Stage(steps=5, zoom=(0.7, 1.25), shared=True, hearts=0), 2)
        """
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise IndexError(step)
