"""Every pair of models, on the same patients, corrected together."""

import numpy as np
import pytest

from fetalclip_nb.experiments.summary.comparisons import compare_models, ranking
from fetalclip_nb.stats.answers import answer_table
from fetalclip_nb.stats.differences import holm

AGE = "02_gestational_age"


def table(right):
    """Answers for 40 heads of 20 patients, of which the first so many are right."""
    heads = np.arange(40)
    part = (heads < right).astype(int)
    return answer_table(heads.astype(str), (heads // 2).astype(str), part=part, whole=part**0)


def test_every_pair_of_models_is_compared_and_all_are_corrected(results):
    right = {"a": 38, "b": 10, "c": 8}
    results.answer(AGE, {model: table(n) for model, n in right.items()})
    found = compare_models(results.read())
    assert [(each.model, each.other) for each in found] == [("b", "a"), ("c", "a"), ("c", "b")]
    for each in found:
        gap = (right[each.model] - right[each.other]) / 40
        assert each.difference.value == pytest.approx(gap) and each.difference.groups == 20
    raw = [each.difference.p for each in found]
    assert [each.p for each in found] == holm(raw).tolist()
    assert [each.decided for each in found] == [True, True, False]
    said = ranking(found)
    assert said.startswith("The data decide 2 of 3 comparisons, corrected together.")
    assert said.endswith("Better than every other model: a in zero-shot age.")


def test_a_saved_difference_is_taken_and_others_are_made_in_the_same_way(results):
    tables = {"a": table(30), "b": table(10)}
    results.answer(AGE, tables)
    saved = compare_models(results.read())[0].difference
    # Without what the chapter has saved, the answers give the same.
    results.answer(AGE, {"a": tables["a"]})
    row = results.save(AGE, "b", {"vpr": results.read().rows[AGE]["b"].scores["vpr"]}, order=1)
    assert not row.differences
    assert compare_models(results.read())[0].difference == saved


def test_the_best_is_told_from_every_other_model_or_none_is(results):
    results.answer(AGE, {model: table(n) for model, n in {"a": 37, "b": 38, "c": 8}.items()})
    found = compare_models(results.read())
    assert [each.decided for each in found] == [False, True, True]
    assert ranking(found).endswith("No model is told from all others in: zero-shot age.")


def test_ties_are_left_open_and_other_images_are_not_compared(results):
    results.answer(AGE, {"a": table(20), "b": table(20)})
    said = ranking(compare_models(results.read()))
    assert said.endswith("No model is told from all others in: zero-shot age.")
    results.answer(AGE, {"a": table(20), "b": table(20).iloc[:30]})
    assert "no ranking is tested" in ranking(compare_models(results.read()))
