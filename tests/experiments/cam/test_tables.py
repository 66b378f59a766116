"""Tables and sentences of the chapter."""

import pytest

from fetalclip_nb.data.dataset import kind_of_images
from fetalclip_nb.experiments.cam import regions, tables
from fetalclip_nb.experiments.cam.trial import likeness
from fetalclip_nb.stats.scores import Score


def score(value, low=0, high=1, n=9):
    return {"patient": Score(value, low, high, value, n, n)}


@pytest.fixture(scope="module")
def outlined(gallery, trunks):
    return regions.judge_regions(gallery, {"abdomen": trunks}, count=3, seed=0)


def test_facts_are_those_of_the_run(gallery, trial, outlined, planes):
    options = {"per_class": 2, "weight": 0.5, "steps": 4}
    found = tables.facts(gallery, trial, outlined, planes, **options)
    # Ten planes by two methods and six sub-planes of two models; another class; outlines.
    assert found["maps"] == 2 * (2 * 10 + 6) + 10 + 2 * 3
    assert (found["method"], found["classes"], found["ceiling"]) == ("ScoreCAM", 5, 0.75)
    assert "2 images of each class (10)" in found["deviation_sentence"]
    assert "tiny-untrained" in found["twin_sentence"]
    assert found["images_are"] == kind_of_images(planes)
    assert "abdominal circumference holds" in found["region_sentence"]
    assert found["black_text"].startswith("calls a black image ")
    assert found["ahead_sentence"] == found["ahead_black_sentence"]  # two images of a class
    assert "against the centre map" in found["paired_sentence"]
    none = regions.judge_regions(gallery, {}, count=3, seed=0)
    without = tables.facts(gallery, trial, none, planes, **options)
    assert without["region_sentence"] == "No outlined structures were given."
    assert without["maps"] == found["maps"] - 6


def test_rows_and_tables_of_a_run(gallery, trial, outlined, trunks):
    table = tables.area_table(trial)
    assert list(table.index) == list(trial.scores) and (table["n"] == "10").all()
    rows = gallery.chosen.images["five_planes"].table
    images = tables.image_table(trial, rows)
    assert images["id"].tolist() == rows["id"].tolist() and images.shape == (10, 3 + 3 * 6)
    assert (images["centre map, deletion"] == trial.areas["centre map"]["deletion"]).all()
    alike = tables.likeness_table(likeness(trial, trial.kinds["tiny"]))
    assert alike.loc["another class", "similarity"] == "1.00 (1.00–1.00)"
    kinds = ["tiny", "tiny-untrained", "centre map", "random map"]
    found = [*tables.region_rows(outlined)]
    assert [row[:2] for row in found] == [(kind, "abdomen") for kind in kinds]
    assert all(row[2] is trunks.dataset for row in found)


def test_clearly_ahead_names_classes_whose_intervals_do_not_touch():
    def one(**ends):
        return {f"difference/{name}": score(0, low, high) for name, (low, high) in ends.items()}

    ours = one(all=(0.9, 1.0), brain=(0.5, 0.6), femur=(0.3, 0.5), heart=(0.1, 0.2), cervix=(0, 1))
    theirs = one(all=(0.0, 0.1), brain=(0.1, 0.4), femur=(0.1, 0.3), heart=(0.5, 0.6))
    assert tables.clearly_ahead(ours, theirs) == ["brain"]
    assert tables.ahead_text(ours, {"noise": theirs, "other": ours}) == (
        "Class by class, its interval lies wholly above that of the noise in 1 of 4 (brain); "
        "of the other in 0 of 4."
    )


def test_paired_text_counts_classes_whose_interval_lies_above_0():
    gains = {
        "ahead/all": score(0.5, 0.25, 0.75),
        "ahead/brain": score(1, 0.1, 1),
        "ahead/femur": score(0),
    }
    assert tables.paired_text({"noise": gains}) == (
        "Compared image by image, in percentage points: +50.0 (+25.0 to +75.0) against the noise, "
        "above 0 in 1 of 2 (brain)."
    )


def test_few_images_are_not_judged():
    """Two images of two patients: any interval that excludes 0 would be luck."""
    few = {
        f"{name}/{place}": score(0.5, 0.5, 0.6, n)
        for name in ("difference", "ahead")
        for place, n in (("all", 4), ("brain", 2))
    }
    assert "No class has the 5 images" in tables.ahead_text(few, {"noise": few})
    text = tables.paired_text({"noise": few})
    assert "against the noise. No class has the 5 images" in text and "above 0" not in text


def test_class_texts_have_a_row_a_class_and_a_column_a_kind():
    kind = {"ahead/all": score(0.25, -0.5), "ahead/brain": score(0.5, -0.5)}
    table = tables.class_texts({"noise": kind | {"other/all": kind["ahead/all"]}}, "ahead")
    assert table.to_dict() == {
        "noise": {"all": "25.0 (-50.0 to 100.0)", "brain": "50.0 (-50.0 to 100.0)"}
    }


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
    text = tables.deviation_text("scorecam", 10, 0.5)
    assert text.endswith("are the published ones.")
    text = tables.deviation_text("layercam", 3, 0.25)
    assert all(part in text for part in ("LayerCAM", "3 images of each class (10)", "0.25 (0.5)"))
    assert "ours-untrained" in tables.twin_text(["clip", "ours-untrained"])
    assert "stays open" in tables.twin_text(["clip"])
