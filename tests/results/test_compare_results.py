"""The script that tells whether a change of the code changed a score."""

import json
import sys
from dataclasses import replace

import pytest

from fetalclip_nb.results.result_files import Row, save_row
from fetalclip_nb.stats.scores import Score

DICE = Score(0.9, 0.8, 0.95, 0.9, 8, 4)


def write(folder, *, dice=DICE, error=2.0, purity=0.5):
    """Results of a chapter with decoders and of one without."""
    measured = replace(DICE, value=error, unit="mm")
    heads = {"head/dsc": {"patient": dice}, "head/hc_mae_mm": {"patient": measured}}
    save_row(folder / "04_segmentation", Row("m", heads))
    row = Row("m", {"purity": {"patient": replace(DICE, value=purity)}}, subject="heads")
    save_row(folder / "07_embeddings", row)
    return folder


def in_old_form(folder):
    """As files were: the title of a row as its model, scores without a unit."""
    for path in folder.glob("*/*.json"):
        content = json.loads(path.read_text())
        content["model"] += f" ({subject})" if (subject := content.pop("subject")) else ""
        del content["reader"]
        for scores in content["scores"].values():
            del scores["patient"]["unit"]
        path.write_text(json.dumps(content))


@pytest.fixture
def status(tmp_path, repository, monkeypatch):
    """Exit status for the folders old and new."""
    monkeypatch.syspath_prepend(repository / "benchmarks")
    import compare_results

    def run(*options):
        folders = [str(tmp_path / "old"), str(tmp_path / "new")]
        monkeypatch.setattr(sys, "argv", ["compare_results.py", *folders, *options])
        return compare_results.main()

    return run


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        ({}, (), 0),
        ({"purity": 0.5000001}, (), 0),
        ({"purity": 0.501}, (), 1),
        ({"purity": 0.501}, ("--tolerance", "0.01"), 0),
        ({"purity": 0.501}, ("--decoders", "0.005"), 1),
        ({"purity": 0.501}, ("--notebooks", "04_segmentation"), 0),
        ({"dice": replace(DICE, low=0.804)}, (), 1),
        ({"dice": replace(DICE, low=0.804)}, ("--decoders", "0.005"), 0),
        ({"error": 2.4}, ("--decoders", "0.005"), 0),
        ({"error": 2.6}, ("--decoders", "0.005"), 1),
        ({"dice": replace(DICE, n=9)}, (), 1),
    ],
)
@pytest.mark.parametrize("old_form", [False, True])
def test_scores_may_differ_by_the_tolerance(tmp_path, status, change, options, expected, old_form):
    write(tmp_path / "old")
    write(tmp_path / "new", **change)
    if old_form:
        in_old_form(tmp_path / "old")
    assert status(*options) == expected


def test_scores_on_one_side_only_are_listed(tmp_path, status, capsys):
    write(tmp_path / "old")
    write(tmp_path / "new")
    (tmp_path / "new" / "07_embeddings" / "model_m_heads.json").unlink()
    assert status() == 1
    assert "On one side only (1)" in capsys.readouterr().out
