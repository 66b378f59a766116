"""What a linear probe learns from and how."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.models.embed import require_preparation


@dataclass(frozen=True)
class ProbeRows:
    """Rows that a group of probes learns from, and one probe a seed.

    Attributes:
        train: Row numbers into the features, int64 of shape (n_train,).
        validation: Row numbers into the features, int64 of shape (n_validation,).
        seeds: One probe for each; the seed decides its start and the order of its rows.
    """

    train: np.ndarray
    validation: np.ndarray
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ProbeRecipe:
    """How many probes are trained and how; the defaults are the paper's for linear probing.

    Attributes:
        learning_rate: AdamW's, constant (no unit).
        weight_decay: AdamW's, on weights and biases.
        batch_size: Rows a step; the last incomplete batch of an epoch is dropped.
        epochs: Passes over the training rows.
        copies: Augmented copies of an image that is trained on; 0 for the image itself.
        runs: Probes a fold.
        preparation: Of all images, "published" or "ours" (`embed.PREPARATIONS`).

    Raises:
        ParameterError: Naming all numbers that no probe could be trained with, or a preparation
            that is unknown.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    batch_size: int = 64
    epochs: int = 50
    copies: int = 5
    runs: int = 5
    preparation: str = "published"

    def __post_init__(self) -> None:
        require_preparation(self.preparation)
        least = {"weight_decay": 0, "copies": 0, "runs": 1, "epochs": 1, "probe_batch": 1}
        values = {**vars(self), "probe_batch": self.batch_size}
        low = [name for name, n in least.items() if values[name] < n]
        wrong = [f"{name} = {values[name]}, less than {least[name]}" for name in low]
        if self.learning_rate <= 0:
            wrong.append(f"learning_rate = {self.learning_rate}, not above 0")
        if wrong:
            raise ParameterError(
                "Probes cannot be trained with these parameters",
                expected="numbers that a probe can be trained with",
                found="; ".join(wrong),
            )

    @property
    def settings(self) -> dict[str, int | str]:
        """What is compared with the paper's, under the names of the notebooks' parameters."""
        names = ("copies", "runs", "epochs", "preparation")
        return {name: getattr(self, name) for name in names} | {"probe_batch": self.batch_size}


@dataclass(frozen=True)
class Problem:
    """All that is trained together.

    Attributes:
        features: float32 of shape (N, D), shared by all probes and never copied per probe.
        targets: Classes from 0, int64 of shape (N,); rows of no group may hold anything.
        groups: Training and validation rows, with seeds.
        n_classes: C.
        recipe: How probes are trained.
    """

    features: np.ndarray
    targets: np.ndarray
    groups: Sequence[ProbeRows]
    n_classes: int
    recipe: ProbeRecipe
