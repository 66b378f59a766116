"""A small chapter: heads and abdomens, a model and the image alone; mean masks for decoders."""

from dataclasses import replace
from pathlib import Path

import pytest

from fetalclip_nb.experiments.segmentation.plans import plan_decoders, split_patients
from fetalclip_nb.experiments.segmentation.scores import mean_mask, mean_masks
from fetalclip_nb.models.model import load_model
from segments import RECIPE


@pytest.fixture(scope="session")
def studies(heads, trunks):
    """Own splits: one fold of heads is used, and two of the abdomens."""
    folds = {"folds": 2, "head_folds": 1, "organ_folds": 2}
    return split_patients({"head": heads, "abdomen": trunks}, "own", Path("none"), **folds, seed=0)


@pytest.fixture(scope="session")
def plans(studies, tmp_path_factory):
    """Plans of the phantom model and, of heads, of the image alone."""
    models = [load_model("phantomclip", device="cpu")]
    how = {"image_only": True, "batch_size": 8, "seed": 3}
    recipe = replace(RECIPE, batch_size=2)
    return plan_decoders(models, studies, recipe, cache_dir=tmp_path_factory.mktemp("c"), **how)


@pytest.fixture(scope="session")
def outcomes(plans):
    """The mean mask under its own name, and in place of all decoders."""
    same = {
        key: mean_mask(plan.material, plan.splits[0], plan.tested) for key, plan in plans.items()
    }
    return same | mean_masks(plans)
