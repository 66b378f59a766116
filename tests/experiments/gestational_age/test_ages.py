from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.gestational_age import ages, controls, tables
from fetalclip_nb.growth import AGES_DAYS, gestational_age, head_circumference
from fetalclip_nb.models.similarity import normalise
from fetalclip_nb.results.result_files import Row

FRAMES = ["{weeks} weeks {days} days {spacing} mm", "{spacing} mm, {weeks}+{days}"]


def fake_encode(sentences):
    """A vector for each sentence that depends on nothing but its text."""
    seeds = [sum(ord(c) * (i + 1) for i, c in enumerate(s)) for s in sentences]
    return np.stack([np.random.default_rng(seed).normal(size=8) for seed in seeds])


def test_spacing_uses_the_longer_side_and_two_decimals():
    assert ages.prompt_spacing([800, 540], [540, 800], [0.0691, 0.0691]) == ["0.25", "0.25"]
    assert ages.prompt_spacing([224], [100], [0.104]) == ["0.10"]


def test_prediction_is_the_eighth_by_age_of_the_fifteen_most_similar():
    similarity = np.zeros((1, 175))
    top = [3, 170, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32]
    similarity[0, top] = np.linspace(1, 2, 15)
    assert ages.predict_age(similarity).tolist() == [AGES_DAYS[sorted(top)[7]]]


def test_prediction_equals_a_slow_obvious_one():
    similarity = np.random.default_rng(0).normal(size=(50, 175))
    slow = [
        AGES_DAYS[sorted(sorted(range(175), key=lambda j: -row[j])[:15])[7]] for row in similarity
    ]
    assert ages.predict_age(similarity).tolist() == slow


def test_prediction_past_37w6d_is_possible():
    similarity = np.arange(175.0)[None]
    assert ages.predict_age(similarity).tolist() == [272 - 7]


def test_similarity_equals_the_mean_over_templates_one_image_at_a_time():
    vectors = normalise(np.random.default_rng(1).normal(size=(4, 8)))
    spacings = ["0.30", "0.41", "0.30", "0.52"]
    texts = ages.age_embeddings(fake_encode, FRAMES, spacings)
    assert set(texts) == {"0.30", "0.41", "0.52"}
    fast = ages.age_similarity(vectors, spacings, texts)
    for i, spacing in enumerate(spacings):
        for j in (0, 90, 174):
            weeks, days = divmod(98 + j, 7)
            sentences = [f"{weeks} weeks {days} days {spacing} mm", f"{spacing} mm, {weeks}+{days}"]
            text = normalise(fake_encode(sentences))
            assert fast[i, j] == pytest.approx(100 * (text @ vectors[i]).mean(), abs=1e-3)


def test_validity_includes_both_ends():
    low, high = head_circumference(140, 2.5), head_circumference(140, 97.5)
    heads = np.array([low - 1e-6, low, high, high + 1e-6])
    assert ages.is_valid(140, heads).tolist() == [False, True, True, False]


def test_strata_partition_the_counted_heads():
    hc_mm = np.array([100, 149.9, 150, 199.9, 200, 249.9, 250, 342.0])
    assert np.array([*ages.strata(hc_mm).values()]).argmax(0).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_strata_of_fewer_than_five_patients_are_left_out():
    hc_mm = np.repeat([120.0, 160.0, 220.0], [5, 6, 4])
    found = ages.age_scores(gestational_age(hc_mm), hc_mm, np.r_[:5, 5, 5, 5, 6:9, 9:13])
    assert [name for name in found if "/" in name] == ["vpr/100-150"]  # the second: four patients
    both = ages.both_age_scores(gestational_age(hc_mm), hc_mm, np.r_[:5, 5, 5, 5, 6:9, 9:13])
    assert [name for name in both if "/" in name] == ["vpr/100-150"]
    rows = {"a": Row("a", both)}
    table = tables.strata_table(tables.by_stratum(rows), "patients")
    # All five right: 0.025 ** (1 / 5) of Clopper and Pearson.
    assert table.loc["100-150 mm"].tolist() == ["5 (5)", "100.0 (47.8–100.0)"]


def test_scores_of_perfect_and_constant_predictions():
    hc_mm = head_circumference(np.arange(110, 260, 5))
    found = ages.age_scores(np.arange(110, 260, 5), hc_mm, np.arange(30))
    assert found["vpr"].value == found["vpr"].high == 1
    assert found["vpr"].low == pytest.approx(0.025 ** (1 / 30))
    assert found["age_error_days"].value == pytest.approx(0, abs=0.1)
    assert {name for name, score in found.items() if score.unit == "days"} == {"age_error_days"}
    assert found["hc_error"].value == pytest.approx(0, abs=1e-9)
    both = ages.both_age_scores(np.full(30, 140), hc_mm, None)
    assert set(both["vpr"]) == {"image"}
    assert both["vpr"]["image"].value < 0.3


def test_best_constant_is_at_least_as_good_as_every_other():
    hc_mm = np.random.default_rng(0).normal(180, 25, 200).clip(100, 342)
    best = controls.best_constant_age(hc_mm)
    share = ages.is_valid(best, hc_mm).mean()
    assert all(share >= ages.is_valid(age, hc_mm).mean() for age in AGES_DAYS)


def test_spacing_only_never_sees_the_patient_it_predicts():
    rng = np.random.default_rng(0)
    hc_mm = rng.uniform(100, 340, 40)
    patients = np.repeat(np.arange(20), 2)
    # Spacing tells nothing, so predictions of a patient must not move with its own circumference.
    spacing = rng.uniform(0.2, 1.0, 40)
    before = controls.spacing_only_age(spacing, hc_mm, patients)
    changed = np.where(patients == 7, 340.0, hc_mm)
    after = controls.spacing_only_age(spacing, changed, patients)
    assert after[patients == 7] == pytest.approx(before[patients == 7])
    exact = controls.spacing_only_age(hc_mm / 300, hc_mm, patients)
    assert exact == pytest.approx(gestational_age(hc_mm), abs=0.2)


def test_spacing_only_needs_two_patients():
    with pytest.raises(DataError, match="at least two patients"):
        controls.spacing_only_age(np.ones(3), np.full(3, 170.0), np.array(["a"] * 3))


def test_controls_hide_the_picture():
    vectors = normalise(np.random.default_rng(1).normal(size=(6, 8)))
    spacings = ["0.30"] * 6
    texts = ages.age_embeddings(fake_encode, FRAMES, spacings)
    black = normalise(np.ones((1, 8)))
    found = controls.control_ages(vectors, black, spacings, texts, seed=0)
    truth = ages.predicted_ages(vectors, spacings, texts)
    assert sorted(found["shuffled images"]) == sorted(truth)
    assert len(set(found["mean embedding"])) == len(set(found["black image"])) == 1


def test_sentences_stand_alone_and_average():
    vectors = normalise(np.random.default_rng(1).normal(size=(3, 8)))
    frames = {"templates": FRAMES, "unseen": []}
    found = controls.sentence_ages(fake_encode, frames, vectors, ["0.30"] * 3)
    assert list(found) == ["frame 1", "frame 2", "frames, averaged"]
    texts = ages.age_embeddings(fake_encode, FRAMES[:1], ["0.30"])
    alone = ages.predicted_ages(vectors, ["0.30"] * 3, texts)
    assert found["frame 1"].tolist() == alone.tolist()


def test_worst_heads_come_first(tmp_path):
    table = pd.DataFrame({"hc_mm": [100.0, 200.0, 300.0], "path": ["a", "b", "c"]})
    heads = SimpleNamespace(table=table, dataset=SimpleNamespace(root=tmp_path))
    paths, titles = tables.worst_heads(gestational_age([101.0, 120.0, 290.0]), heads, 2)
    assert paths == [tmp_path / "b", tmp_path / "c"]
    assert titles == ["200 mm\nas 120 mm", "300 mm\nas 290 mm"]
