"""Parameters of the probing chapters, checked before any image is embedded."""

from collections.abc import Mapping, Sequence

import numpy as np

from fetalclip_nb.errors import ParameterError, listing
from fetalclip_nb.head_data import HeadRecipe
from fetalclip_nb.probe_items import Items
from fetalclip_nb.splits import Split, rows_of


def require_settings(
    splits: Mapping[str, tuple[Items, Sequence[Split]]],
    *,
    copies: int,
    runs: int,
    recipe: HeadRecipe,
) -> None:
    """Refuse a chapter's parameters that no heads could be trained with, before any embedding.

    Args:
        splits: What a message shall call a task ("brain_subplanes, 4 patients") to its items
            and splits; all their folds are counted from 0, as in the tables of splits.
        copies: The parameter of this name.
        runs: The parameter of this name.
        recipe: Its epochs and batch size are the parameters epochs and head_batch.

    Raises:
        ParameterError: Numbers out of range, and training sets with fewer rows than a batch:
            all of them at once.
    """
    least = {"copies": 0, "runs": 1, "epochs": 1, "head_batch": 1}
    given = (copies, runs, recipe.epochs, recipe.batch_size)
    wrong = {
        name: f"{name} = {value}, not a whole number from {least[name]} up"
        for name, value in zip(least, given, strict=True)
        if not isinstance(value, int | np.integer) or value < least[name]
    }
    few = []
    if not {"copies", "head_batch"} & set(wrong):
        few = [
            f"{name}: {short}, head_batch {recipe.batch_size}"
            for name, (items, parts) in splits.items()
            if (short := _short_sets(items, parts, max(copies, 1), recipe.batch_size))
        ]
    if wrong or few:
        raise ParameterError(
            "Heads cannot be trained with these parameters",
            expected="as many training rows in each set as in a head_batch, counting copies",
            found="; ".join([*wrong.values(), *few]),
            fix="more copies, a smaller head_batch, or larger sets" if few else "",
        )


def _short_sets(items: Items, splits: Sequence[Split], copies: int, batch: int) -> str:
    """Sets with fewer rows than a batch, or "" if there are none."""
    folds = [fold for split in splits for fold in split.folds]
    rows = [copies * int(rows_of(items.table, fold.train).sum()) for fold in folds]
    return listing(f"set {i}: {n} training rows" for i, n in enumerate(rows) if n < batch)
