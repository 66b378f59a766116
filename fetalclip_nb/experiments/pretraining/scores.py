"""Scores of a pretrained model: planes and ages of phantoms never seen, and of real heads."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.fetal_planes import brain_subplanes, five_planes
from fetalclip_nb.data.hc18 import counted
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.data.prompts import load_age_templates, load_prompts
from fetalclip_nb.experiments.gestational_age import ages as gestational_age
from fetalclip_nb.experiments.gestational_age import controls
from fetalclip_nb.experiments.gestational_age.ages import (
    age_embeddings,
    age_similarity,
    predict_age,
    prompt_spacing,
)
from fetalclip_nb.models import similarity
from fetalclip_nb.models.embed import black_embedding, image_embeddings, text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.phantoms.cohorts import write_fetal_planes, write_hc18
from fetalclip_nb.stats import classification, scores

HELD_OUT = {
    "fetal_planes": {"patients": 120, "seed": 90_001},
    "hc18": {"patients": 240, "seed": 90_002},
}
"""Phantom patients that pretraining never draws: other seeds, other patients."""

_CONTROL_SEED = 0


def held_out_scores(model: Model, cache: Path) -> dict[str, dict]:
    """Zero-shot scores on phantom patients that training has not seen.

    Args:
        model: What is scored.
        cache: Folder for phantoms and embeddings.

    Returns:
        Task -> score name -> value, interval over patients and n.
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
        cache: Folder for embeddings.
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
        cache: Folder for embeddings.

    Returns:
        Predictor -> its scores: "templates", "unseen"; the controls "shuffled images",
        "mean embedding", "black image", "spacing only" and "constant age".
    """
    vectors = similarity.normalise(image_embeddings(model, dataset, cache_dir=cache).of(dataset))
    rows = counted(dataset)
    table, vectors = dataset.table[rows], vectors[rows]
    spacings = prompt_spacing(table["width"], table["height"], table["pixel_mm"])
    encode, frames = text_encoder(model, cache), load_age_templates()
    texts = age_embeddings(encode, frames["templates"], spacings)
    unseen = age_embeddings(encode, frames["unseen"], spacings)
    black = black_embedding(model)
    hc_mm, patients = table["hc_mm"].to_numpy(), table["patient"].to_numpy()
    spacing_mm = np.array(spacings, dtype=float)
    ages = {
        "templates": _predicted(vectors, spacings, texts),
        "unseen": _predicted(vectors, spacings, unseen),
        **controls.control_ages(vectors, black, spacings, texts, seed=_CONTROL_SEED),
        "spacing only": controls.spacing_only_age(spacing_mm, hc_mm, patients),
        "constant age": np.full(len(hc_mm), controls.best_constant_age(hc_mm)),
    }
    return {name: _as_dicts(days, hc_mm, patients) for name, days in ages.items()}


def _predicted(
    vectors: np.ndarray, spacings: list[str], texts: dict[str, np.ndarray]
) -> np.ndarray:
    return predict_age(age_similarity(vectors, spacings, texts))


def _as_dicts(days: np.ndarray, hc_mm: np.ndarray, patients: np.ndarray) -> dict[str, dict]:
    found: dict[str, scores.Score] = gestational_age.age_scores(days, hc_mm, patients)
    return {name: asdict(score) for name, score in found.items()}
