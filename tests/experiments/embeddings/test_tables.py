import pytest

from fetalclip_nb.experiments.embeddings import tables
from fetalclip_nb.stats.scores import Score


def score(value, spread=0.1, n=1660, unit=""):
    return Score(value, value - spread, value + spread, value, n, 240, unit)


def percent(value, n=1660):
    return score(value, n=n, unit="%")


SCORES = {
    "model": {
        "planes/purity": percent(0.934),
        "planes/purity_chance": percent(0.224),
        "planes/silhouette": score(0.232, 0.01),
        "planes/ari": score(0.396, 0.02),
        "machine/purity_within": percent(0.33, n=1650),
        "machine/purity": percent(0.3),
    },
    "twin": {
        "planes/purity": percent(0.25),
        "planes/silhouette": score(-0.08),
        "planes/ari": score(0),
    },
}


def test_a_table_has_one_row_a_labelling_and_model():
    found = tables.cluster_table(SCORES, ["planes"], ["purity", "purity_chance", "ari"])
    assert list(found.index) == [("planes", "model"), ("planes", "twin")]
    assert list(found) == ["n", "purity (%)", "by chance (%)", "adjusted Rand index"]
    row = found.loc[("planes", "model")].tolist()
    assert row == ["1,660", "93.4 (83.4 to 103.4)", "22.4", "0.40 (0.38 to 0.42)"]
    assert found.loc[("planes", "twin"), "by chance (%)"] == "–"
    both = tables.cluster_table(SCORES, ["machine"], ["purity_within", "purity"])
    assert both.loc[("machine", "model"), "n"] == "1,660"
    assert both.loc[("machine", "model"), "purity, same plane (%)"] == "33.0 (23.0 to 43.0)"


def test_other_models_are_named_with_their_scores():
    found = tables.others_sentence(SCORES, "planes")
    assert found == (
        "For comparison, twin reaches a purity of 25.0 %, a silhouette of -0.08 and an adjusted "
        "Rand index of 0.00."
    )
    three = SCORES | {"third": SCORES["model"]}
    assert "; third reaches a purity of 93.4 %" in tables.others_sentence(three, "planes")
    alone = {"model": SCORES["model"]}
    assert tables.others_sentence(alone, "planes") == "No other model was run."


@pytest.mark.parametrize(
    ("anatomy", "machine", "highest", "verdict", "chance"),
    [
        (0.9, 0.05, 0.06, "Anatomy is separated more than the machine", False),
        (0.9, 0.05, 0.04, "Anatomy is separated more than the machine", True),
        (0.2, 0.9, 0.1, "Anatomy is separated less than the machine", True),
        (0.2, 0.9, 0.95, "Whether anatomy or the machine is separated more cannot be told", False),
        (0.5, 0.55, 0.1, "Whether anatomy or the machine is separated more cannot be told", True),
        (0.55, 0.5, 0.1, "Whether anatomy", True),
        # Its own interval lies above 0, and yet permuted machines give as much.
        (0.9, 0.3, 0.31, "Anatomy is separated more", False),
        (0.9, -0.5, 0.1, "Anatomy is separated more", False),
    ],
)
def test_intervals_compare_and_permutations_tell_chance(anatomy, machine, highest, verdict, chance):
    scores = {
        "planes/excess": score(anatomy),
        "machine/purity": score(0.5),
        "machine/excess_within": score(machine),
        "machine/excess_within/permuted": score(highest - 0.1),
    }
    found = tables.separation_sentence(scores, "machine")
    assert found.startswith(f"{verdict}")
    said = "for the machine, more than" if chance else "for the machine, not shown to be more than"
    assert f"{said} by chance (where patients exchange their machine, 95 % of the " in found
    assert found.endswith(f"are {highest - 0.2:.2f} to {highest:.2f}).")
    assert f"{anatomy:.2f} ({anatomy - 0.1:.2f} to {anatomy + 0.1:.2f}) for planes" in found


def test_what_was_not_measured_is_not_decided():
    scores = {"planes/excess": score(0.9), "machine/purity": score(0.5)}
    found = tables.separation_sentence(scores, "machine")
    assert "cannot be told: no class has images of more than one machine" in found
    found = tables.separation_sentence(scores, "operator")
    assert found == "All images have the same operator."


def test_a_permuted_range_is_shown_without_its_middle():
    scores = {"model": {"machine/excess_within/permuted": score(0.01)}}
    found = tables.cluster_table(scores, ["machine"], ["excess_within/permuted"])
    assert found.loc[("machine", "model"), "excess, permuted"] == "-0.09 to 0.11"


def test_untrained_twins_are_explained_only_where_there_are_some():
    assert tables.untrained_sentence(["model", "model-untrained-later"]) == ""
    one = tables.untrained_sentence(["model", "model-untrained"])
    assert one.startswith("model-untrained has the shape of its trained twin and random weights")
    two = tables.untrained_sentence(["a-untrained", "b-untrained"])
    assert two.startswith("a-untrained and b-untrained have their twins' shapes and random")


def test_verdicts_of_several_labellings_share_a_sentence():
    def scores(**excess):
        found = {"planes/excess": score(0.5)}
        for name, value in excess.items():
            found[f"{name}/purity"] = score(0.5)
            found[f"{name}/excess_within"] = score(value)
            found[f"{name}/excess_within/permuted"] = score(0)
        return found

    told = tables.separation_summary
    names = ["machine", "operator"]
    assert told(scores(machine=0, operator=0.1), names) == (
        "Anatomy is separated more than the machine and the operator."
    )
    assert told(scores(machine=0.9, operator=0.8), names) == (
        "Anatomy is separated less than the machine and the operator."
    )
    assert told(scores(machine=0.5, operator=0), names) == (
        "Whether anatomy or the machine is separated more cannot be told; anatomy is separated "
        "more than the operator."
    )
    assert told(scores(), names) == "All images have the same machine and the same operator."
    unmeasured = scores(operator=0) | {"machine/purity": score(0.5)}
    assert told(unmeasured, names).startswith("Whether anatomy or the machine is separated more")


def test_heads_are_compared_in_age_and_size():
    scores = {
        "age_gap_days": score(40.3, 4, unit="days"),
        "age_gap_chance_days": score(40.2, 4, unit="days"),
        "size_gap_px": score(13.7, 1, unit="px"),
        "size_gap_chance_px": score(93.3, 3, unit="px"),
    }
    assert tables.gap_sentence(scores, "model", "phantoms") == (
        "For model, a head differs from the nearest heads of other patients in age by 40.3 days "
        "(36.3 to 44.3 days; any other patient's head by 40.2 days) and in size in the picture by "
        "13.7 px (12.7 to 14.7 px; any other patient's head by 93.3 px). The heads are phantoms."
    )
