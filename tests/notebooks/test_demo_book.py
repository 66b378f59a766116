"""What the demo's chapters must reach, read from the results that the book was made of."""

import os
from pathlib import Path

import pytest

from fetalclip_nb.data import FIVE_PLANES
from fetalclip_nb.results import result_files
from fetalclip_nb.stats.differences import holm


@pytest.fixture(scope="module")
def rows(repository):
    """Rows of a chapter in the demo book. FETALCLIP_NB_BOOK makes it compulsory."""

    def load(chapter):
        given = os.environ.get("FETALCLIP_NB_BOOK")
        demo = Path(given).parents[2] if given else repository / "build" / "demo"
        folder = demo / "results" / chapter
        if not folder.is_dir():
            (pytest.fail if given else pytest.skip)(f"no results in {folder}; run `make book`")
        return result_files.load_results(folder)

    return load


def test_no_page_names_a_folder_of_the_machine_that_built_it(repository):
    given = os.environ.get("FETALCLIP_NB_BOOK")
    html = Path(given or repository / "build/demo/book/_build/html").resolve()
    pages = [page for page in html.rglob("*.html") if "_static" not in page.parts]
    if not pages:
        (pytest.fail if given else pytest.skip)(f"no book in {html}; run `make book`")
    checkout = f"{html.parents[4]}/"
    assert not [page.name for page in pages if checkout in page.read_text("utf-8")]


@pytest.mark.parametrize(
    "other", ["random map", "maps of phantomclip-untrained", "phantomclip-untrained"]
)
def test_maps_beat_chance_and_the_untrained_twin(rows, other):
    """In three of five planes at least, after correction; ten patients of each."""
    found = rows("06_cam")[other].differences
    classes = [found[f"difference/{plane}"] for plane in FIVE_PLANES]
    assert {each.groups for each in classes} == {10}
    probabilities = holm([each.p for each in classes])
    assert sum(p < 0.05 and d.value < 0 for p, d in zip(probabilities, classes, strict=True)) >= 3


def test_maps_lie_on_the_structures(rows):
    for part, structure in (("heads", "head"), ("four-chamber", "heart")):
        row = rows("06_cam")[f"phantomclip ({part})"]
        energy, area = (row.score(f"{measure}/{structure}") for measure in ("energy", "area"))
        assert energy.low > area.high


def test_heads_are_outlined(rows):
    found = rows("04_segmentation")
    model = found["phantomclip"].score("head/dsc")
    assert found["phantomclip"].synthetic and model.value >= 0.95
    for other in ("phantomclip-untrained", "image only", "mean mask"):
        assert found[other].score("head/dsc").high < model.low, other


def test_organs_are_outlined_better_than_by_a_fixed_mask(rows):
    for task in ("abdomen", "four_chamber"):
        names = (f"{kind} ({task.replace('_', '-')})" for kind in ("phantomclip", "mean mask"))
        model, guess = (rows("04_segmentation")[name].score(f"{task}/dsc") for name in names)
        assert guess.high < model.low
