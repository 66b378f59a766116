"""The training loop: batches from a pool, Muon and AdamW, checkpoints that a run resumes from."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fetalclip_nb.errors import CacheError
from fetalclip_nb.experiments.pretraining import captions
from fetalclip_nb.experiments.pretraining.loss import age_targets, contrastive_loss, plane_targets
from fetalclip_nb.experiments.pretraining.pool import BRAIN, PARTS, PLANES, Pool, augment
from fetalclip_nb.experiments.pretraining.recipe import Recipe, Stage
from fetalclip_nb.files import keep, kept
from fetalclip_nb.growth import gestational_age, head_circumference
from fetalclip_nb.models.model import trimmed_text

LARGEST_SCALE = 100.0
"""Upper bound of the learned factor on the cosine, as in CLIP."""

REPORT = 50
"""Steps between lines of progress."""


class Trainer:
    """A model with its optimizers, and the number of steps done.

    Every step draws its randomness from (seed, step) alone, so a resumed run goes on exactly
    as an uninterrupted one.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[[list[str]], torch.Tensor],
        preprocess_cfg: dict,
        pool: Pool,
        recipe: Recipe,
    ) -> None:
        self.model, self.tokenizer, self.pool, self.recipe = model, tokenizer, pool, recipe
        self.mean, self.std = preprocess_cfg["mean"][0], preprocess_cfg["std"][0]
        self.size = model.visual.image_size[0]
        self.optimizers = make_optimizers(model, recipe)
        self.heads = np.flatnonzero(np.isfinite(pool.hc_mm))
        self.hearts = np.flatnonzero(pool.clip)
        self.others = np.flatnonzero((pool.plane != BRAIN) & ~pool.clip)
        self.done, self.seconds = 0, 0.0

    def step(self) -> dict[str, float]:
        """Do one optimisation step and return its losses (no unit) by name."""
        started = time.monotonic()
        rng = np.random.default_rng([self.recipe.seed, self.done])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        factor = learning_rate_factor(self.done, self.recipe)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.zero_grad(set_to_none=True)
        # On a CPU the plain attention kernel is twice as fast as the fused one for 65 tokens.
        autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.recipe.bfloat16)
        with autocast, sdpa_kernel(SDPBackend.MATH):
            losses = self.losses(rng, generator)
            sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=float(np.log(LARGEST_SCALE)))
        self.done += 1
        self.seconds += time.monotonic() - started
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def losses(self, rng: np.random.Generator, generator: torch.Generator) -> dict:
        """Plane loss, and from ``recipe.age_from_step`` on the age loss, as scalars."""
        recipe, (stage, _) = self.recipe, self.recipe.stage_at(self.done)
        with_age = self.done >= recipe.age_from_step
        rows, first_head = self.anatomy_rows(rng, stage)
        described = len(rows)
        sentences, targets = plane_batch(self.pool, rows, rng)
        if with_age and not stage.shared:
            rows = np.concatenate([rows, rng.choice(self.heads, recipe.age_batch)])
        zoom = np.exp(rng.uniform(*np.log(stage.zoom), size=len(rows)))
        images = self.image_features(rows, zoom, generator)
        result = {"plane": self.loss(images[:described], sentences, targets)}
        if with_age:
            aged = slice(first_head, None)
            sentences, targets = age_batch(self.pool, rows[aged], zoom[aged], rng, recipe)
            result["age"] = self.loss(images[aged], sentences, targets)
        return result

    def anatomy_rows(self, rng: np.random.Generator, stage: Stage) -> tuple[np.ndarray, int]:
        """Rows of the pool with captions of anatomy, and where the heads for age start."""
        recipe = self.recipe
        if not stage.shared:
            n, brains = recipe.plane_batch, recipe.plane_batch // 2
            rows = [rng.choice(self.heads, brains), rng.choice(self.others, n - brains)]
            return np.concatenate(rows), n
        total = recipe.plane_batch + recipe.age_batch
        others = total - round(total * recipe.shared_heads)
        rows = [rng.choice(self.others, others), rng.choice(self.heads, total - others)]
        if stage.hearts:
            rows.insert(0, rng.choice(self.hearts, stage.hearts))
        return np.concatenate(rows), others + stage.hearts

    def loss(
        self, images: torch.Tensor, sentences: list[str], targets: torch.Tensor
    ) -> torch.Tensor:
        """Contrastive loss of image features against encoded sentences."""
        texts = trimmed_text(self.model, self.tokenizer(sentences))
        return contrastive_loss(images, texts, targets, self.model.logit_scale.exp())

    def image_features(
        self, rows: np.ndarray, zoom: np.ndarray, generator: torch.Generator
    ) -> torch.Tensor:
        """Features of augmented pictures, (N, D)."""
        pictures = torch.from_numpy(self.pool.images[rows])
        grey = augment(pictures, torch.from_numpy(zoom).float(), self.size, generator)
        return self.model.encode_image(((grey - self.mean) / self.std).expand(-1, 3, -1, -1))

    def save(self, path: Path) -> None:
        """Write all that a resumed run needs."""
        state = {
            "done": self.done,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        keep(path, lambda file: torch.save(state, file))

    def load(self, path: Path) -> None:
        """Go on from a checkpoint, whose name says the recipe."""
        state = torch.load(kept(path), weights_only=True)
        self.done, self.seconds = state["done"], state["seconds"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def train(trainer: Trainer, checkpoint: Path, *, every: int = 200) -> None:
    """Train to the recipe's last step, resuming from ``checkpoint`` when it exists.

    The checkpoint is written ``every`` so many steps and at the end.
    """
    with contextlib.suppress(OSError, CacheError):  # none, or a damaged one: begin
        trainer.load(checkpoint)
    trainer.model.train()
    while trainer.done < trainer.recipe.steps:
        losses = trainer.step()
        if trainer.done % REPORT == 0:
            values = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
            step = f"step {trainer.done}/{trainer.recipe.steps}"
            print(f"{step}  {values}  {trainer.seconds:.0f} s", flush=True)
        if trainer.done % every == 0 or trainer.done == trainer.recipe.steps:
            trainer.save(checkpoint)


def plane_batch(
    pool: Pool, rows: np.ndarray, rng: np.random.Generator
) -> tuple[list[str], torch.Tensor]:
    """A caption for each image, and which captions describe which images (N, N)."""
    drawn = [
        captions.plane_caption(rng, PLANES[p], PARTS[b] if b >= 0 else None)
        for p, b in zip(pool.plane[rows], pool.part[rows], strict=True)
    ]
    named = [PARTS.index(c.part) if c.part else -1 for c in drawn]
    plane, part = torch.from_numpy(pool.plane[rows]), torch.from_numpy(pool.part[rows])
    targets = plane_targets(plane, part, plane, torch.tensor(named))
    return [caption.text for caption in drawn], targets


def age_batch(
    pool: Pool, rows: np.ndarray, zoom: np.ndarray, rng: np.random.Generator, recipe: Recipe
) -> tuple[list[str], torch.Tensor]:
    """A caption with age and spacing for each head, others at random ages, and soft targets."""
    ages, spacing = pool.age_days[rows], pool.spacing_mm[rows] / zoom
    in_image = np.log(pool.hc_mm[rows]) - np.log(spacing)
    extra = rng.integers(len(rows), size=recipe.extra_ages)
    shift = np.exp(rng.normal(0, recipe.extra_spread, size=recipe.extra_ages))
    extra_ages = gestational_age(pool.hc_mm[rows[extra]] * shift).round().astype(np.int64)
    ages = np.concatenate([ages, extra_ages])
    stated = np.concatenate([spacing, spacing[extra]]).round(2)
    sentences = [captions.age_caption(rng, a, s) for a, s in zip(ages, stated, strict=True)]
    in_caption = np.log(head_circumference(ages)) - np.log(stated)
    targets = age_targets(torch.from_numpy(in_image), torch.from_numpy(in_caption), recipe.sigma)
    return sentences, targets


def make_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of both towers' blocks, AdamW for all other parameters."""
    blocks = [*model.visual.transformer.parameters(), *model.transformer.parameters()]
    matrices = [parameter for parameter in blocks if parameter.ndim == 2]
    taken = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    muon = torch.optim.Muon(matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay)
    adamw = torch.optim.AdamW(
        rest, lr=recipe.adamw_lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    for optimizer in (muon, adamw):
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return [muon, adamw]


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """In each stage: linear warm-up, flat to half of its steps, then linear to 3 percent.

    >>> from fetalclip_nb.experiments.pretraining.recipe import Stage
    >>> recipe = Recipe(stages=(Stage(100), Stage(20)), warmup=10)
    >>> [round(learning_rate_factor(step, recipe), 3) for step in (0, 9, 50, 75, 99, 100)]
    [0.1, 1.0, 1.0, 0.515, 0.049, 0.1]
    """
    stage, local = recipe.stage_at(step)
    half = stage.steps / 2
    falling = 1.0 if local <= half else 1 - 0.97 * (local - half) / half
    return min((local + 1) / recipe.warmup, falling)
