"""One row a model, checked against result files that are written by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.errors import ResultError
from fetalclip_nb.experiments.summary.flat import flat_table, read_flat, reference, write_flat
from fetalclip_nb.files import key

PLANES, AGE = "zero_shot/five_planes/f1_macro", "gestational_age/vpr"


def test_a_row_has_values_data_protocol_and_weights_of_its_model(run):
    table = flat_table(run()).set_index("model")
    assert [*table.index] == ["a", "b", "majority class"]
    row = table.loc["a"]
    # 30 of 40 heads of 20 patients are right.
    assert row[f"{AGE}/value"] == 0.75 and row[f"{AGE}/n"] == 20
    assert (row[f"{AGE}/units"], row[f"{AGE}/images"]) == ("examinations", "phantoms")
    assert row[f"{AGE}/data"] == "heads 2222" and row["data"] == "heads 2222, planes 1111"
    assert (row["source"], row["fingerprint"], row["parameters"]) == ("path/a", "weights of a", 7)
    assert (row["precision"], row["versions"]) == ("fp32, fp16", "torch-2 numpy-1")
    assert (row["images"], row["kind"]) == ("phantoms, real", "model")
    # Folders, models and machine are no part of the protocol; splits as found are.
    settings = {"seed": 0, "facts/split": "own", "facts/sentences": None, "reader": ""}
    assert row[f"{PLANES}/protocol"] == key(settings)
    baseline = table.loc["majority class"]
    assert baseline["fingerprint"] == "" and pd.isna(baseline["parameters"])
    assert np.isnan(baseline[f"{AGE}/value"]) and baseline[f"{AGE}/data"] == ""


def test_the_same_run_gives_the_same_row_and_files_give_it_back(run, tmp_path):
    table = flat_table(run("one"))
    pd.testing.assert_frame_equal(flat_table(run("two", seconds=99)), table)
    for path in write_flat(table, tmp_path / "rows"):
        pd.testing.assert_frame_equal(read_flat(path), table)
    for change in ({"seed": 1}, {"split": "official"}):
        other = flat_table(run("other", **change))
        assert not set(other["protocol"]) & set(table["protocol"])
        assert other["data"].tolist() == table["data"].tolist()


def test_a_model_that_reads_no_text_comes_before_the_baselines(run):
    folder = run(names=("z", "b"))
    (folder / "01_zero_shot" / "model_b.json").unlink()
    table = flat_table(folder).set_index("model")
    assert [*table.index] == ["z", "b", "majority class"]
    assert np.isnan(table.loc["b", f"{PLANES}/value"]) and table.loc["b", f"{AGE}/value"] == 0.25


def test_one_name_of_different_weights_is_refused(run):
    folder = run()
    path = folder / "01_zero_shot" / "model_a.json"
    content = json.loads(path.read_text())
    content["provenance"]["model"]["fingerprint"] = "others"
    path.write_text(json.dumps(content))
    with pytest.raises(ResultError, match=r"different weights.*, a\. Found: others, weights of a"):
        flat_table(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="fingerprint"), "Columns are missing.*Found: fingerprint"),
        (lambda t: t.assign(speed=3), "Columns are unknown.*Found: speed"),
        (lambda t: t.assign(**{f"{AGE}/value": 93.5}), f"No fraction .* in {AGE}.*Found: a"),
        (lambda t: t.assign(**{f"{AGE}/low": np.nan}), f"No fraction .* in {AGE}"),
        (lambda t: t.assign(**{f"{AGE}/low": 0.8, f"{AGE}/high": 0.7}), f"No fraction .* in {AGE}"),
        (lambda t: t.assign(**{f"{AGE}/value": "many"}), "cannot be read.*many"),
    ],
)
def test_files_of_another_form_are_refused(run, tmp_path, change, message):
    path = tmp_path / "sent.csv"
    change(flat_table(run())).to_csv(path, index=False)
    with pytest.raises(ResultError, match=message):
        read_flat(path)


def test_an_older_file_lacks_measures_and_can_be_read(run, tmp_path):
    table = flat_table(run())
    table[[c for c in table if not c.startswith(AGE)]].to_csv(tmp_path / "old.csv", index=False)
    old = read_flat(tmp_path / "old.csv")
    assert old[f"{AGE}/value"].isna().all() and [*old] == [*table]


def test_rows_that_come_with_the_book_can_be_read(repository, monkeypatch):
    monkeypatch.chdir(repository)
    assert "phantomclip" in set(read_flat(reference())["model"])
