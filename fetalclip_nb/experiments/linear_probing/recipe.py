"""What a linear probe learns from and how, checked before any training starts.

Parameters of the probing chapters, checked before any image is embedded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from fetalclip_nb.errors import ParameterError, ShapeError, listing
from fetalclip_nb.tasks.items import Items
from fetalclip_nb.tasks.splits import Split, rows_of


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

    def problem(self, targets: np.ndarray, n_classes: int) -> str:
        """What is wrong with these rows of N targets, or "" if nothing is.

        >>> ProbeRows(np.array([0, 3]), np.array([1]), (0,)).problem(np.array([0, 1, 0]), 2)
        'train rows 0 to 3 of 3'
        """
        for name, rows in (("train", self.train), ("validation", self.validation)):
            if rows.dtype.kind != "i":
                return f"{name} rows are {rows.dtype}, not row numbers"
            if not len(rows):
                return f"no {name} row"
            if rows.min() < 0 or rows.max() >= len(targets):
                return f"{name} rows {rows.min()} to {rows.max()} of {len(targets)}"
            classes = targets[rows]
            if classes.min() < 0 or classes.max() >= n_classes:
                return f"{name} classes {classes.min()} to {classes.max()}"
        return ""


@dataclass(frozen=True)
class ProbeRecipe:
    """How a probe is trained; the defaults are the paper's for linear probing.

    Attributes:
        learning_rate: AdamW's, constant (no unit).
        weight_decay: AdamW's, on weights and biases.
        batch_size: Rows a step; the last incomplete batch of an epoch is dropped.
        epochs: Passes over the training rows.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    batch_size: int = 64
    epochs: int = 50


def require_trainable(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[ProbeRows],
    n_classes: int,
    recipe: ProbeRecipe,
) -> None:
    """Refuse what `fit.train_probes` cannot train.

    Raises:
        ShapeError: If features or targets are of another shape or type, or not finite.
        ParameterError: Naming every group that has too few rows, unknown rows, classes out of
            range or no seed, or every unusable setting of the recipe.
    """
    _require_arrays(features, targets)
    _require_recipe(recipe, n_classes)
    _require_groups(targets, groups, n_classes, recipe)


def _require_arrays(features: np.ndarray, targets: np.ndarray) -> None:
    if features.ndim != 2 or features.dtype != np.float32 or targets.shape != features.shape[:1]:
        raise ShapeError(
            "Features and targets do not fit each other",
            expected="float32 features of shape (N, D), one target a row",
            found=f"{features.dtype} of shape {features.shape}, targets of shape {targets.shape}",
        )
    if not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).all(1))
        raise ShapeError(
            "Features are not finite",
            found=f"rows {listing(rows)}",
            fix="do not train on tested images: they have no augmented copies (rows of NaN)",
        )


def _require_recipe(recipe: ProbeRecipe, n_classes: int) -> None:
    values = {"n_classes": n_classes, **asdict(recipe)}
    wrong = [
        f"{name} = {value}"
        for name, value in values.items()
        if not (value >= 0 if name == "weight_decay" else value > 0)
    ]
    if wrong:
        raise ParameterError(
            "Probes cannot be trained so",
            expected="positive numbers (weight_decay: or 0)",
            found=listing(wrong),
        )


def _require_groups(
    targets: np.ndarray, groups: Sequence[ProbeRows], n_classes: int, recipe: ProbeRecipe
) -> None:
    problems = [
        f"group {number}: {problem}"
        for number, data in enumerate(groups)
        if (problem := _problem(targets, data, n_classes, recipe))
    ]
    if problems or not groups:
        raise ParameterError(
            "Groups of probes cannot be trained",
            expected=f"at least one batch of {recipe.batch_size} training rows, one validation "
            f"row and one seed; rows 0 to {len(targets) - 1}, classes 0 to {n_classes - 1}",
            found="; ".join(problems) or "no group",
            fix="use larger groups or a smaller batch of training rows (ProbeRecipe.batch_size)",
        )


def _problem(targets: np.ndarray, data: ProbeRows, n_classes: int, recipe: ProbeRecipe) -> str:
    if not data.seeds:
        return "no seed"
    if len(data.train) < recipe.batch_size:
        return f"{len(data.train)} training rows, batches of {recipe.batch_size}"
    return data.problem(targets, n_classes)


def require_settings(
    splits: Mapping[str, tuple[Items, Sequence[Split]]],
    *,
    copies: int,
    runs: int,
    recipe: ProbeRecipe,
) -> None:
    """Refuse a chapter's parameters that no probes could be trained with, before any embedding.

    Args:
        splits: What a message shall call a task ("brain_subplanes, 4 patients") to its items
            and splits; all their folds are counted from 0, as in the tables of splits.
        copies: The parameter of this name.
        runs: The parameter of this name.
        recipe: Its epochs and batch size are the parameters epochs and probe_batch.

    Raises:
        ParameterError: Numbers out of range, and training sets with fewer rows than a batch:
            all of them at once.
    """
    least = {"copies": 0, "runs": 1, "epochs": 1, "probe_batch": 1}
    given = (copies, runs, recipe.epochs, recipe.batch_size)
    wrong = {
        name: f"{name} = {value}, not a whole number from {least[name]} up"
        for name, value in zip(least, given, strict=True)
        if not isinstance(value, int | np.integer) or value < least[name]
    }
    few = []
    if not {"copies", "probe_batch"} & set(wrong):
        few = [
            f"{name}: {short}, probe_batch {recipe.batch_size}"
            for name, (items, parts) in splits.items()
            if (short := _short_sets(items, parts, max(copies, 1), recipe.batch_size))
        ]
    if wrong or few:
        raise ParameterError(
            "Probes cannot be trained with these parameters",
            expected="as many training rows in each set as in a probe_batch, counting copies",
            found="; ".join([*wrong.values(), *few]),
            fix="more copies, a smaller probe_batch, or larger sets" if few else "",
        )


def _short_sets(items: Items, splits: Sequence[Split], copies: int, batch: int) -> str:
    """Sets with fewer rows than a batch, or "" if there are none."""
    folds = [fold for split in splits for fold in split.folds]
    rows = [copies * int(rows_of(items.table, fold.train).sum()) for fold in folds]
    return listing(f"set {i}: {n} training rows" for i, n in enumerate(rows) if n < batch)
