import pytest

from fetalclip_nb.experiments.cam import controls, faithfulness, scores
from fetalclip_nb.experiments.cam import trial as trials
from fetalclip_nb.experiments.cam.images import pixels_of
from fetalclip_nb.experiments.cam.probabilities import scorer

KINDS = ["tiny", "tiny (GradCAM)", "maps of tiny-untrained", "random map", "centre map"]


def areas_by_hand(gallery, judge, maps, ground):
    model, task = gallery.models[judge], "five_planes"
    pixels = pixels_of(model, gallery.chosen.images[task])
    every = faithfulness.backgrounds(pixels, model.preprocess)
    grounds = {"deletion": every[ground], "insertion": every["insertion"]}
    score, targets = scorer(model, gallery.vectors[judge, task]), gallery.targets(task, judge)
    curves = faithfulness.faithfulness_curves(score, pixels, maps, targets, grounds, steps=4)
    return scores.areas(**curves)


def test_kinds_of_maps_have_the_headlines_side(gallery, trial):
    assert list(trial.kinds) == KINDS and trial.headline == "tiny"
    shapes = [maps.shape for maps in trial.kinds.values()]
    assert shapes == [(10, 32, 32)] * 3 + [(2, 10, 32, 32), (32, 32)]
    assert (trial.kinds["tiny (GradCAM)"] == gallery.of("five_planes", "", "gradcam").maps).all()
    noise = [controls.random_maps(10, 32, 4, seed) for seed in (0, 1)]
    assert (trial.kinds["random map"] == noise).all()


def test_the_headline_model_judges_all_kinds_and_others_their_own(gallery, trial):
    assert list(trial.areas) == list(trial.scores) == [*KINDS, "tiny-untrained"]
    cases = [("tiny", kind, trial.kinds[kind]) for kind in KINDS]
    own = gallery.of("five_planes", "tiny-untrained").maps
    for judge, kind, maps in [*cases, ("tiny-untrained", "tiny-untrained", own)]:
        expected = areas_by_hand(gallery, judge, maps, "deletion")
        for name, values in expected.items():
            assert trial.areas[kind][name] == pytest.approx(values, abs=1e-6)
            found = trial.scores[kind][f"{name}/all"]["patient"]
            assert (found.value, found.n) == (pytest.approx(values.mean()), 10)
    assert trial.scores["tiny"]["deletion/brain"]["patient"].n == 2


def test_black_replaces_the_blur_of_deletion_and_answers_make_the_scores(gallery, trial):
    assert list(trial.blacks) == KINDS
    images = gallery.chosen.images["five_planes"].table
    for kind in KINDS:
        black = areas_by_hand(gallery, "tiny", trial.kinds[kind], "black")
        for name, values in black.items():
            found = trial.blacks[kind][f"{name}/all"]["patient"].value
            assert found == pytest.approx(values.mean(), abs=1e-6)
        said = trial.answers[kind]
        assert said["difference/all"]["image"].tolist() == images["id"].tolist()
        assert said["difference/all"]["insertion"].tolist() == [*trial.areas[kind]["insertion"]]
        assert said["black/difference/all"]["part"].mean() == pytest.approx(
            black["difference"].mean(), abs=1e-6
        )
        assert len(said["difference/brain"]) == 2


def test_controls_are_without_rivals(trial):
    assert list(trial.of(trial.scores)) == ["tiny", *KINDS[2:]]


def test_results_are_rows_with_every_score_of_a_kind(trial):
    another = trial.kinds["tiny (GradCAM)"]
    alike = trials.likeness(trial, another)
    assert list(alike) == ["another class", *KINDS[1:3]]
    like = alike["another class"]["similarity"]["patient"]
    by_hand = controls.rank_correlations(trial.kinds["tiny"], another).mean()
    assert (like.value, like.unit) == (pytest.approx(by_hand), "")
    rows = [*trials.results(trial, alike)]
    assert [row[:3] for row in rows] == [
        ("tiny", "", "model"),
        ("tiny", "GradCAM", "control"),
        *((kind, "", "control") for kind in KINDS[2:]),
        ("tiny-untrained", "", "model"),
    ]
    for (*_, found, said), kind in zip(rows, trial.scores, strict=True):
        assert found["difference/all"] == trial.scores[kind]["difference/all"]
        assert said is trial.answers[kind]
        assert ("black/difference/all" in found) == (kind in trial.kinds)
        assert ("similarity" in found) == (kind in ["tiny", *KINDS[1:3]])
    assert rows[0][3]["similarity"] == alike["another class"]["similarity"]
