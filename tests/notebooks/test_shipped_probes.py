"""What linear probes of the shipped model read from phantoms that it has never seen."""

import numpy as np

from fetalclip_nb import phantoms
from fetalclip_nb.data.fetal_planes import BRAIN_SUBPLANES, brain_subplanes
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.experiments.linear_probing.probe import baseline_logits, embed, probe_logits
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe
from fetalclip_nb.models.model import load_model
from fetalclip_nb.phantoms.chd import FRAMES
from fetalclip_nb.stats.runs import run_scores
from fetalclip_nb.tasks.choice import choose_folds
from fetalclip_nb.tasks.items import CHD_CLASSES, Task, clip_items, image_items

SEED = 90_003
MODEL, TWIN, PIXELS = "phantomclip", "phantomclip-untrained", "pixels"


def probed(folder, dataset, items, score) -> dict[str, float]:
    """Mean score over folds and runs of the probe, of its twin's, and of raw pixels."""
    split = choose_folds("own", items, dataset, folder, seed=0, folds=3)
    task = Task(dataset, items, {"own": split})
    models = [load_model(name, device="cpu") for name in (MODEL, TWIN)]
    recipe, cache = ProbeRecipe(copies=2, runs=2), {"cache_dir": folder / "cache"}
    features = embed(models, {"task": task}, copies=recipe.copies, **cache)
    logits = probe_logits(features, {"task": task}, {"task": recipe}, seed=0, **cache)
    logits |= baseline_logits({"task": task}, **cache)
    scores = {model: run_scores(found, *task.truth) for (model, *_), found in logits.items()}
    return {model: found[score].score.value for model, found in scores.items()}


def test_brain_sub_planes_need_the_training_that_the_twin_lacks(tmp_path):
    phantoms.write_fetal_planes(tmp_path / "planes", patients=160, seed=SEED)
    planes = load_dataset("fetal_planes", tmp_path / "planes")
    items = image_items("brain_subplanes", brain_subplanes(planes), BRAIN_SUBPLANES)
    scores = probed(tmp_path, planes, items, "f1_macro")
    assert scores[MODEL] >= max(scores[TWIN], scores[PIXELS]) + 0.1, scores


def test_heart_defects_are_neither_trivial_nor_hopeless_nor_a_matter_of_brightness(tmp_path):
    phantoms.write_chd(tmp_path / "chd", patients=360, seed=SEED)
    clips = load_dataset("manifest", tmp_path / "chd")
    scores = probed(tmp_path, clips, clip_items("chd", clips, CHD_CLASSES, frames=FRAMES), "auroc")
    assert 0.7 <= scores[MODEL] <= 0.98, scores
    assert np.abs(np.array([scores[TWIN], scores[PIXELS]]) - 0.5).max() <= 0.1, scores
