"""Classes that a task tells apart: planes as published, or any that a manifest has."""

import json

import pytest

from fetalclip_nb.errors import DataError, ParameterError
from fetalclip_nb.tasks.classes import (
    OWN,
    asked_tasks,
    class_names,
    own_facts,
    task_sentences,
    taught_tasks,
)
from fetalclip_nb.tasks.items import class_items
from helpers import images_of

SENTENCES = {"a": ["first", "second"], "b": ["third"], "c": ["fourth"], "d": ["fifth"]}


def own(*labels):
    return images_of([f"p{i}" for i in range(len(labels))], labels)


def test_own_classes_are_one_task_named_by_their_labels():
    images = own("sac", "pole", "sac", "yolk")
    assert asked_tasks(images) == taught_tasks(images) == {OWN: images}
    assert class_names(OWN, images) == ("pole", "sac", "yolk")
    assert own_facts({OWN: images}) == {"own_names": "pole, sac, yolk", "own_count": 3}
    items = class_items(images)[OWN]
    assert items.classes == ("pole", "sac", "yolk") and items.targets.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "a"), "One class cannot be told.*Found: a"),
        (("a", "all", "b"), "reserved or empty.*Found: 'all'"),
        (("a", ""), "reserved or empty.*Found: ''"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        asked_tasks(own(*labels))


def test_sentences_are_read_task_by_task_and_checked(tmp_path):
    file = tmp_path / "prompts.json"

    def loaded(prompts, *labels):
        file.write_text(json.dumps(prompts))
        return task_sentences({OWN: own(*labels)}, str(file), "brain")[OWN]

    assert loaded(SENTENCES, "a", "b", "other") == SENTENCES
    given = SENTENCES | {"other": ["third"]}
    assert loaded(given, *"abcd", "other") == given
    with pytest.raises(ParameterError, match="sentences of a, e. Found: e. .*JSON file"):
        loaded(SENTENCES, "a", "e")
    with pytest.raises(ParameterError, match="Found: e, other"):
        loaded(SENTENCES, *"abcde", "other")
    assert task_sentences({OWN: own("a", "b")}, "", "") == {}
