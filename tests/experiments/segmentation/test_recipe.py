"""A chapter's parameters: all that is wrong with them in one message, before any work."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.experiments.segmentation.recipe import (
    DecoderRecipe,
    require_decoder_settings,
    require_shown,
    schedule_text,
)
from fetalclip_nb.tasks.items import Items
from fetalclip_nb.tasks.splits import Fold, Split

RECIPE = DecoderRecipe(filters=2, learning_rate=1e-2, batch_size=4, epochs=1)


def task(*trained):
    """A task whose sets have these numbers of training images: one patient an image."""
    names = [f"p{i}" for i in range(40)]
    table = pd.DataFrame({"patient": names, "label": "head", "split": ""})
    folds = tuple(Fold(tuple(names[:n]), ("p38",)) for n in trained)
    return Items("head", ("head",), table, table.index.to_numpy()), (Split("own", (), folds),)


def require(splits=None, **changes):
    numbers = {"side": 32, "copies": 1, "runs": 1, "blocks": "even"}
    recipe = replace(RECIPE, **{k: v for k, v in changes.items() if k not in numbers})
    numbers |= {k: v for k, v in changes.items() if k in numbers}
    require_decoder_settings(splits or {"head": task(4, 5)}, recipe=recipe, **numbers)


def found(**arguments):
    """What the message says is wrong, one text each."""
    with pytest.raises(ParameterError, match="^Decoders cannot be trained") as error:
        require(**arguments)
    return str(error.value).split("Found: ")[1].split(". What to do")[0].rstrip(".").split("; ")


@pytest.mark.parametrize(
    "changes",
    [{}, {"copies": 0}, {"side": 16}, {"side": 224}, {"filters": 32}, {"patience": 3},
     {"learning_rate": 0.999}, {"batch_size": 1, "epochs": 100, "runs": 25}],
)  # fmt: skip
def test_what_can_be_trained_passes(changes):
    require(**changes)


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
        ({"batch_size": 5}, "head: set 0: 4 training images, batch 5"),
    ],
)
def test_each_wrong_number_is_named_alone(changes, text):
    assert found(**changes) == [text]


def test_all_that_is_wrong_is_in_one_message():
    texts = found(
        splits={"head, 2 patients": task(2, 9), "abdomen": task(9), "heart": task(1, 0, 3)},
        side=20, copies=0, runs=0, epochs=0, filters=3, learning_rate=2, patience=-2,
    )  # fmt: skip
    assert texts == [
        "runs = 0, less than 1",
        "epochs = 0, less than 1",
        "patience = -2, less than 0",
        "side = 20, not a multiple of 16",
        "filters = 3, not an even number from 2 up",
        "learning rate = 2, not between 0 and 1",
        "head, 2 patients: set 0: 2 training images, batch 4",
        "heart: set 0: 1 training images, set 1: 0 training images, set 2: 3 training images, "
        "batch 4",
    ]


def test_copies_fill_a_batch():
    few = {"head": task(2, 1)}
    assert found(splits=few, copies=2) == ["head: set 1: 2 training images, batch 4"]
    assert len(found(splits=few, copies=0)) == 1
    require(few, copies=4)


def test_sets_are_counted_through_all_splits():
    items, (first,) = task(9, 9)
    _, (second,) = task(9, 3)
    texts = found(splits={"head": (items, (first, second))})
    assert texts == ["head: set 3: 3 training images, batch 4"]


def test_images_are_counted_and_not_patients():
    items, splits = task(2)
    twice = replace(items, table=pd.concat([items.table] * 2, ignore_index=True))
    require({"head": (twice, splits)})


def test_impossible_numbers_do_not_hide_behind_sets():
    """With -1 copies or no batch there is no telling how many rows are enough."""
    assert found(copies=-1, batch_size=9) == ["copies = -1, less than 0"]
    assert found(batch_size=-4) == ["batch = -4, less than 1"]


def test_advice_is_given_where_it_helps():
    for changes, helps in (({"batch_size": 9}, True), ({"runs": 0}, False)):
        with pytest.raises(ParameterError) as error:
            require(**changes)
        assert ("more copies, a smaller batch" in str(error.value)) == helps


@pytest.mark.parametrize(
    ("changes", "numbers", "text"),
    [
        ({"decay": True, "learning_rate": 0.01, "epochs": 8, "batch_size": 4, "filters": 16},
         {"side": 128, "copies": 0, "decoders": 1},
         "8 epochs at a rate of 0.01, which rises and falls, 4 images a step, images of 128 pixels "
         "a side, 16 filters, images as they are, 1 decoder a model on heads"),
        ({}, {"side": 224, "copies": 5, "decoders": 25},
         "100 epochs at a rate of 0.0003, 8 images a step, images of 224 pixels a side, "
         "32 filters, 5 augmented copies of each image, 25 decoders a model on heads"),
    ],
)  # fmt: skip
def test_schedule_in_words(changes, numbers, text):
    assert schedule_text(DecoderRecipe(**changes), **numbers) == text


def test_unknown_blocks_are_refused():
    (text,) = found(blocks="evn")
    assert text == "blocks = 'evn', not one of published, even"


@pytest.mark.parametrize(
    ("absent", "expected"), [("p1", "no B in training of fold 0"), ("p2", "no B in test")]
)
def test_structures_that_a_side_does_not_show_are_refused(absent, expected):
    items, _ = task(1)
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
