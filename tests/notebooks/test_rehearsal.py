"""The paper's whole profile at a size for two cores: data, models, chapters, summary, book."""

import json

import pandas as pd
import pytest
import rehearsal

import published_models


@pytest.fixture(scope="module")
def made(shared_data, repository):
    """What the rehearsal leaves; it goes on where an earlier one was stopped."""
    assert rehearsal.run(shared_data / "fetalclip") == 0
    return repository / "build" / "rehearsal"


def test_every_cell_has_a_value_or_a_reason(made):
    cells = pd.read_parquet(made / "results" / "09_summary" / "cells.parquet")
    of = cells[cells["model"].isin(published_models.NAMES)]
    assert len(of) == (9 + 2) * len(published_models.NAMES)  # and African planes
    assert (of["value"].notna() | (of["reason"] != "")).all()
    assert set(of.loc[of["value"].notna(), "verdict"]) == {"phantoms"}
    ran = of[of["value"].notna()].groupby("task")["model"].agg(set)
    # Nobody but the authors has clips of heart disease and masks of organs.
    assert len(ran) == 6 + 2 and all(models == set(published_models.NAMES) for models in ran)
    private = of[of["value"].isna()]
    assert set(private["verdict"]) == {"private"}


def test_encoders_without_text_have_a_value_or_say_why_not(made):
    cells = pd.read_parquet(made / "results" / "09_summary" / "cells.parquet")
    for name in published_models.IMAGE_ONLY:
        of = cells[cells["model"] == name].set_index("task")
        spoken = of.index.str.startswith("zero-shot")
        assert set(of.loc[spoken, "reason"]) == {"model reads no text"}
        assert {"probe planes (F1)", "outlines head (DSC)", "probe African planes (F1)"} <= {
            *of.index[of["value"].notna()]
        }
    abroad = cells[cells["task"] == "zero-shot African planes (F1)"].set_index("model")["value"]
    assert abroad[[*published_models.NAMES]].notna().all()


def test_the_authors_splits_and_released_outputs_are_used(made):
    facts = json.loads((made / "results" / "03_linear_probing" / "facts.json").read_text("utf-8"))
    assert (facts["split"], facts["test_patients"]) == ("official", 896)
    cells = pd.read_parquet(made / "results" / "09_summary" / "cells.parquet")
    released = cells[cells["reason"].str.startswith("the authors' answers")].set_index("task")
    assert released["verdict"].to_dict() == {
        "zero-shot planes (F1)": "reproduced",
        "zero-shot brain (F1)": "differs",  # erratum 2
        "zero-shot age (VPR)": "reproduced",
    }


def test_the_book_of_it_is_built_and_says_what_it_is(made):
    page = (made / "book" / "_build" / "html" / "notebooks" / "09_summary.html").read_text("utf-8")
    assert "random weights" in page and "97.27" in page
