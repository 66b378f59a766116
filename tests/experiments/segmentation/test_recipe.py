"""A chapter's parameters: all that is wrong with them in one message, before any work."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.experiments.segmentation.recipe import (
    DecoderRecipe,
    require_shown,
)
from fetalclip_nb.tasks.items import Items
from fetalclip_nb.tasks.splits import Fold, Split


def wrong(call, **arguments):
    """What the message says is wrong, one text each."""
    with pytest.raises(ParameterError, match="^Decoders cannot be trained") as error:
        call(**arguments)
    return str(error.value).split("Found: ")[1].split(". What to do")[0].rstrip(".").split("; ")


@pytest.mark.parametrize(
    "changes",
    [{}, {"copies": 0}, {"side": 16}, {"side": 224}, {"filters": 2}, {"patience": 3},
     {"learning_rate": 0.999}, {"batch_size": 1, "epochs": 1, "runs": 25}],
)  # fmt: skip
def test_what_can_be_trained_passes(changes):
    DecoderRecipe(**changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"copies": -1}, "copies = -1, less than 0"),
        ({"runs": 0}, "runs = 0, less than 1"),
        ({"epochs": 0}, "epochs = 0, less than 1"),
        ({"batch_size": 0}, "batch = 0, less than 1"),
        ({"patience": -1}, "patience = -1, less than 0"),
        ({"side": 0}, "side = 0, not a multiple of 16"),
        ({"side": 24}, "side = 24, not a multiple of 16"),
        ({"side": -16}, "side = -16, not a multiple of 16"),
        ({"filters": 0}, "filters = 0, not an even number from 2 up"),
        ({"filters": 5}, "filters = 5, not an even number from 2 up"),
        ({"filters": -2}, "filters = -2, not an even number from 2 up"),
        ({"learning_rate": 0}, "learning rate = 0, not between 0 and 1"),
        ({"learning_rate": 1.0}, "learning rate = 1.0, not between 0 and 1"),
        ({"learning_rate": float("nan")}, "learning rate = nan, not between 0 and 1"),
    ],
)
def test_each_wrong_number_is_named_alone(changes, text):
    assert wrong(DecoderRecipe, **changes) == [text]


def test_all_that_is_wrong_is_in_one_message():
    numbers = {"side": 20, "runs": 0, "epochs": 0, "filters": 3, "learning_rate": 2, "patience": -2}
    assert wrong(DecoderRecipe, **numbers) == [
        "runs = 0, less than 1",
        "epochs = 0, less than 1",
        "patience = -2, less than 0",
        "side = 20, not a multiple of 16",
        "filters = 3, not an even number from 2 up",
        "learning rate = 2, not between 0 and 1",
    ]


@pytest.mark.parametrize(
    ("absent", "expected"), [("p1", "no B in training of fold 0"), ("p2", "no B in test")]
)
def test_structures_that_a_side_does_not_show_are_refused(absent, expected):
    table = pd.DataFrame({"patient": [f"p{i}" for i in range(40)], "label": "head", "split": ""})
    items = Items("head", ("head",), table, table.index.to_numpy())
    areas = np.ones((40, 2), int)
    areas[items.table["patient"] == absent, 1] = 0
    folds = (Fold(("p1",), ("p4",)), Fold(("p3",), ("p4",)))
    shown = SimpleNamespace(
        name="organs",
        structures=("A", "B"),
        areas=areas,
        items=items,
        dataset=SimpleNamespace(root="here"),
    )
    with pytest.raises(DataError, match=rf"here, organs.*Found: {expected}\. .*column split"):
        require_shown(shown, Split("own", ("p2",), folds))
    areas[:] = 1
    areas[items.table["patient"] == "p4", 1] = 0
    require_shown(shown, Split("own", ("p2",), folds))
