"""The examples of the page for those who change the code run as they stand there."""

import re

import numpy as np
import pytest

from fetalclip_nb.data import kinds
from fetalclip_nb.errors import DataError
from fetalclip_nb.models import sources
from helpers import write_image


@pytest.fixture(scope="module")
def examples(repository) -> dict[str, str]:
    """File that an example is for to its code."""
    page = (repository / "book" / "changing.md").read_text("utf-8")
    return dict(re.findall(r"```python\n# fetalclip_nb/(\S+)\n(.*?)```", page, flags=re.DOTALL))


def test_a_new_data_set_is_read_like_the_others(examples, tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", dict(kinds.KINDS))
    names: dict = {**vars(kinds)}
    exec(examples["data/clinic.py"], names)
    exec(examples["data/kinds.py"], names)
    for patient, plane in (("p1", "brain"), ("p1", "femur"), ("p2", "brain")):
        write_image(tmp_path / patient / f"{plane}.png")
    images = kinds.load_dataset("clinic", str(tmp_path))
    assert images.table["label"].tolist() == ["brain", "femur", "brain"]
    assert images.table["patient"].nunique() == 2
    (tmp_path / "clinic.txt").touch()
    assert kinds.kind_of(tmp_path) == "clinic"
    (tmp_path / "p2" / "brain.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"p2/brain\.png"):
        kinds.load_dataset("clinic", str(tmp_path))


def test_a_short_name_leads_to_its_source(examples, monkeypatch):
    monkeypatch.setattr(sources, "_PAIRS", dict(sources._PAIRS))
    asked = []
    monkeypatch.setattr(sources, "_create_from_open_clip", asked.append)
    exec(examples["models/sources.py"], vars(sources))
    sources.create("quick")
    assert asked == ["ViT-B-32-quickgelu/openai"]


def test_figure_and_score(examples):
    names: dict = {}
    exec(examples["experiments/linear_probing/figures.py"], names)
    figure = names["accuracy_by_class"]({"brain": 0.5, "femur": 1.0})
    assert [bar.get_height() for bar in figure.axes[0].patches] == [50, 100]
    exec(examples["experiments/linear_probing/scores.py"], names)
    images = np.full((4, 2, 2), 51.0)
    score = names["brightness"](images, np.array(["a", "a", "b", "c"]))["brightness"]["patient"]
    assert (score.value, score.low, score.high) == pytest.approx((0.2, 0.2, 0.2))


def test_every_file_that_is_named_exists(examples, repository):
    page = (repository / "book" / "changing.md").read_text("utf-8")
    new = {"data/clinic.py", "notebooks/NN_name.ipynb"}
    for name in re.findall(r"`((?:\w+/)+\w+\.\w+)`", page):
        places = [repository / name, repository / "fetalclip_nb" / name]
        assert any(place.exists() for place in places) or name in new, name
