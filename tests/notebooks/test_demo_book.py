"""What the demo's chapters must reach, read from the results that the book was made of."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from fetalclip_nb.data import FIVE_PLANES
from fetalclip_nb.results import result_files
from fetalclip_nb.stats.differences import holm


@pytest.fixture(scope="module")
def folder_of(repository):
    """Results of a chapter in the demo book. FETALCLIP_NB_BOOK makes it compulsory."""

    def find(chapter):
        given = os.environ.get("FETALCLIP_NB_BOOK")
        demo = Path(given).parents[2] if given else repository / "build" / "demo"
        folder = demo / "results" / chapter
        if not folder.is_dir():
            (pytest.fail if given else pytest.skip)(f"no results in {folder}; run `make book`")
        return folder

    return find


@pytest.fixture(scope="module")
def rows(folder_of):
    return lambda chapter: result_files.load_results(folder_of(chapter))


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


def score_of(table):
    """A score from saved answers, in the plainest way: the mean over runs."""
    found = []
    for _, run in table.groupby("run"):
        if "predicted" in table:
            true, predicted = run["true"].astype(str), run["predicted"].astype(str)
            names = sorted(set(true))
            found.append(f1_score(true, predicted, labels=names, average="macro", zero_division=0))
        else:
            run = run.assign(structure=run.get("structure", ""))
            sums = run.groupby("structure", observed=True)[["part", "whole"]].sum()
            found.append((sums["part"] / sums["whole"]).mean())
    return np.mean(found)


@pytest.fixture
def answers_of(folder_of):
    """A metric's saved answers, by the key of the row."""

    def read(chapter, metric):
        found = {}
        for path in (folder_of(chapter) / "predictions").glob("*.parquet"):
            table = pd.read_parquet(path)
            table = table[table["metric"] == metric].dropna(axis=1, how="all")
            found |= {path.stem: table} if len(table) else {}
        return found

    return read


@pytest.mark.parametrize(
    ("chapter", "metric"),
    [
        ("01_zero_shot", "brain_subplanes/f1_macro"),
        ("02_gestational_age", "vpr"),
        ("03_linear_probing", "brain_subplanes/f1_macro"),
        ("04_segmentation", "head/dsc"),
    ],
)
def test_differences_follow_from_the_saved_answers_alone(rows, answers_of, chapter, metric):
    answers, saved = answers_of(chapter, metric), rows(chapter)
    first = answers[next(row.key for row in saved.values() if metric in row.scores)]
    compared = {r.key: r.differences[metric] for r in saved.values() if metric in r.differences}
    assert len(compared) >= 2
    for key, found in compared.items():
        other = answers[key]
        assert found.value == pytest.approx(score_of(other) - score_of(first), abs=1e-9)
        assert found.groups == other["patient"].nunique() == first["patient"].nunique()


def test_intervals_and_probabilities_follow_from_the_saved_answers_alone(rows, answers_of):
    answers = answers_of("02_gestational_age", "vpr")
    saved = rows("02_gestational_age")
    first = answers[next(iter(saved.values())).key]
    _, owner = np.unique(first["patient"].astype(str), return_inverse=True)
    places = [np.flatnonzero(owner == i) for i in range(owner.max() + 1)]
    rng = np.random.default_rng(0)
    for row in [row for row in saved.values() if row.kind == "baseline"]:
        gain = answers[row.key]["part"].to_numpy(float) - first["part"].to_numpy(float)
        drawn = []
        for _ in range(500):
            picked = rng.integers(0, len(places), len(places))
            drawn.append(gain[np.concatenate([places[i] for i in picked])].mean())
        chance = (gain * rng.choice([-1, 1], (1000, len(places)))[:, owner]).mean(1)
        found = row.differences["vpr"]
        ends = np.percentile(drawn, [2.5, 97.5])
        assert (found.low, found.high) == pytest.approx(ends, abs=0.03)
        by_hand = np.mean(np.abs(chance) >= abs(found.value) - 1e-9)
        assert found.p == pytest.approx(by_hand, abs=0.05)


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
