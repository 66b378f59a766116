"""All scores of the chapter: how labels, maps and ages lie together, model by model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from fetalclip_nb.experiments.embeddings.clusters import cluster_scores, gap_scores
from fetalclip_nb.experiments.embeddings.collection import Collection, Vectors
from fetalclip_nb.models.embed import text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.similarity import class_embeddings, normalise, zero_shot_logits
from fetalclip_nb.stats.scores import Score

Scores = dict[str, dict[str, Score]]
"""Model (or map) to scores named LABELLING/SCORE."""


def label_scores(
    vectors: Vectors, collection: Collection, *, k: int, metric: str, seed: int
) -> Scores:
    """How planes and brain sub-planes lie together; machines and operators within planes.

    Args:
        vectors: Embeddings of each model.
        collection: Their images.
        k: Neighbours that purity looks at.
        metric: "euclidean" or "cosine".
        seed: Seed of k-means and of the permutations.
    """
    planes = collection.planes
    labellings = {
        "planes": ("planes", planes["label"], None),
        "brain": ("brain", collection.brains["label"], None),
    }
    for name in collection.beside:
        labellings[name] = ("planes", planes[name], planes["label"].to_numpy())
    scores: Scores = {}
    for model in dict.fromkeys(model for model, _ in vectors):
        scores[model] = {}
        for labelling, (part, labels, within) in labellings.items():
            patients = collection.images[part].table["patient"]
            measured = cluster_scores(
                vectors[model, part], labels, patients, within=within, k=k, metric=metric, seed=seed
            )
            scores[model] |= {f"{labelling}/{name}": score for name, score in measured.items()}
    return scores


def map_scores(
    vectors: np.ndarray,
    maps: Mapping[str, np.ndarray],
    collection: Collection,
    *,
    k: int,
    metric: str,
    seed: int,
) -> Scores:
    """How planes lie together in vectors, and on maps of them.

    Args:
        vectors: Embeddings of all planes by one model, shape (N, D).
        maps: Title to points, shape (N, 2); their distances are Euclidean.
        collection: Their images.
        k: Neighbours that purity looks at.
        metric: Distance of the vectors.
        seed: Seed of k-means.
    """
    labels = collection.planes["label"].to_numpy()
    patients = collection.planes["patient"].to_numpy()
    shown = {f"{vectors.shape[1]} dimensions": (vectors, metric)}
    shown |= {title: (points, "euclidean") for title, points in maps.items()}
    scores: Scores = {}
    for title, (points, distance) in shown.items():
        measured = cluster_scores(points, labels, patients, k=k, metric=distance, seed=seed)
        scores[title] = {f"planes/{name}": score for name, score in measured.items()}
    return scores


def head_scores(vectors: Vectors, collection: Collection, *, k: int, metric: str) -> Scores:
    """How far the nearest heads differ in age and in their size in the picture.

    Args:
        vectors: Embeddings of each model.
        collection: With or without heads.
        k: Neighbours that are looked at.
        metric: "euclidean" or "cosine".

    Returns:
        Model to age_gap_days, size_gap_px and their chance levels; empty without heads.
    """
    if collection.heads is None:
        return {}
    table = collection.head_table
    compared = {"age": ("days", "days"), "size": ("pixels", "px")}
    scores: Scores = {}
    for model in dict.fromkeys(model for model, _ in vectors):
        near = vectors[model, "heads"][collection.counted]
        scores[model] = {}
        for what, (column, unit) in compared.items():
            values = table[column].to_numpy()
            gaps = gap_scores(near, values, table["patient"], k=k, metric=metric, unit=unit)
            scores[model] |= {f"{what}_{name}_{unit}": score for name, score in gaps.items()}
    return scores


def plane_answers(
    vectors: np.ndarray, model: Model, prompts: Mapping[str, Sequence[str]], cache_dir: Path
) -> pd.DataFrame:
    """Zero-shot answers for images that are embedded.

    Args:
        vectors: Their embeddings by the model, shape (N, D).
        model: Reads the sentences.
        prompts: Sentences of each class.
        cache_dir: Folder of embeddings.

    Returns:
        Columns prediction and confidence (a text in percent), N rows.
    """
    texts = class_embeddings(text_encoder(model, cache_dir), prompts)
    chances = softmax(zero_shot_logits(normalise(vectors), texts), axis=-1)
    names = list(prompts)
    return pd.DataFrame(
        {
            "prediction": [names[i] for i in chances.argmax(1)],
            "confidence": [f"{chance:.0%}" for chance in chances.max(1)],
        }
    )


def by_patient(scores: Mapping[str, Score]) -> dict[str, dict[str, Score]]:
    """Scores of one model as a result file has them: the unit is the patient."""
    return {name: {"patient": score} for name, score in scores.items()}
