"""The published table as data: complete, sourced and consistent with itself."""

import pytest
import yaml

from fetalclip_nb.results.published import published, published_facts

PAPER_MODELS = {"clip", "biomedclip", "unimed-clip", "fetalclip"}


@pytest.mark.parametrize("task", published())
def test_every_number_is_a_fraction_with_unit_source_and_note(task):
    scores = published()[task]
    assert set(scores) >= PAPER_MODELS
    for score in scores.values():
        assert 0 < score.value < 1
        assert score.unit == "fraction"
        assert len(score.source) > 10
        assert len(score.note) > 10
        assert score.n is None or score.n > 0


def test_fetalclip_leads_in_every_task_of_its_paper():
    for scores in published().values():
        assert scores["fetalclip"].value == max(scores[m].value for m in PAPER_MODELS)


@pytest.mark.parametrize("model", sorted(PAPER_MODELS))
def test_eight_class_score_is_the_class_weighted_mean_of_both_tasks(model):
    planes = published()["zero_shot/five_planes/f1_macro"][model]
    brain = published()["zero_shot/brain_subplanes/f1_macro"][model]
    both = published()["zero_shot/eight_classes/f1_macro"][model]
    assert both.value == pytest.approx((5 * planes.value + 3 * brain.value) / 8, abs=6e-4)
    assert both.n == planes.n + brain.n


def test_vpr_is_a_whole_number_of_images():
    score = published()["gestational_age/vpr"]["fetalclip"]
    assert round(679 / score.n, 4) == score.value


def test_errata_of_model_and_task_are_joined():
    assert published()["segmentation/head/dsc"]["clip"].errata == (3, 4, 6, 7)
    assert published()["zero_shot/brain_subplanes/f1_macro"]["fetalclip"].errata == (2,)
    assert published()["linear_probe/chd/auroc"]["fetalclip"].errata == (1, 6)


def test_own_source_and_note_replace_those_of_the_task():
    later = published()["gestational_age/vpr"]["mobilefetalclip"]
    assert "2603.05421" in later.source
    assert later.unit == published()["gestational_age/vpr"]["clip"].unit


def test_heads_are_outlined_alike_by_all_encoders_as_the_book_says():
    """Limits and the chapter on segmentation: within a quarter of a percentage point."""
    values = [entry.value for entry in published()["segmentation/head/dsc"].values()]
    assert len(values) == 4 and 0 < max(values) - min(values) < 0.0025


def test_published_facts_are_those_of_the_file(repository):
    content = yaml.safe_load(
        (repository / "fetalclip_nb" / "results" / "published.yaml").read_text("utf-8")
    )
    facts = published_facts("linear_probe")
    assert set(facts) == {"published_six_planes", "published_brain_subplanes", "published_chd"}
    for name, metric in [("six_planes", "f1_macro"), ("chd", "auroc")]:
        value = content[f"linear_probe/{name}/{metric}"]["values"]["fetalclip"]
        assert facts[f"published_{name}"] == f"{100 * value:.2f} %"
    assert float(facts["published_six_planes"].rstrip(" %")) > 50  # in percent
    other = published_facts("linear_probe", "clip")
    assert other.keys() == facts.keys() and other != facts
    assert published_facts("segmentation", "mobilefetalclip") == {}
