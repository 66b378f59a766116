"""Tables and picture of the summary, made of the cells alone."""

import numpy as np

from fetalclip_nb.experiments.summary import figures, tables
from fetalclip_nb.experiments.summary.cells import all_cells
from fetalclip_nb.results.published import context

PLANES, STOMACH = "five_planes/f1_macro", "abdomen/dsc/stomach"


def run(results, **kwargs):
    results.save("01_zero_shot", "mine", {PLANES: results.score(0.97, 0.965, 0.975)}, **kwargs)
    results.save(
        "04_segmentation", "mine", {STOMACH: results.score(0.8, 0.75, 0.85)}, subject="abdomen"
    )
    chapters = results.read()
    return chapters, all_cells(chapters, ["mine"])


def test_a_cell_is_shown_with_its_difference_in_points(results):
    _, cells = run(results, published="fetalclip")
    texts = tables.cell_table(cells, "zero-shot").data.loc[("zero-shot planes (F1)", "mine")]
    assert texts.tolist()[:5] == ["97.00", "96.50–97.50", "97.27", "-0.27", "8,187"]
    saved = tables.saved_table(cells)
    assert len(saved) == len(cells) == 36
    assert saved["value"].count() == 1 and saved["published"].count() == 36
    assert tables.verdicts(cells) == "Of 36 cells: reproduced 1, private 12, not run 23."


def test_phantoms_get_no_difference(results):
    _, cells = run(results, published="fetalclip", synthetic=True)
    texts = tables.cell_table(cells, "zero-shot").data.loc[("zero-shot planes (F1)", "mine")]
    assert texts["difference"] == "–" and texts["verdict"] == "phantoms"


def test_a_users_reason_is_shown_as_text(results):
    results.leave_out(models={"own": "<b>&"})
    _, cells = run(results)
    assert "&lt;b&gt;&amp;" in tables.cell_table(cells, "zero-shot").to_html()
    none = tables.cell_table(cells, "chapters that were not asked for")
    assert none == "No chapter of this run has such scores."


def test_medians_are_never_shown_as_exact(results):
    chapters, _ = run(results)
    shown = tables.median_table(chapters, "mine")
    medians = [each for found in context()["medians"].values() for each in found.items()]
    assert len(shown) == len(medians) == 22
    row = shown.loc["abdomen, stomach (DSC)"]
    assert row["mine"] == "80.0 (75.0–85.0)" and row["fetalclip"] == "≈ 83"
    for (_, values), (_, texts) in zip(medians, shown.iterrows(), strict=True):
        assert len(values) == 4
        for value, text in zip(values, texts.iloc[1:], strict=True):
            assert abs(float(text.removeprefix("≈ ")) - 100 * value) <= 0.51


def test_later_scores_have_a_source(results):
    _, cells = run(results)
    shown = tables.later_table(cells, "mine").data
    assert shown.groupby("model").size().to_dict() == {
        "mobilefetalclip": 5,
        "fetalclip": 2,
        "usfm": 2,
    }
    assert shown["source"].str.len().min() > 10
    assert (((values := shown["published"].astype(float)) > 0) & (values < 100)).all()
    assert shown["source"].str.contains("African").sum() == 2


def test_african_planes_stand_beside_the_same_use_alone(results):
    away = {"african_planes/f1_macro": results.score(0.9, 0.8, 0.95, 450)}
    about = {"subject": "African planes", "synthetic": True}
    other = {"african_planes/f1_macro": results.score(0.99, 0.98, 1, 450)}
    results.save("03_linear_probing", "mine", other, reader="nearest neighbours", **about)
    results.save("03_linear_probing", "mine", away, order=1, **about)
    chapters, cells = run(results)
    shown = tables.later_table(cells, "mine", chapters).data.set_index("published")
    assert shown["mine, phantoms"].to_dict()["97.31"] == "90.0 (80.0–95.0)"
    assert set(shown.loc[["92.61", "94.76", "95.15"], "mine, phantoms"]) == {"–"}


def test_what_a_cell_was_made_with(results):
    _, cells = run(results)
    shown = tables.provenance_table(cells)
    row = ["mine", "zero-shot planes", "1.5", "cpu", "f00", "beef", "c0ffee", 1]
    assert shown.data.to_numpy().tolist() == [row]
    assert shown.caption == "Versions 1: Python 3.11, torch 2"


def test_many_models_have_room_for_their_numbers(results):
    for name in "abcdefgh":
        results.save("01_zero_shot", name, {PLANES: results.score(0.9, 0.8, 1)})
    figure = figures.heat_map(all_cells(results.read(), [*"abcdefgh"]))
    figure.canvas.draw()
    for axis in figure.axes:
        cell = axis.transData.transform((1, 0))[0] - axis.transData.transform((0, 0))[0]
        assert max(text.get_window_extent().width for text in axis.texts) < cell


def test_the_heat_map_shows_each_score_once_and_a_dash_elsewhere(results):
    _, cells = run(results, synthetic=True)
    ours, theirs = figures.heat_map(cells).axes
    texts = [text.get_text() for text in ours.texts]
    assert texts == ["97.0", *["–"] * 8] and ours.get_title() == "this run, phantoms"
    values = np.array([float(text.get_text()) for text in theirs.texts])
    assert values.size == 36 and values.min() == 9.0 and values.max() == 97.9
