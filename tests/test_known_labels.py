"""Labels without a class of their name."""

import pandas as pd
import pytest

from fetalclip_nb.known_labels import unprompted_sentence

REST = (
    ": unless a class of another name means the same, every answer for such an image is wrong, "
    "however high its probability."
)


def test_labels_without_a_class_are_named_and_counted():
    table = pd.DataFrame({"label": ["other", "brain", "femur", "other", ""]})
    assert unprompted_sentence(table, ["brain"]) == (
        f'No class has the name "femur" or "other", the label of 3 of 5 images{REST}'
    )
    assert unprompted_sentence(table, ["heart", "femur", "brain", "other"]) == (
        "Every known label has a class of its name, so any answer may be right."
    )


def test_a_class_for_plane_or_sub_plane_is_enough():
    brains = ["trans-thalamic", "other", ""]
    table = pd.DataFrame({"plane": ["brain", "brain", "femur"], "brain_plane": brains})
    found = unprompted_sentence(table, ["brain"])
    assert found == f'No class has the name "femur", the label of 1 of 3 images{REST}'
    found = unprompted_sentence(table, ["trans-thalamic"])
    assert found.startswith('No class has the name "brain" or "femur", the label of 2 of 3 images')


@pytest.mark.parametrize("table", [{"id": ["a", "b"]}, {"id": ["a", "b"], "label": ["", ""]}])
def test_nothing_is_said_of_images_without_labels(table):
    found = unprompted_sentence(pd.DataFrame(table), ["brain"])
    assert found == "What these images show is not known here, so no answer can be checked."
