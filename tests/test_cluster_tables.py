import pytest

from fetalclip_nb import cluster_tables
from fetalclip_nb.metrics import Score


def score(value, spread=0.1, n=1660):
    return Score(value, value - spread, value + spread, value, n, 240)


SCORES = {
    "model": {
        "planes/purity": score(0.934),
        "planes/purity_chance": score(0.224),
        "planes/silhouette": score(0.232, 0.01),
        "planes/ari": score(0.396, 0.02),
        "machine/purity_within": score(0.33, n=1650),
        "machine/purity": score(0.3),
    },
    "twin": {
        "planes/purity": score(0.25),
        "planes/silhouette": score(-0.08),
        "planes/ari": score(0),
    },
}


def test_a_table_has_one_row_a_labelling_and_model():
    found = cluster_tables.cluster_table(SCORES, ["planes"], ["purity", "purity_chance", "ari"])
    assert list(found.index) == [("planes", "model"), ("planes", "twin")]
    assert list(found) == ["n", "purity (%)", "by chance (%)", "adjusted Rand index"]
    row = found.loc[("planes", "model")].tolist()
    assert row == ["1,660", "93.4 (83.4 to 103.4)", "22.4", "0.40 (0.38 to 0.42)"]
    assert found.loc[("planes", "twin"), "by chance (%)"] == "–"
    both = cluster_tables.cluster_table(SCORES, ["machine"], ["purity_within", "purity"])
    assert both.loc[("machine", "model"), "n"] == "1,660"
    assert both.loc[("machine", "model"), "purity, same plane (%)"] == "33.0 (23.0 to 43.0)"


def test_other_models_are_named_with_their_scores():
    found = cluster_tables.others_sentence(SCORES, "planes")
    assert found == (
        "For comparison, twin reaches a purity of 25.0 %, a silhouette of -0.08 and an adjusted "
        "Rand index of 0.00."
    )
    three = SCORES | {"third": SCORES["model"]}
    assert "; third reaches a purity of 93.4 %" in cluster_tables.others_sentence(three, "planes")
    alone = {"model": SCORES["model"]}
    assert cluster_tables.others_sentence(alone, "planes") == "No other model was run."


@pytest.mark.parametrize(
    ("anatomy", "machine", "verdict", "chance"),
    [
        (0.9, 0.05, "Anatomy is separated more than the machine", "no more than by chance"),
        (0.2, 0.9, "The machine is separated more than anatomy", "more than by chance"),
        (
            0.5,
            0.55,
            "Whether anatomy or the machine is separated more cannot be told",
            "more than by chance",
        ),
        (0.55, 0.5, "Whether anatomy", "more than by chance"),
        (0.9, -0.5, "Anatomy is separated more", "no more than by chance"),
    ],
)
def test_only_separate_intervals_decide(anatomy, machine, verdict, chance):
    found = cluster_tables.separation_sentence(score(anatomy), score(machine), "machine")
    assert found.startswith(verdict) and found.endswith(f"for the machine, {chance}.")
    assert f"{anatomy:.2f} ({anatomy - 0.1:.2f} to {anatomy + 0.1:.2f}) for planes" in found


def test_heads_are_compared_in_age_and_size():
    scores = {
        "age_gap_days": score(40.3, 4),
        "age_gap_chance_days": score(40.2, 4),
        "size_gap_px": score(13.7, 1),
        "size_gap_chance_px": score(93.3, 3),
    }
    assert cluster_tables.gap_sentence(scores, "model", "phantoms") == (
        "For model, a head differs from the nearest heads of other patients in age by 40.3 days "
        "(36.3 to 44.3 days; any other patient's head by 40.2 days) and in size in the picture by "
        "13.7 px (12.7 to 14.7 px; any other patient's head by 93.3 px). The heads are phantoms."
    )
