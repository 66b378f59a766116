import json

import pytest

from fetalclip_nb.errors import ResultError
from fetalclip_nb.results import result_files, tables
from fetalclip_nb.stats.scores import Score


def score(value, n=814, groups=814):
    return Score(value, value - 0.02, value + 0.03, value, n, groups)


def save(folder, model="FetalCLIP", order=0, synthetic=False, n=814, units=("patient", "image")):
    scores = {
        "vpr": {unit: score(0.8342, n) for unit in units},
        "age_error_days": {"patient": Score(9, 8, 10.5, 9, n, n)},
    }
    return result_files.save_result(
        folder,
        model,
        scores,
        order=order,
        synthetic=synthetic,
        parameters={"seed": 0},
        provenance=result_files.provenance(device="cpu"),
    )


def test_results_come_back_in_table_order(tmp_path):
    save(tmp_path / "02", "b", order=1)
    save(tmp_path / "02", "z", order=0)
    result_files.save_facts(tmp_path / "02", {"images": 3})
    found = result_files.load_results(tmp_path / "02")
    assert list(found) == ["z", "b"]
    assert found["z"]["scores"]["vpr"]["patient"]["value"] == 0.8342
    versions = found["z"]["provenance"]["versions"]
    assert {"torch", "open_clip_torch"} <= set(versions)


def test_texts_are_made_of_the_files_alone(tmp_path):
    path = save(tmp_path / "02")
    save(tmp_path / "02", "constant age", order=1, units=("image",))
    result_files.save_facts(tmp_path / "02", {"images": 1234, "share": 0.5, "word": "x"})
    texts = result_files.render_glue(tmp_path, "02")
    assert texts["headline/name"] == "FetalCLIP"
    assert texts["headline/vpr"] == texts["fetalclip/vpr"] == "83.4 %"
    assert texts["headline/vpr/interval"] == "81.4 to 86.4 %"
    assert texts["headline/vpr/n"] == "814"
    assert texts["headline/age_error_days"] == "9.0 days"
    assert "constant-age/vpr/interval" in texts
    assert (texts["facts/images"], texts["facts/share"], texts["facts/word"]) == (
        "1,234",
        "50.0 %",
        "x",
    )
    content = json.loads(path.read_text())
    content["scores"]["vpr"]["patient"]["value"] = 0.5
    path.write_text(json.dumps(content))
    assert result_files.render_glue(tmp_path, "02")["headline/vpr"] == "50.0 %"


def test_indices_have_two_decimals_and_no_unit(tmp_path):
    index = Score(-0.0834, -0.1, 0.005, 0, 9, 9)
    scores = {"planes/silhouette": {"patient": index}, "planes/purity": {"patient": score(0.5)}}
    result_files.save_result(
        tmp_path / "07", "m", scores, order=0, synthetic=False, parameters={}, provenance={}
    )
    texts = result_files.render_glue(tmp_path, "07")
    assert texts["m/planes/silhouette"] == "-0.08"
    assert texts["m/planes/silhouette/interval"] == "-0.10 to 0.01"
    assert texts["m/planes/purity"] == "50.0 %"
    row = tables.comparison_table(result_files.load_results(tmp_path / "07"), "planes/silhouette")
    assert row.loc["m"].tolist() == ["real", "9", "-0.08", "-0.10–0.01"]
    assert tables.plain_table({"m": {"ari": index}}, ["ari"]).loc["m", "ari"] == (
        "-0.08 (-0.10–0.01)"
    )


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(ResultError, match="No results.*run the notebook"):
        result_files.load_results(tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ResultError, match="no JSON"):
        result_files.load_results(tmp_path)
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ResultError, match="lacks keys"):
        result_files.load_results(tmp_path)


def table(folder):
    return tables.comparison_table(result_files.load_results(folder), "vpr", "gestational_age/vpr")


def test_difference_to_the_published_number_on_the_same_images(tmp_path):
    save(tmp_path)
    row = table(tmp_path).loc["FetalCLIP"]
    assert (row["published"], row["difference"], row["n"]) == ("83.42", "+0.00", "814")


def test_phantoms_and_other_sizes_get_no_difference(tmp_path):
    save(tmp_path / "a", synthetic=True)
    assert table(tmp_path / "a").loc["FetalCLIP", "difference"] == "phantoms"
    save(tmp_path / "b", n=161)
    assert table(tmp_path / "b").loc["FetalCLIP", "difference"] == "other n (814)"
    assert table(tmp_path / "a")["images"].tolist()[:2] == ["phantoms", "real"]


def test_other_sentences_are_said_in_place_of_a_difference(tmp_path):
    save(tmp_path)
    saved = result_files.load_results(tmp_path)
    found = tables.comparison_table(saved, "vpr", "gestational_age/vpr", deviation="our sentences")
    assert found.loc["FetalCLIP", "difference"] == "our sentences"


def test_published_models_that_were_not_run_are_listed_as_such(tmp_path):
    save(tmp_path, "phantomclip")
    found = table(tmp_path)
    assert found.loc["fetalclip", "ours"] == "not run"
    assert found.loc["fetalclip", "difference"] == ""
    assert found.loc["phantomclip", "published"] == ""


def test_released_outputs_are_compared_with_their_own_model(tmp_path):
    save(tmp_path, "FetalCLIP (released outputs)", units=("image",))
    row = table(tmp_path).loc["FetalCLIP (released outputs)"]
    assert row["difference"] == "+0.00"
    assert row["95 %, patients"] == "–"
    assert "fetalclip" not in table(tmp_path).index


def test_only_an_exact_ending_makes_a_row_one_of_a_published_model(tmp_path):
    save(tmp_path / "a", "FetalCLIP (CHD)")
    assert table(tmp_path / "a").loc["FetalCLIP (CHD)", "difference"] == "+0.00"
    assert "fetalclip" not in table(tmp_path / "a").index
    for name in ("fetalclip-chd", "fetalclip-released-outputs", "fetalclip, logistic regression"):
        save(tmp_path / name, name)
        row = table(tmp_path / name).loc[name]
        assert (row["published"], row["difference"]) == ("", "")
        assert "fetalclip" in table(tmp_path / name).index


def test_plain_tables_and_kinds(tmp_path):
    save(tmp_path)
    saved = result_files.load_results(tmp_path)
    assert tables.of_kind(saved, "control") == {}
    assert tables.scores_of(saved, "vpr")["FetalCLIP"].value == 0.8342
    text = tables.plain_table({"a": {"vpr": score(0.5)}}, ["vpr"]).loc["a", "vpr"]
    assert text == "50.00 (48.00–53.00)"
    fractions = tables.pd.DataFrame({"a": [0.123], "n": [3]})
    assert tables.percent(fractions, ["a"]).iloc[0].tolist() == ["12.3", 3]


def test_class_table_puts_f1_and_accuracy_side_by_side():
    names = ("five_planes/f1_macro", "five_planes/f1/brain", "five_planes/accuracy/brain")
    scores = {name: {"patient": vars(score(0.9))} for name in names}
    found = tables.class_table({"scores": scores})
    assert found.loc[("five planes", "brain"), "accuracy, 95 %"] == "88.0 to 93.0 %"
    assert found.loc[("five planes", "mean over classes"), "F1"] == "90.0 %"
    by_class = tables.class_scores({"m": {"kind": "model", "scores": scores}}, "f1", ["brain"])
    assert by_class["m"]["brain"].value == 0.9
