"""The book's table of models: whole in the page, sorted and filtered by keys in a browser."""

import re

import numpy as np
import pandas as pd
import pytest

from atlas_page import chromium, page_without_network
from fetalclip_nb.experiments.summary.flat import flat_table

ROWS = 200
SCORE = "gestational_age/vpr"
NASTY = "<img src=x onerror=alert(1)>"


@pytest.fixture
def page(repository, monkeypatch):
    monkeypatch.syspath_prepend(repository / "book" / "_ext")
    import explorer_page

    return explorer_page


@pytest.fixture
def table(run):
    """Many models with scores that a test knows; every fourth has none of ages."""
    first = flat_table(run()).iloc[[0]]
    table = pd.concat([first] * ROWS, ignore_index=True).assign(rows="reference")
    values = np.random.default_rng(0).permutation(ROWS) / ROWS
    values[::4] = np.nan
    table[f"{SCORE}/value"] = values
    table["model"] = [f"model-{number:03}" for number in range(ROWS - 1)] + [NASTY]
    table["images"] = ["phantoms", "real"] * (ROWS // 2)
    table.loc[13, "images"] = "phantoms, real"
    return table


def test_a_row_that_is_the_same_twice_is_shown_once(page, table):
    two = table.iloc[:2]
    own = two.assign(rows="this book", commit="other", **{f"{SCORE}/value": [np.nan, 0.123]})
    found = page.joined(pd.concat([two, own])).reset_index(drop=True)
    assert found["rows"].tolist() == ["reference and this book", "reference", "this book"]


def test_a_page_holds_every_row_as_text_and_marks_phantoms(page, table):
    html = page.explorer(table)
    assert html.count("<tbody data-name") == ROWS and NASTY not in html
    assert html.count('<strong class="phantoms">phantoms</strong>') == ROWS / 2
    assert html.count('<strong class="phantoms">phantoms in part</strong>') == 1
    first = html[html.index('data-name="model-001"') :]
    assert f"{100 * table.loc[1, f'{SCORE}/value']:.1f}\n<small>0.0–100.0</small>" in first
    assert "weights of a" in first and "heads 2222" in first and "20 examinations" in first
    # A measure that no row has is no column.
    assert "zero-shot age (VPR)" in html and "probe CHD" not in html


def test_rows_are_sorted_and_filtered_by_keys_on_a_phone_without_network(
    repository, page, table, tmp_path
):
    static = repository / "book" / "_static"
    head = f"<meta charset=utf-8><style>{(static / 'explorer.css').read_text()}</style>"
    script = f"<script>{(static / 'explorer.js').read_text()}</script>"
    path = tmp_path / "page.html"
    path.write_text(f"<!doctype html>{head}<title>t</title>{page.explorer(table)}{script}", "utf-8")
    phone = {"viewport": {"width": 390, "height": 800}}
    with chromium() as browser, page_without_network(browser, path.as_uri(), **phone) as shown:
        names = shown.locator(".box > table > tbody:not([hidden]) > tr > th")

        def order():
            return [re.sub(" phantoms.*", "", text) for text in names.all_text_contents()]

        def column(name):
            return shown.locator(".box > table > thead th", has_text=name)

        def ordered(*, rising):
            known = table.sort_values(f"{SCORE}/value", ascending=rising, na_position="last")
            return known["model"].tolist()

        assert order() == table["model"].tolist()
        age = column("zero-shot age")
        age.locator("button").focus()
        for rising, said in ((False, "descending"), (True, "ascending")):
            shown.keyboard.press("Enter")
            assert age.get_attribute("aria-sort") == said
            # Of equal or no scores the order is the file's.
            assert order() == ordered(rising=rising)
        column("model").locator("button").press("Enter")
        assert order()[1:] == sorted(table["model"])[1:]
        assert age.get_attribute("aria-sort") is None

        shown.get_by_label("Name contains").fill("MODEL-01")
        assert order() == [f"model-01{number}" for number in range(10)]
        assert shown.locator("output").text_content() == f"10 of {ROWS} rows"
        shown.get_by_label("Images").select_option("real")
        assert order() == [f"model-01{number}" for number in (1, 5, 7, 9)]
        shown.get_by_label("Name contains").fill("")
        shown.get_by_label("Images").select_option("")
        shown.get_by_label("Measure").select_option(label="zero-shot age (VPR)")
        assert len(order()) == table[f"{SCORE}/value"].notna().sum()
        assert not column("zero-shot planes").is_visible() and age.is_visible()

        details = shown.locator("details").nth(2)
        details.locator("summary").focus()
        shown.keyboard.press("Enter")
        assert details.get_by_text("weights of a").is_visible()
        width = shown.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, "the page scrolls sideways"
