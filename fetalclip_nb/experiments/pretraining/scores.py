"""Scores of a pretrained model: planes and ages of phantoms never seen, and of real heads."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fetal_planes import brain_subplanes, five_planes
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.data.prompts import load_age_templates, load_prompts
from fetalclip_nb.experiments.gestational_age import ages as gestational_age
from fetalclip_nb.experiments.gestational_age.answers import ask
from fetalclip_nb.models import similarity
from fetalclip_nb.models.embed import image_embeddings, text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.phantoms.cohorts import write_fetal_planes, write_hc18
from fetalclip_nb.stats import classification

HELD_OUT = {
    "fetal_planes": {"patients": 120, "seed": 90_001},
    "hc18": {"patients": 240, "seed": 90_002},
}
"""Phantom patients that pretraining never draws: other seeds, other patients."""


def held_out_scores(model: Model, cache: Path) -> dict[str, dict]:
    """Zero-shot scores on phantom patients that training has not seen, by task and name.

    Each is a value with its interval over patients and n.
    """
    planes, heads = cache / "held-out" / "fetal_planes", cache / "held-out" / "hc18"
    write_fetal_planes(planes, **HELD_OUT["fetal_planes"])
    write_hc18(heads, **HELD_OUT["hc18"])
    whole = load_dataset("fetal_planes", planes)
    return {
        "planes": plane_scores(model, whole, five_planes(whole), "planes", cache),
        "brain": plane_scores(model, whole, brain_subplanes(whole), "brain", cache),
        "age": age_scores(model, load_dataset("hc18", heads), cache),
    }


def plane_scores(
    model: Model, whole: Dataset, task: Dataset, prompts: str, cache: Path
) -> dict[str, dict]:
    """Macro F1 and F1 of each class, zero-shot.

    Args:
        model: What is scored.
        whole: A whole FETAL_PLANES_DB data set.
        task: The rows that count, with their ``label``.
        prompts: Name of the prompt set.
        cache: Folder of embeddings.
    """
    sentences = load_prompts(prompts)
    vectors = similarity.normalise(image_embeddings(model, whole, cache_dir=cache).of(task))
    classes = similarity.class_embeddings(text_encoder(model, cache), sentences)
    predictions = classification.predict(
        similarity.zero_shot_logits(vectors, classes),
        task.table["label"].to_numpy(),
        tuple(sentences),
        task.table["patient"].to_numpy(),
    )
    found = classification.scores(predictions, by_patient=True)
    return {name: asdict(found[name]) for name in found if name.startswith("f1")}


def age_scores(model: Model, dataset: Dataset, cache: Path) -> dict[str, dict]:
    """Valid prediction rate with the known templates, with unseen ones, and of controls.

    Args:
        model: What is scored.
        dataset: A whole HC18 data set; only heads of 100 to 342 mm count.
        cache: Folder of embeddings.

    Returns:
        Predictor -> its scores: "templates", "unseen"; the controls "shuffled images",
        "mean embedding", "black image", "spacing only" and "constant age".
    """
    heads, frames = gestational_age.Heads(dataset), load_age_templates()
    answers = ask([model], heads, frames, cache_dir=cache, batch_size=64, seed=0)
    ages = {
        "templates": answers.ages[model.name],
        "unseen": answers.sentences["paraphrases, averaged"],
        **answers.controls,
        "spacing only": answers.baselines["spacing only"],
        "constant age": answers.baselines["constant age"],
    }
    return {name: _as_dicts(days, heads) for name, days in ages.items()}


def _as_dicts(days: np.ndarray, heads: gestational_age.Heads) -> dict[str, dict]:
    found = gestational_age.age_scores(days, heads.hc_mm, heads.patients)
    return {name: asdict(score) for name, score in found.items()}
