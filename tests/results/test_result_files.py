import itertools
import json
from dataclasses import replace

import pandas as pd
import pytest

from fetalclip_nb.errors import ResultError
from fetalclip_nb.results import result_files, tables
from fetalclip_nb.results.result_files import Row
from fetalclip_nb.stats.differences import Difference
from fetalclip_nb.stats.scores import Score


def score(value, n=814, unit="%"):
    return Score(value, value - 0.02, value + 0.03, value, n, n, unit)


def row(model="FetalCLIP", n=814, units=("patient", "image"), **details):
    days = Score(9, 8, 10.5, 9, n, n, "days")
    scores = {
        "vpr": {unit: score(0.8342, n) for unit in units},
        "age_error_days": {"patient": days},
    }
    known = {"model": {"published": "fetalclip" if model == "FetalCLIP" else ""}}
    return Row(model, scores, **{"provenance": known, **details})


def save(folder, *rows):
    return [result_files.save_row(folder, each) for each in rows]


def test_results_come_back_in_table_order(tmp_path):
    versions = result_files.provenance(device="cpu")
    rows = [row("b", order=1), row("z", parameters={"seed": 0}, provenance=versions)]
    save(tmp_path / "02.123.partial", *rows)
    result_files.write_json(tmp_path / "02.123.partial" / "facts.json", {"images": 3})
    saved = result_files.load_results(tmp_path / "02.123.partial")
    assert list(saved.items()) == [("z", rows[1]), ("b", rows[0])]
    assert {"torch", "open_clip_torch"} <= set(saved["z"].provenance["versions"])


def test_rows_have_the_titles_of_tables():
    read = {"reader": "logistic regression"}
    rows = [row("m"), row("m", subject="CHD"), row("m", **read), row("m", subject="CHD", **read)]
    titles = ["m", "m (CHD)", "m, logistic regression", "m, logistic regression (CHD)"]
    assert [each.title for each in rows] == titles


def test_no_two_rows_share_a_file_whatever_a_model_is_called(tmp_path):
    """Names of models that look like baselines, readers, side files or keys of the prose."""
    names = ("facts", "glue", "headline", "majority-class", "m", "m-chd", "m-logistic-regression")
    parts = itertools.product(names, ("", "CHD"), ("", "logistic regression"))
    rows = [row(model, subject=subject, reader=reader) for model, subject, reader in parts]
    rows += [row("majority class", kind="baseline", subject=subject) for subject in ("", "CHD")]
    assert len(set(save(tmp_path, *rows))) == len(rows)
    assert len(result_files.load_results(tmp_path)) == len(rows)
    keys = {each.key for each in rows}
    assert len(keys) == len(rows) and keys.isdisjoint({"facts", "glue", result_files.HEADLINE})


def test_texts_are_made_of_the_files_alone(tmp_path):
    path, _ = save(tmp_path, row(), row("constant age", order=1, kind="baseline", units=("image",)))
    facts = {"images": 1234, "share": 0.5, "word": "x"}
    result_files.write_json(tmp_path / "facts.json", facts)
    texts = result_files.render_glue(tmp_path)
    assert texts["headline/name"] == "FetalCLIP"
    assert texts["headline/vpr"] == texts["model_fetalclip/vpr"] == "83.4 %"
    assert texts["headline/vpr/interval"] == "81.4 to 86.4 %"
    assert texts["headline/vpr/n"] == "814"
    assert texts["headline/age_error_days"] == "9.0 days"
    assert "baseline_constant-age/vpr/interval" in texts
    facts = [texts[f"facts/{name}"] for name in ("images", "share", "word")]
    assert facts == ["1,234", "50.0 %", "x"]
    content = json.loads(path.read_text())
    content["scores"]["vpr"]["patient"]["value"] = 0.5
    path.write_text(json.dumps(content))
    assert result_files.render_glue(tmp_path)["headline/vpr"] == "50.0 %"


def test_a_chapter_of_facts_alone_has_texts_and_one_of_nothing_none(tmp_path):
    with pytest.raises(ResultError, match="No results"):
        result_files.render_glue(tmp_path)
    result_files.write_json(tmp_path / "facts.json", {"cells": 57})
    assert result_files.render_glue(tmp_path) == {"facts/cells": "57"}


def test_indices_have_two_decimals_and_no_unit(tmp_path):
    index = Score(-0.0834, -0.1, 0.005, 0, 9, 9, "")
    scores = {"planes/silhouette": {"patient": index}, "planes/purity": {"patient": score(0.5)}}
    save(tmp_path, Row("m", scores))
    texts = result_files.render_glue(tmp_path)
    assert texts["headline/planes/silhouette"] == "-0.08"
    assert texts["headline/planes/silhouette/interval"] == "-0.10 to 0.01"
    assert texts["headline/planes/purity"] == "50.0 %"
    shown = tables.comparison_table(result_files.load_results(tmp_path), "planes/silhouette")
    assert shown.loc["m"].tolist() == ["real", "9", "-0.08", "-0.10–0.01"]
    text = tables.plain_table({"m": {"ari": index}}, ["ari"]).loc["m", "ari"]
    assert text == "-0.08 (-0.10–0.01)"


def changed(content, *path_and_value):
    """A row's JSON with one value changed, or taken away where the value is ... ."""
    *path, last, value = path_and_value
    content = json.loads(json.dumps(content))
    inner = content
    for step in path:
        inner = inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return json.dumps(content)


FIRST = ("scores", "vpr", "patient")


@pytest.mark.parametrize(
    "change",
    [
        *(("subject", ...), ("subject", 3), ("order", "1"), ("synthetic", 0), ("parameters", [])),
        *(("scores", []), ("scores", "vpr", 9), ("scores", "vpr", {}), (*FIRST, [])),
        *((*FIRST, name, ...) for name in ("value", "groups")),
        *((*FIRST, "value", value) for value in ("0.5", None, [1], float("nan"), float("inf"))),
        *((*FIRST, "unit", value) for value in (["%"], None)),
        ("scores", "vpr", {"month": {}}),
        ("model", "another"),
        *(("differences", value) for value in (..., [], {"vpr": {}}, {"vpr": 3})),
    ],
    ids=str,
)
def test_a_row_of_another_form_is_refused_by_its_name(tmp_path, change):
    (path,) = save(tmp_path, row())
    path.write_text(changed(json.loads(path.read_text()), *change))
    refusal = "damaged or of another version.*model_fetalclip.json.*run the notebook again"
    with pytest.raises(ResultError, match=refusal):
        result_files.render_glue(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"null", b"3", b"\xff", b"[" * 99_999, b""])
@pytest.mark.parametrize("name", ["model_fetalclip.json", "facts.json"])
def test_missing_and_damaged_files_are_refused_by_name(tmp_path, name, content):
    with pytest.raises(ResultError, match="No results.*run the notebook"):
        result_files.load_results(tmp_path)
    save(tmp_path, row())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ResultError, match=f"damaged or of another version.*{name}"):
        result_files.render_glue(tmp_path)


def table(*rows, **options):
    saved = {each.title: each for each in rows}
    return tables.comparison_table(saved, "vpr", "gestational_age/vpr", **options)


def test_difference_to_the_published_number_on_the_same_images():
    shown = table(row()).loc["FetalCLIP"]
    assert (shown["published"], shown["difference"], shown["n"]) == ("83.42", "+0.00", "814")


@pytest.mark.parametrize(
    ("details", "options", "difference"),
    [
        ({"synthetic": True}, {}, "phantoms"),
        ({"n": 161}, {}, "other n (814)"),
        ({}, {"deviation": "our sentences"}, "our sentences"),
        ({"kind": "released"}, {"deviation": "our sentences"}, "+0.00"),
    ],
)
def test_phantoms_and_other_protocols_get_no_difference(details, options, difference):
    shown = table(row(**details), **options)
    assert shown.loc["FetalCLIP", "difference"] == difference
    assert shown["images"].tolist()[1:] == ["real"] * (len(shown) - 1)


def test_published_models_that_were_not_run_are_listed_as_such():
    shown = table(row("phantomclip"))
    assert shown.loc["fetalclip", "ours"] == "not run"
    assert shown.loc["fetalclip", "difference"] == ""
    assert shown.loc["phantomclip", "published"] == ""


def test_what_was_measured_does_not_change_the_published_model():
    details = {"subject": "released outputs", "kind": "released", "provenance": {}}
    shown = table(row(units=("image",), **details))
    first = shown.loc["FetalCLIP (released outputs)"]
    assert (first["difference"], first["95 %, patients"]) == ("+0.00", "–")
    assert "fetalclip" not in shown.index


def test_weights_and_not_names_are_joined_to_published_scores():
    other = Row("ours", row().scores, provenance=row().provenance)
    shown = table(other, row("fetalclip"), row("mobilefetalclip", synthetic=True))
    columns = ["published", "difference"]
    assert shown.loc["ours", columns].tolist() == ["83.42", "+0.00"]
    assert shown.loc["fetalclip", columns].tolist() == ["", "unknown weights"]
    assert shown.loc["mobilefetalclip", columns].tolist() == ["", "unknown weights"]
    assert shown.loc["mobilefetalclip (published)", "ours"] == "not run"
    assert shown.index.is_unique


@pytest.mark.parametrize(
    "other", [row("fetalclip-chd"), row("fetalclip", reader="logistic regression")]
)
def test_other_models_and_readers_are_no_published_ones(other):
    shown = table(other)
    assert shown.loc[other.title, ["published", "difference"]].tolist() == ["", ""]
    assert "fetalclip" in shown.index


def test_fractions_of_some_columns_are_shown_in_percent():
    fractions = pd.DataFrame({"a": [0.123], "n": [3]})
    assert tables.percent(fractions, ["a"]).iloc[0].tolist() == ["12.3", 3]


def test_class_table_puts_f1_and_accuracy_side_by_side():
    names = [f"five_planes/{name}" for name in ("f1_macro", "f1/brain", "accuracy/brain")]
    names += ["five_planes/accuracy_macro", "eight_classes/f1_macro", "vpr"]
    model = Row("m", {name: {"patient": score(0.9)} for name in names})
    shown = tables.class_table(model)
    assert shown.loc[("five planes", "brain"), "accuracy, 95 %"] == "88.0 to 93.0 %"
    assert shown.loc[("five planes", "mean over classes"), ["F1", "accuracy"]].eq("90.0 %").all()
    assert len(shown) == 2
    assert tables.class_scores({"m": model}, "f1", ["brain"])["m"]["brain"].value == 0.9


def compared(title, value, p, differing=40):
    found = Difference(value, value - 0.02, value + 0.02, p, 0.01, 90, differing)
    return row(title, differences={"vpr": found})


def test_differences_to_the_first_row_are_corrected_for_their_table():
    rows = [row("m"), compared("a", -0.05, 0.01), compared("b", 0.03, 0.03), compared("c", 0, 0.6)]
    shown = table(*rows, row("other images"))
    assert shown["to the first row (95 %)"].tolist()[:5] == [
        *("", "-5.00 (-7.00 to -3.00)", "+3.00 (+1.00 to +5.00)", "+0.00 (-2.00 to +2.00)", ""),
    ]
    assert shown["p (Holm)"].tolist()[:4] == ["", "0.030", "0.060", "0.600"]
    said = tables.ranking({each.title: each for each in rows}, "vpr")
    # (2.394 + 0.842) x 1 point: the level of 5 % shared by three claims.
    assert said == (
        "Beside m, on the same 90 patients, corrected for 3 other rows. Below it: a. Not told "
        "from it: b; c. Four of five such test sets would show differences of 3.2 points with the "
        "rows that it does not tell apart."
    )


def test_a_ranking_that_cannot_be_tested_says_so():
    assert tables.ranking({"m": row("m")}, "vpr").startswith("No other row has answers")
    few = {each.title: each for each in (row("m"), compared("a", 0.01, 1.0, differing=3))}
    assert "Too few patients differ for any difference to be shown." in tables.ranking(few, "vpr")


def test_the_table_of_all_differences_is_that_of_the_chapters(tmp_path):
    first, *others = (row("m"), compared("a", -0.05, 0.01), compared("b", 0.03, 0.03))
    ordered = [first, *(replace(each, order=i) for i, each in enumerate(others, 1))]
    save(tmp_path / "01_one", *ordered, replace(compared("c", 0.5, 0.001), kind="control", order=3))
    found = tables.difference_table(tmp_path, ["00_none", "01_one"])
    assert found["row"].tolist() == ["a", "b"] and set(found["first row"]) == {"m"}
    assert set(found["score"]) == {"01 vpr"}
    assert found["p (Holm)"].tolist() == ["0.020", "0.030"]  # the control is in no such table
    assert found["told apart"].tolist() == ["yes", "yes"]
    assert found["difference"].iloc[0] == "-5.0 (-7.0 to -3.0)"
    assert tables.difference_table(tmp_path, []).empty


def test_intervals_are_named_after_what_they_draw():
    rows = [compared("a", -0.05, 0.01), row("m")]
    known = {"model": {"published": ""}, "units": "examinations"}
    saved = {each.title: replace(each, provenance=known) for each in reversed(rows)}
    assert "95 %, examinations" in tables.comparison_table(saved, "vpr")
    assert "on the same 90 examinations" in tables.ranking(saved, "vpr")
