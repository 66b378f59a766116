"""From folders to what every decoder of the chapter learns from: tasks, splits, plans."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fetalclip_nb.errors import ModelError
from fetalclip_nb.experiments.segmentation.decoder import UPSCALING
from fetalclip_nb.experiments.segmentation.material import Material, gather, trained_rows
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe, require_shown
from fetalclip_nb.models.blocks import BlockEncoder, NoFeatures
from fetalclip_nb.models.model import Model
from fetalclip_nb.tasks.choice import choose_folds
from fetalclip_nb.tasks.items import Task, require_enough_rows
from fetalclip_nb.tasks.masks import MaskTask
from fetalclip_nb.tasks.official_splits import official_folds
from fetalclip_nb.tasks.splits import Split, first_folds, fit_seed, rows_of


@dataclass(frozen=True)
class Study:
    """A task and whose images its decoders are trained and tested on.

    Attributes:
        task: Images and masks.
        splits: Name to split: one for probing, one for each number of training patients; their
            test patients are on no other side.
        tested: Patients that decoders are tested on: with the authors' split of HC18 all that
            it tests, also those that it trains on.
    """

    task: MaskTask
    splits: Mapping[str | int, Split]
    tested: tuple[str, ...]

    @property
    def split(self) -> Split:
        """The first split."""
        return next(iter(self.splits.values()))

    @property
    def leaks(self) -> bool:
        """Whether patients are tested that the split trains or validates on."""
        return self.tested != self.split.test


def split_patients(
    tasks: Mapping[str, MaskTask],
    choice: str,
    released_root: Path,
    *,
    folds: int,
    head_folds: int,
    organ_folds: int,
    seed: int,
) -> dict[str, Study]:
    """Whose images are trained and tested on, by task.

    Args:
        tasks: As given by `masks.open_tasks`.
        choice: "official", "own" or "auto", of heads; organs always have own splits.
        released_root: Folder in the layout of the authors' repository.
        folds: Own folds.
        head_folds: How many of the folds are used for heads.
        organ_folds: How many of them are used for the others.
        seed: Seed of own folds.
    """
    studies = {}
    for name, task in tasks.items():
        rule, used = (choice, head_folds) if name == "head" else ("own", organ_folds)
        split = choose_folds(rule, task.items, task.dataset, released_root, seed=seed, folds=folds)
        official = name == "head" and split.source.startswith("official")
        # As released: 18 of these 161 examinations are trained or validated on as well.
        tested = official_folds(released_root, name).test if official else split.test
        split = first_folds(split, used, name="head_folds, organ_folds")
        studies[name] = Study(task, {name: split}, tested)
    return studies


Studies = Mapping[str, Study]
"""Task to its split data."""


@dataclass(frozen=True)
class Plan:
    """Decoders of one encoder and task: one for each fold of each split, and run.

    Attributes:
        material: Features, images and masks.
        splits: Of the study.
        tested: Of the study.
        recipe: How many decoders a fold, and how they are trained.
        seed: What the decoders' seeds are made of, with training patients and runs.
    """

    material: Material
    splits: tuple[Split, ...]
    tested: tuple[str, ...]
    recipe: DecoderRecipe
    seed: int

    @property
    def rows(self) -> np.ndarray:
        """Rows of the task that are tested, int64."""
        return np.flatnonzero(rows_of(self.material.task.items.table, self.tested))

    @property
    def jobs(self) -> list[DecoderJob]:
        """What each decoder learns from, in the order of splits, folds and runs."""
        table = self.material.task.items.table
        return [
            DecoderJob(
                self.material.pairs(np.flatnonzero(rows_of(table, fold.train))),
                np.flatnonzero(rows_of(table, fold.validation)),
                fit_seed(self.seed, fold.train, run),
            )
            for split in self.splits
            for fold in split.folds
            for run in range(self.recipe.runs)
        ]


Plans = Mapping[tuple[str, str], Plan]
"""(model, task) to what its decoders learn from."""


def plan_decoders(
    models: Iterable[Model],
    studies: Studies,
    recipe: DecoderRecipe,
    *,
    image_only: bool,
    cache_dir: Path,
    batch_size: int,
    seed: int,
) -> Plans:
    """Compute or read the features of all models for all tasks.

    Args:
        models: Loaded one after the other, after the splits have been checked.
        studies: As given by `split_patients`.
        recipe: How decoders are trained.
        image_only: Also plan decoders of heads without any features.
        cache_dir: Folder that all notebooks share.
        batch_size: Images in an encoder's forward pass.
        seed: Seed of copies and decoders.
    """
    tasks = {n: Task(s.task.dataset, s.task.items, s.splits) for n, s in studies.items()}
    require_enough_rows(
        tasks, copies=recipe.copies, batch=recipe.batch_size, parameter="decoder_batch"
    )
    for study in studies.values():
        require_shown(study.task, study.split)

    def planned(encoder: BlockEncoder | NoFeatures, study: Study) -> Plan:
        splits = tuple(study.splits.values())
        how = {"cache_dir": cache_dir, "seed": seed, "batch_size": batch_size}
        material = gather(encoder, study.task, trained_rows(study.task, *splits), recipe, **how)
        return Plan(material, splits, study.tested, recipe, seed)

    plans: dict[tuple[str, str], Plan] = {}
    for model in models:
        encoder = BlockEncoder(model, recipe.blocks, recipe.side // UPSCALING)
        print(f"{model.name}: blocks {', '.join(map(str, encoder.blocks))}, width {encoder.width}")
        plans |= {(model.name, name): planned(encoder, study) for name, study in studies.items()}
    if not plans:
        raise ModelError("No model gives features of its blocks", fix="leave out what is outlined")
    if image_only:
        plans[NoFeatures.name, "head"] = planned(NoFeatures(), studies["head"])
    return plans
