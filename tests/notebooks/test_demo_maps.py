"""What the demo's chapter on maps must reach, read from the results that the book was made of."""

import os
from pathlib import Path

import pytest

from fetalclip_nb.experiments.cam.tables import clearly_ahead
from fetalclip_nb.results import result_files


@pytest.fixture(scope="module")
def found(repository):
    """Scores of each kind of map in the demo book. FETALCLIP_NB_BOOK makes it compulsory."""
    given = os.environ.get("FETALCLIP_NB_BOOK")
    demo = Path(given).parents[2] if given else repository / "build" / "demo"
    folder = demo / "results" / "06_cam"
    if not folder.is_dir():
        (pytest.fail if given else pytest.skip)(f"no results in {folder}; run `make book`")
    return {title: row.scores for title, row in result_files.load_results(folder).items()}


@pytest.mark.parametrize(
    "other", ["random map", "maps of phantomclip-untrained", "phantomclip-untrained"]
)
def test_maps_beat_chance_and_the_untrained_twin(found, other):
    """Intervals that do not touch, in three of five planes at least; ten images of each."""
    assert found["phantomclip"]["difference/brain"]["patient"].n == 10
    assert len(clearly_ahead(found["phantomclip"], found[other])) >= 3


def test_maps_lie_on_the_structures(found):
    for part, structure in (("heads", "head"), ("four-chamber", "heart")):
        scores = found[f"phantomclip ({part})"]
        energy, area = (scores[f"{m}/{structure}"]["patient"] for m in ("energy", "area"))
        assert energy.low > area.high
