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
    """How images of a class lie together; those of a machine or operator within classes.

    Args:
        vectors: Embeddings of each model.
        collection: Their images.
        k: Neighbours that purity looks at.
        metric: "euclidean" or "cosine".
        seed: Seed of k-means and of the permutations.
    """
    planes = collection.planes["label"]
    labellings = {part: (part, "label", None) for part in collection.images}
    labellings |= {name: (collection.main, name, planes) for name in collection.beside}
    scores: Scores = {}
    for model in dict.fromkeys(model for model, _ in vectors):
        scores[model] = {}
        for labelling, (part, column, within) in labellings.items():
            table, rows = collection.images[part].table, vectors[model, part]
            labels, options = table[column], {"k": k, "metric": metric, "seed": seed}
            measured = cluster_scores(rows, labels, table["patient"], within=within, **options)
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
    labels, patients = collection.planes["label"], collection.planes["patient"]
    spaces = {f"{vectors.shape[1]} dimensions": (vectors, metric)}
    spaces |= {title: (points, "euclidean") for title, points in maps.items()}
    scores: Scores = {}
    for title, (points, distance) in spaces.items():
        measured = cluster_scores(points, labels, patients, k=k, metric=distance, seed=seed)
        named = {f"{collection.main}/{name}": score for name, score in measured.items()}
        scores[title] = named
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
    scores: Scores = {}
    for (model, part), rows in vectors.items():
        if part == "heads":
            near, table, scores[model] = rows[collection.counted], collection.head_table, {}
            for what, column, unit in (("age", "days", "days"), ("size", "pixels", "px")):
                values = table[column].to_numpy()
                gaps = gap_scores(near, values, table["patient"], k=k, metric=metric, unit=unit)
                scores[model] |= {f"{what}_{name}_{unit}": gap for name, gap in gaps.items()}
    return scores


def plane_answers(
    vectors: np.ndarray, model: Model, prompts: Mapping[str, Sequence[str]], cache_dir: Path
) -> pd.DataFrame:
    """Zero-shot answers for images that are embedded; empty texts where nothing can be asked.

    Args:
        vectors: Their embeddings by the model, shape (N, D).
        model: Reads the sentences, if it reads any.
        prompts: Sentences of each class; may be none.
        cache_dir: Folder of embeddings.

    Returns:
        Columns prediction and confidence (a text in percent), N rows.
    """
    if not (prompts and model.reads_text):
        return pd.DataFrame({"prediction": [""] * len(vectors), "confidence": ""})
    texts = class_embeddings(text_encoder(model, cache_dir), prompts)
    chances = softmax(zero_shot_logits(normalise(vectors), texts), axis=-1)
    confidence = [f"{chance:.0%}" for chance in chances.max(1)]
    answers = np.array(list(prompts))[chances.argmax(1)]
    return pd.DataFrame({"prediction": answers, "confidence": confidence})


def by_patient(scores: Mapping[str, Score]) -> dict[str, dict[str, Score]]:
    """Scores of one model as a result file has them: the unit is the patient."""
    return {name: {"patient": score} for name, score in scores.items()}
