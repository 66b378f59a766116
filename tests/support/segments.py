"""Small tasks and materials for tests of segmentation, made once a session by conftest."""

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.experiments.segmentation.fit import Outcome
from fetalclip_nb.experiments.segmentation.material import Preparation
from fetalclip_nb.experiments.segmentation.recipe import DecoderRecipe
from fetalclip_nb.models.blocks import BlockEncoder
from fetalclip_nb.models.model import load_model
from fetalclip_nb.phantoms.cohorts import write_hc18
from fetalclip_nb.phantoms.organs import write_organs
from fetalclip_nb.tasks.masks import MaskTask, head_task, structure_task
from helpers import TINY_CONFIG

SIDE = 32
RECIPE = DecoderRecipe(2, 1e-2, batch_size=4, epochs=2, side=SIDE, copies=0, runs=1)
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


def tiny_encoder(folder: Path, **settings) -> BlockEncoder:
    """Features of an untrained model: 32 pixels, 4 x 4 patches, width 16."""
    vision = {"image_size": 32, "layers": 6, "width": 16, "head_width": 8, "patch_size": 8}
    model = {**TINY_CONFIG, "vision_cfg": vision}
    path = folder / "tiny.json"
    path.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {"mean": MEAN, "std": STD}}))
    return BlockEncoder(load_model(f"tiny={path}-untrained", device="cpu"), **settings)


def abdomens(root: Path) -> MaskTask:
    """Trunks of ten patients with three structures; two patients are tested."""
    write_organs(root, view="abdomen", patients=10, seed=3, workers=1)
    return structure_task("abdomen", root)


def phantom_heads(root: Path) -> MaskTask:
    """Heads of ten patients, of known circumference."""
    write_hc18(root, patients=10, seed=9, workers=1)
    return head_task(read_hc18(root))


def shapes(root: Path, n: int = 6, reach: float = 0.3) -> MaskTask:
    """White discs on black, and masks that are these discs; a patient an image."""
    root.mkdir(parents=True)
    rows = []
    for i in range(n):
        width, height = 90 - 7 * i, 60 + 5 * i
        y, x = np.mgrid[:height, :width]
        centre = width * (0.4 + 0.04 * i), height * (0.6 - 0.03 * i)
        disc = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < (reach * min(width, height)) ** 2
        for name in (f"{i}.png", f"disc{i}.png"):
            Image.fromarray(disc.astype(np.uint8) * 255).save(root / name)
        rows.append((f"{i}.png", "x", f"p{i}", f"disc{i}.png"))
    table = pd.DataFrame(rows, columns=["image", "label", "patient", "mask_disc"])
    table.to_csv(root / "manifest.csv", index=False)
    return structure_task("shapes", root)


def trained_patients(task: MaskTask) -> np.ndarray:
    """Rows that the task's own column does not call tested."""
    return (task.items.table["split"] != "test").to_numpy()


def rows_by_hand(table: pd.DataFrame, patients: Collection[str]) -> list[int]:
    """Row numbers of some patients, one by one."""
    return [i for i, patient in enumerate(table["patient"]) if patient in patients]


def with_table(task: MaskTask, **columns) -> MaskTask:
    """The same task with other values in some columns."""
    return replace(task, dataset=replace(task.dataset, table=task.dataset.table.assign(**columns)))


def empty_preparation(place: np.ndarray, side: int = SIDE, structures: int = 1) -> Preparation:
    """Where rows lie, without anything in it."""
    n = int((place >= 0).sum())
    return Preparation(
        np.zeros((n, 4, 1, 1, 8), np.float16),
        np.zeros((n, side, side, 3), np.uint8),
        np.zeros((n, structures, side * side // 8), np.uint8),
        place,
        f"{place}",
    )


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are equal, number by number."""
    return all(
        np.array_equal(value, vars(other)[name], equal_nan=value.dtype.kind == "f")
        for name, value in vars(one).items()
    )
