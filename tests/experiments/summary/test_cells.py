"""Every cell has a value or a stated reason, and a verdict that a reader can check by hand."""

import pytest

from fetalclip_nb.errors import ResultError
from fetalclip_nb.experiments.summary.cells import COLUMNS, PAPER, all_cells
from fetalclip_nb.experiments.summary.verdicts import MEANINGS, judge
from fetalclip_nb.results.published import published
from fetalclip_nb.results.result_files import Row

PLANES, HEADS = "five_planes/f1_macro", "head/dsc"


def cells_of(results, *models):
    cells = all_cells(results.read(), models)
    return {(cell.model, cell.column.name): cell for cell in cells}


def test_columns_are_those_of_the_papers_table():
    """Ten published columns less the joined one, each with the paper's four models."""
    tasks = [f"{column.experiment}/{column.metric}" for column in COLUMNS]
    assert set(published()) - set(tasks) == {"zero_shot/eight_classes/f1_macro"}
    assert [column.name for column in COLUMNS if column.private] == [
        *("probe CHD", "outlines abdomen", "outlines four-chamber")
    ]


@pytest.mark.parametrize(
    ("ours", "verdict", "reason"),
    [
        # Published: 0.9727 of 8,187 images. Half the interval over 1.96, times 1.96 + 0.84.
        ((0.9700, 0.9650, 0.9750), "reproduced", "could show 0.71 points"),
        ((0.9700, 0.9650, 0.9726), "differs", "could show 0.54 points"),
        ((0.9700, 0.9650, 0.9750, 814), "stand-in", "814 images in place of 8,187"),
    ],
)
def test_verdict_on_a_score_of_published_weights(results, ours, verdict, reason):
    results.save("01_zero_shot", "mine", {PLANES: results.score(*ours)}, published="fetalclip")
    cell = cells_of(results, "mine")["mine", "zero-shot planes"]
    assert (cell.verdict, cell.reason) == (verdict, reason)
    assert cell.score.value == ours[0] and cell.published.value == 0.9727
    # The model stands in the paper's row, which is not there a second time.
    assert {name for name, _ in cells_of(results, "mine")} == {"mine", *PAPER} - {"fetalclip"}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"synthetic": True}, "phantoms"),
        ({"known": None}, "unpublished"),
        ({"private": True}, "stand-in"),
        ({"unlike": "our sentences"}, "stand-in"),
        # Scoring the same answers again draws nothing: the interval is no excuse.
        ({"kind": "released", "unlike": "our sentences"}, "differs"),
        ({"kind": "released", "value": 0.97274}, "reproduced"),
        ({"kind": "released", "value": 0.97276}, "differs"),
        ({"synthetic": True, "known": None, "private": True}, "phantoms"),
    ],
)
def test_what_a_score_may_be_compared_with(results, given, verdict):
    options = {"known": published()["zero_shot/five_planes/f1_macro"]["fetalclip"]}
    options |= {"unlike": "", "private": False} | given
    row = {name: options.pop(name) for name in ("synthetic", "kind") if name in options}
    measured = results.score(options.pop("value", 0.97), 0.96, 0.98)["patient"]
    found, reason = judge(Row("m", {}, **row), measured, **options)
    assert found == verdict and found in MEANINGS and reason


def test_settings_unlike_the_papers_make_a_stand_in(results):
    unlike = {"unlike_paper": "1 run a fold"}
    found = {HEADS: results.score(0.98, 0.97, 0.99)}
    results.save("04_segmentation", "clip", found, published="clip", facts=unlike)
    cell = cells_of(results, "clip")["clip", "outlines head"]
    assert (cell.verdict, cell.reason) == ("stand-in", "1 run a fold")


def test_a_name_shows_nothing_of_the_weights(results):
    results.save("01_zero_shot", "fetalclip", {PLANES: results.score(0.97, 0.96, 0.98)})
    cells = cells_of(results, "fetalclip")
    assert cells["fetalclip", "zero-shot planes"].verdict == "unpublished"
    assert cells["fetalclip (published)", "zero-shot planes"].published.value == 0.9727


def test_an_empty_cell_says_why(results):
    results.save("01_zero_shot", "mine", {PLANES: results.score(0.9, 0.8, 1)})
    reasons = {"03_linear_probing": "no data", "models": {"mobilefetalclip": "no weights"}}
    results.leave_out(**reasons)
    cells = cells_of(results, "mine", "clip")
    empty = {
        ("mine", "zero-shot brain"): "chapter 01_zero_shot was not run with it",
        ("mine", "zero-shot age"): "chapter 02_gestational_age was not run",
        ("mine", "probe CHD"): "no data",
        ("clip", "zero-shot planes"): "chapter 01_zero_shot was not run with it",
        ("biomedclip", "zero-shot planes"): "not in the profile",
        ("mobilefetalclip", "outlines head"): "no weights",
    }
    assert {place: cells[place].reason for place in empty} == empty
    assert {cells[place].verdict for place in empty} == {"not run"}
    assert cells["clip", "outlines abdomen"].verdict == "private"
    assert all((cell.verdict in MEANINGS and cell.reason) for cell in cells.values())


def test_released_outputs_stand_beside_their_model(results):
    released = {"kind": "released", "subject": "released outputs"}
    results.save(
        "01_zero_shot", "FetalCLIP", {PLANES: results.score(0.97270, 0.96, 0.98)}, **released
    )
    cells = cells_of(results, "mine")
    title = "FetalCLIP (released outputs)"
    assert cells[title, "zero-shot planes"].verdict == "reproduced"
    assert cells["fetalclip", "zero-shot planes"].verdict == "not run"
    assert [task for name, task in cells if name == title] == ["zero-shot planes"]


def test_without_any_chapter_there_is_nothing_to_sum_up(results):
    with pytest.raises(ResultError, match="No chapter has results.*01_zero_shot.*run chapters"):
        results.read()
