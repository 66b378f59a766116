"""Tables and sentences of the chapter."""

import pytest

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.cam import regions, tables
from fetalclip_nb.experiments.cam.trial import likeness
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.stats.answers import between
from fetalclip_nb.stats.differences import Difference
from fetalclip_nb.stats.scores import Score


def score(value, low=0, high=1, n=9):
    return {"patient": Score(value, low, high, value, n, n)}


@pytest.fixture(scope="module")
def outlined(gallery, trunks):
    return regions.judge_regions(gallery, {"abdomen": trunks}, count=3, seed=0)


def test_facts_are_those_of_the_run(gallery, trial, outlined, planes):
    options = {"per_class": 2, "choice": "ours", "weight": 0.5, "steps": 4}
    first = next(iter(trial.answers))
    rows = {
        kind: Row(
            kind, {}, {} if kind == first else between(trial.answers[kind], trial.answers[first])
        )
        for kind in trial.answers
    }
    found = tables.facts(gallery, trial, rows, outlined, **options)
    # Ten planes by two methods and six sub-planes of two models; another class; outlines.
    assert found["maps"] == 2 * (2 * 10 + 6) + 10 + 2 * 3
    assert (found["method"], found["classes"], found["ceiling"]) == ("ScoreCAM", 5, 0.75)
    assert "2 images of each class (10)" in found["deviation_sentence"]
    assert "tiny-untrained" in found["twin_sentence"]
    assert found["images_are"] == kind_of_images(planes)
    assert "abdominal circumference holds" in found["region_sentence"]
    assert found["black_text"].startswith("calls a black image ")
    assert found["paired_sentence"] != found["black_sentence"]
    assert "against the centre map" in found["paired_sentence"]
    none = regions.judge_regions(gallery, {}, count=3, seed=0)
    without = tables.facts(gallery, trial, rows, none, **options)
    assert without["region_sentence"] == "No outlined structures were given."
    assert without["maps"] == found["maps"] - 6


def test_rows_and_tables_of_a_run(gallery, trial, outlined, trunks):
    table = tables.area_table(trial)
    assert list(table.index) == list(trial.scores) and (table["n"] == "10").all()
    alike = tables.likeness_table(likeness(trial, trial.kinds["tiny"]))
    assert alike.loc["another class", "similarity"] == "1.00 (1.00–1.00)"
    kinds = ["tiny", "tiny-untrained", "centre map", "random map"]
    found = [*tables.region_rows(outlined)]
    assert [row[:2] for row in found] == [(kind, "abdomen") for kind in kinds]
    assert all(row[2] is trunks.dataset for row in found)


def line(place, value, p, groups=10):
    return {
        f"difference/{place}": Difference(value, value - 0.1, value + 0.2, p, 0, groups, groups)
    }


def test_claims_are_corrected_together_and_say_how_many_patients(trial):
    kinds = [kind for kind in trial.of(trial.kinds) if kind != "tiny"]
    first = line("all", -0.5, 0.0001, 50) | line("brain", -0.25, 0.01) | line("heart", 0.1, 0.02)
    rest = line("all", -0.1, 0.5, 50) | line("brain", -0.2, 0.004)
    found = dict(zip(kinds, [first, rest, {}], strict=True))
    rows = {"tiny": Row("tiny", {})} | {k: Row(k, {}, found[k]) for k in kinds}
    claimed = tables.claims(rows, trial)
    assert claimed["p"].round(4).tolist() == [0.0005, 0.03, 0.04, 0.5, 0.016]
    shown = tables.claim_table(claimed)
    assert shown[kinds[0]].tolist() == [
        "+50.0 (+30.0 to +60.0), p < 0.001",
        "+25.0, p 0.030",
        "-10.0, p 0.040",
    ]
    assert shown.index.tolist() == [
        f"{place} patients)" for place in ("all (50", "brain (10", "heart (10")
    ]
    assert tables.claim_text(claimed) == (
        "Compared image by image, in percentage points, with p corrected for 5 claims: +50.0 "
        f"against the {kinds[0]} (p < 0.001), ahead in 1 of 2 classes (brain); +10.0 against the "
        f"{kinds[1]} (p 0.500), ahead in 1 of 1 classes (brain)."
    )
    few = claimed.assign(n=5, p=1.0)
    # Of five claims, 2 / 2**8 * 5 is below 5 %, 2 / 2**7 * 5 is not.
    assert "No class has the 8 patients" in tables.claim_text(few)
    assert "No class" not in tables.claim_text(few.assign(n=8))


def test_class_texts_have_a_row_a_class_and_a_column_a_kind():
    kind = {"ahead/all": score(0.25, -0.5, n=20), "ahead/brain": score(0.5, -0.5, n=19)}
    table = tables.class_texts({"noise": kind | {"other/all": kind["ahead/all"]}}, "ahead")
    assert table.to_dict() == {"noise": {"all": "25.0 (-50.0 to 100.0)", "brain": "50.0"}}


def test_scores_of_all_tasks_by_kind_of_map():
    found = {
        ("cam", "head"): {"energy/head": 1, "area/head": 2},
        ("cam", "abdomen"): {"energy/spine": 3},
    }
    assert tables.by_kind(found) == {
        "cam": {"energy/head": 1, "area/head": 2, "energy/abdomen/spine": 3}
    }


def test_region_text_names_structures_and_what_the_images_are():
    head, liver = (
        {f"energy/{name}": score(0.5), f"area/{name}": score(0.25)} for name in ("head", "liver")
    )
    text = tables.region_text({"head": head, "abdomen": liver}, {"head": "real", "abdomen": "FASS"})
    assert text == (
        "Where structures are outlined (head: real; abdomen: FASS), the head holds 50.0 % "
        "(0.0 to 100.0) of the map on 25.0 % of the picture."
    )
    text = tables.region_text({"abdomen": liver}, {"abdomen": "FASS"})
    assert text == "No structure that a class is named after is outlined (FASS)."


def test_what_differs_from_the_published_maps_and_what_was_not_run():
    text = tables.deviation_text("scorecam", 10, "published", 0.5)
    assert text.endswith("are the published ones.")
    text = tables.deviation_text("layercam", 3, "ours", 0.25)
    assert all(
        part in text
        for part in ("images drawn", "LayerCAM", "3 images of each class (10)", "0.25 (0.5)")
    )
    assert "ours-untrained" in tables.twin_text(["clip", "ours-untrained"])
    assert "stays open" in tables.twin_text(["clip"])
