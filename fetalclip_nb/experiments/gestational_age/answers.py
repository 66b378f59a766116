"""The ages that models, baselines, controls and single sentences give to the same heads."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.experiments.gestational_age import controls
from fetalclip_nb.experiments.gestational_age.ages import (
    Heads,
    age_embeddings,
    age_similarity,
    both_age_scores,
    is_valid,
    predict_age,
)
from fetalclip_nb.models.embed import black_embedding, image_embeddings, text_encoder
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.similarity import normalise
from fetalclip_nb.stats.answers import answer_table
from fetalclip_nb.stats.scores import Score


@dataclass(frozen=True)
class Answers:
    """Predicted ages in days, shape (N,), by name, and how the models came to theirs.

    Attributes:
        similarity: Model to 100 x cosine of each head to each age, shape (N, 175).
        baselines: What never looks at the picture.
        controls: The headline model with the picture taken away.
        sentences: The headline model with one sentence frame at a time.
    """

    similarity: dict[str, np.ndarray]
    baselines: dict[str, np.ndarray]
    controls: dict[str, np.ndarray]
    sentences: dict[str, np.ndarray]

    @cached_property
    def ages(self) -> dict[str, np.ndarray]:
        """Model to ages."""
        return {name: predict_age(values) for name, values in self.similarity.items()}

    def scores(
        self, heads: Heads
    ) -> Iterator[tuple[str, str, dict[str, dict[str, Score]], dict[str, pd.DataFrame]]]:
        """Name, kind, scores and answers (ages in days) of every predictor, in table order."""
        kinds = {
            "model": self.ages,
            "baseline": self.baselines,
            "control": self.controls,
            "sentence": self.sentences,
        }
        for kind, predictors in kinds.items():
            for name, days in predictors.items():
                valid = is_valid(days, heads.hc_mm)
                said = {"part": valid, "whole": 1, "days": days, "hc_mm": heads.hc_mm}
                vpr = answer_table(heads.table["id"], heads.patients, **said)
                scores = both_age_scores(days, heads.hc_mm, heads.patients)
                yield name, kind, scores, {"vpr": vpr}


def ask(
    models: Iterable[Model],
    heads: Heads,
    frames: Mapping[str, list[str]],
    *,
    cache_dir: Path,
    batch_size: int,
    seed: int,
) -> Answers:
    """Ask all models for the ages of all heads.

    Args:
        models: One after the other, the headline model first; each is used and let go.
        heads: Those that count; all images are embedded once, for every chapter.
        frames: Sentence frames, as given by `load_frames`.
        cache_dir: Folder of embeddings.
        batch_size: Images in a forward pass.
        seed: Seed of the shuffled control.

    Raises:
        DataError: If the heads are of a single patient.
    """
    spacings = heads.spacings
    baselines = {
        "constant age": np.full(len(heads), controls.best_constant_age(heads.hc_mm)),
        "spacing only": controls.spacing_only_age(spacings, heads.hc_mm, heads.patients),
    }
    answers = Answers({}, baselines, {}, {})
    for model in models:
        encode = text_encoder(model, cache_dir)
        texts = age_embeddings(encode, frames["templates"], spacings)
        embedded = image_embeddings(model, heads.whole, cache_dir=cache_dir, batch_size=batch_size)
        vectors = normalise(embedded.of(heads.dataset))
        answers.similarity[model.name] = age_similarity(vectors, spacings, texts)
        if not answers.controls:
            black = black_embedding(model)
            answers.controls.update(
                controls.control_ages(vectors, black, spacings, texts, seed=seed)
            )
            answers.sentences.update(controls.sentence_ages(encode, frames, vectors, spacings))
    return answers
