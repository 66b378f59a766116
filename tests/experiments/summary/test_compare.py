"""Two runs side by side, with answers that are made by hand."""

import pandas as pd
import pytest

from fetalclip_nb.cli import main
from fetalclip_nb.errors import ResultError
from fetalclip_nb.experiments.summary.compare import compare, open_side, shown_table
from fetalclip_nb.experiments.summary.flat import flat_table, write_flat
from fetalclip_nb.stats.answers import between
from fetalclip_nb.stats.differences import holm

AGE = "gestational_age/vpr"


def sides(*folders):
    return [open_side(str(folder)) for folder in folders]


def test_a_paired_difference_follows_from_the_saved_answers(run):
    a, b = run("one"), run("two", right=(36, 10))
    table = compare(*sides(a, b))
    ages = table[table["measure"] == AGE].set_index("a_model")
    for model, apart in (("a", 6 / 40), ("b", 0.0)):
        name = f"02_gestational_age/predictions/model_{model}.parquet"
        answers = [{"vpr": pd.read_parquet(folder / name)} for folder in (b, a)]
        expected, line = between(*answers)["vpr"], ages.loc[model]
        assert line["difference"] == pytest.approx(apart) == line["b_value"] - line["a_value"]
        assert line[["difference", "low", "high", "p"]].tolist() == [
            *(expected.value, expected.low, expected.high, expected.p)
        ]
        assert line["how"] == "paired, 20 examinations"
    tested = table[table["p"].notna()]
    assert len(tested) == 2 and tested["p_holm"].tolist() == holm(tested["p"]).tolist()
    # Of planes no answers were kept: two intervals, a difference and no test.
    planes = shown_table(table).set_index("task").loc["zero-shot planes (F1)"].iloc[0]
    assert planes["how"] == "not paired" and planes["p (Holm)"] == planes["told apart"] == "–"
    assert planes["A"] == "80.0 (70.0–90.0)" and planes["B - A"] == "+0.0"


def test_rows_of_a_file_are_compared_without_a_test(run, tmp_path):
    csv, _ = write_flat(flat_table(run("one", right=(20, 10))), tmp_path)
    line = compare(*sides(csv, run("two"))).set_index(["a_model", "measure"]).loc[("a", AGE)]
    assert line["how"] == "not paired" and pd.isna(line["p"]) and pd.isna(line["low"])
    assert line["difference"] == 0.25


def test_two_models_of_one_run_are_compared_by_name(run):
    folder = run()
    line = compare(*sides(folder, folder), {"b": "a"}).set_index("measure").loc[AGE]
    assert line["difference"] == pytest.approx(0.5) and line["p_holm"] < 0.05
    with pytest.raises(ResultError, match=r"Model has no results.*a, b, majority.*Found: c\."):
        compare(*sides(folder, folder), {"a": "c"})


def test_other_images_and_other_protocols_are_not_compared(run):
    one, other = run("one"), run("other", heads="3333")
    table = shown_table(compare(*sides(one, other))).set_index("task")
    ages = table.loc["zero-shot age (VPR)"].iloc[0]
    assert ages["how"] == "other images: heads 2222 / heads 3333"
    assert ages["B - A"] == "–" and ages["p (Holm)"] == "–"
    with pytest.raises(ResultError, match=r"Nothing can be compared.*Found: other protocol\."):
        compare(*sides(one, run("seeded", seed=1)))
    with pytest.raises(ResultError, match=r"no common model.*--model"):
        compare(*sides(one, run("named", names=("c", "d"), baseline=False)))


def test_of_several_rows_of_a_name_the_one_that_fits_is_taken(run, tmp_path):
    rows = [flat_table(run(name, heads=name)) for name in ("5555", "2222")]
    csv, _ = write_flat(pd.concat(rows), tmp_path)
    table = compare(*sides(run(), csv)).set_index(["a_model", "measure"])
    assert table.loc[("a", AGE), "b_data"] == "heads 2222"


def test_command_prints_the_differences_and_writes_them(run, tmp_path, capsys):
    one, two, csv = str(run("one")), str(run("two", right=(39, 10))), tmp_path / "out.csv"
    assert main(["compare", one, two, "--csv", str(csv), "--model", "a=a"]) == 0
    said = capsys.readouterr().out
    assert "75.0 (" in said and "+22.5 (" in said and "for all 1 tests" in said
    assert pd.read_csv(csv)["difference"].tolist() == pytest.approx([0, 9 / 40])
    for words, message in (
        ([one, str(tmp_path / "no")], "There are no results. Expected: a folder"),
        ([one, two, "--model", "a"], "Two models are not named. Where: --model."),
    ):
        assert main(["compare", *words]) == 2
        assert message in capsys.readouterr().err
