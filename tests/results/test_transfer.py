"""A chapter's saved answers for two cohorts."""

import pandas as pd
import pytest

from fetalclip_nb.results.result_files import Row, save_row
from fetalclip_nb.results.transfer import compared, facts, table
from fetalclip_nb.stats.answers import answer_table
from fetalclip_nb.stats.scores import Score

HOME, AWAY = "six_planes/f1_macro", "african_planes/f1_macro"


@pytest.fixture
def folder(tmp_path):
    """Two models, of which the second was not asked abroad, and a baseline."""
    (tmp_path / "predictions").mkdir()
    said = [("m", "model", {HOME: "abab", AWAY: "abba"}), ("n", "model", {HOME: "abab"})]
    said += [("majority class", "baseline", {HOME: "aaaa", AWAY: "aaaa"})]
    for order, (model, kind, by_metric) in enumerate(said):
        for metric, predicted in by_metric.items():
            subject = "African planes" if metric == AWAY else ""
            scores = {metric: {"patient": Score(0.5, 0.4, 0.6, 0.5, 4, 4)}}
            row = Row(model, scores, subject=subject, kind=kind, order=order)
            save_row(tmp_path, row)
            names = [f"{metric[0]}{i}" for i in range(4)]
            table = answer_table(names, names, true=list("abab"), predicted=list(predicted))
            other = table.assign(predicted="b")  # of another score in the same file
            both = {metric: table, "brain_subplanes/f1_macro": other}
            whole = pd.concat(both, names=["metric"]).reset_index("metric")
            whole.to_parquet(tmp_path / "predictions" / f"{row.key}.parquet", index=False)
    return tmp_path


def test_each_row_is_compared_with_itself_at_home(folder):
    found = compared(folder, HOME)
    assert list(found) == ["m", "majority class"]
    assert (found["m"]["f1_macro"].home.value, found["m"]["f1_macro"].abroad.value) == (1, 0.5)
    assert found["majority class"]["f1_macro"].change.value == 0
    shown = table(found)
    assert shown.index.tolist()[:2] == [("m", "macro F1"), ("m", "mean recall")]
    cells = shown.loc[("m", "macro F1")]
    assert cells["at home (95 %)"] == "100.0 (50.0–100.0)"  # a resample without b: F1 0
    assert cells["patients abroad"] == "4"
    assert cells["abroad minus home (95 %)"].startswith("-50.0 (")
    assert compared(folder, "five_planes/f1_macro") == {}


def test_the_sentence_has_numbers_where_there_are_any(folder):
    found = compared(folder, HOME)
    text = facts(found, "m", "phantoms")["african_sentence"]
    assert text.startswith("On 4 images in the layout of the African planes (phantoms), m reached")
    assert "macro F1 of 50.0 (" in text and "abroad minus home is -50.0 (" in text
    nothing = facts({}, "m", "")["african_sentence"]
    assert nothing == "No African planes were given: nothing was tested abroad."
