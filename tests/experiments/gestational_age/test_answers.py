"""The chapter's steps on ten phantom heads and an untrained model."""

from dataclasses import replace

import numpy as np
import pytest

from fetalclip_nb.data.prompts import load_age_templates
from fetalclip_nb.data.released import AGE_SCRIPT, ENTRY
from fetalclip_nb.downloads.registry import Entry, file_hash, registered
from fetalclip_nb.errors import DownloadError, ParameterError
from fetalclip_nb.experiments.gestational_age import ages, answers, sentences, tables
from fetalclip_nb.growth import head_circumference
from fetalclip_nb.models import shipped_scores
from fetalclip_nb.models.similarity import normalise
from fetalclip_nb.paths import resolve
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.results.formats import with_interval
from fetalclip_nb.results.result_files import Row


@pytest.fixture(scope="module")
def heads(few_heads):
    table = few_heads.table.copy()
    table.loc[[2, 5], "hc_mm"] = [99.9, 342.0]
    return ages.Heads(replace(few_heads, table=table))


@pytest.fixture(scope="module")
def asked(heads, tiny_model, tmp_path_factory):
    frames = {name: some[:2] for name, some in load_age_templates().items()}
    frames["the authors' sentences"] = frames["templates"][:1]
    models = [tiny_model, replace(tiny_model, name="again")]
    folder = tmp_path_factory.mktemp("cache")
    return answers.ask(models, heads, frames, cache_dir=folder, batch_size=4, seed=0)


def test_heads_that_count_know_what_their_captions_need(heads, few_heads):
    assert len(heads) == 9 and heads.hc_mm.max() == 342
    row = few_heads.table.iloc[0]
    assert heads.spacings[0] == f"{max(row.width, row.height) / 224 * row.pixel_mm:.2f}"
    assert tables.counts(heads)["images"].tolist() == [10, 9]
    paths, titles = tables.by_circumference(heads, 3)
    assert [float(title.split(" mm")[0]) for title in titles] == sorted(heads.hc_mm.round())[::4]
    assert all(path.is_file() for path in paths)


def test_every_predictor_answers_for_every_head(asked, heads, tiny_model):
    assert list(asked.ages) == ["tiny", "again"] and asked.similarity["tiny"].shape == (9, 175)
    assert (asked.ages["tiny"] == ages.predict_age(asked.similarity["tiny"])).all()
    frames = load_age_templates()["templates"][:2]
    texts = ages.age_embeddings(tiny_model.encode_text, frames, heads.spacings[:1])
    found = tables_of(asked, heads)
    kinds = ["model"] * 2 + ["baseline"] * 2 + ["control"] * 3 + ["sentence"] * 7
    assert [kind for _, kind, *_ in found] == kinds
    assert all(set(scores["vpr"]) == {"patient", "image"} for *_, scores, _ in found)
    vpr = found[0][3]["vpr"]
    assert vpr["days"].tolist() == asked.ages["tiny"].tolist()
    assert vpr["part"].mean() == found[0][2]["vpr"]["image"].value
    assert vpr["image"].tolist() == heads.table["id"].tolist()
    constant = asked.baselines["constant age"]
    assert len(set(constant)) == 1 and found[2][0] == "constant age"
    assert found[2][2]["vpr"]["image"].value == ages.is_valid(constant, heads.hc_mm).mean()
    # The similarity is that of the head's own picture.
    vector = normalise(embedded_by_hand(tiny_model, heads.dataset.paths[0]))
    own = ages.age_similarity(vector, heads.spacings[:1], texts)
    assert asked.similarity["tiny"][0] == pytest.approx(own[0], abs=1e-3)


def test_frames_that_would_be_cut_are_refused_before_the_images(
    heads, tiny_model, tmp_path, monkeypatch
):
    monkeypatch.delattr("fetalclip_nb.experiments.gestational_age.answers.image_embeddings")
    frames = {"templates": ["head " * 200 + "{weeks} {days} {spacing}"], "unseen": []}
    with pytest.raises(ParameterError, match="sentences are longer than"):
        answers.ask([tiny_model], heads, frames, cache_dir=tmp_path, batch_size=4, seed=0)


def tables_of(asked, heads):
    return list(asked.scores(heads))


def embedded_by_hand(model, path):
    from fetalclip_nb.data.images import read_square

    return model.encode_images(model.preprocess(read_square(path))[None])


def test_tables_and_facts_are_those_of_the_answers(asked, heads):
    rows = {name: Row(name, found, synthetic=True) for name, _, found, _ in asked.scores(heads)}
    errors = tables.error_table(rows)
    days = np.sort(np.abs(asked.ages["tiny"] - ages.gestational_age(heads.hc_mm)))[4]
    assert errors.loc["tiny", ("age error (days)", "ours")] == f"{days:.1f}"
    shipped = shipped_scores("real_hc18")
    strata = tables.shipped_strata(shipped)
    rate = shipped["constant age"]["vpr/150-200"]
    assert strata.loc["constant age", "150-200 mm"] == with_interval(rate)
    facts = tables.facts(asked, heads, shipped)
    weeks, days = divmod(asked.baselines["constant age"][0], 7)
    assert facts["constant_age"] == f"{weeks} weeks and {days} days"
    assert (facts["images"], facts["counted"]) == (10, 9)


def test_worst_heads_come_first(heads):
    implied = heads.hc_mm.copy()
    implied[[1, 4]] *= 1.2, 0.7
    guesses = ages.gestational_age(implied)
    paths, titles = tables.worst_heads(guesses, heads, 2)
    assert paths == [heads.dataset.paths[row] for row in (4, 1)]
    assert titles[0] == f"{heads.hc_mm[4]:.0f} mm\nas {head_circumference(guesses[4]):.0f} mm"


def test_other_sentences_stand_beside_the_headline(asked, heads):
    kinds = {name: (kind, scores) for name, kind, scores, _ in asked.scores(heads)}
    rows = {name: Row(name, scores, kind=kind) for name, (kind, scores) in kinds.items()}
    others = ["paraphrases, averaged", "the authors' sentences, averaged"]
    assert list(tables.averaged(rows)) == ["tiny", *others]
    assert (asked.sentences["the authors' sentences, averaged"] == asked.sentences["frame 1"]).all()


def test_whose_sentences_ask_and_which_stand_beside(tmp_path, monkeypatch):
    assert list(sentences.load_frames("gestational_age", tmp_path)) == ["templates", "unseen"]
    script = tmp_path / AGE_SCRIPT
    script.parent.mkdir()
    script.write_text("ASKED = ['{weeks} w {day} d {pixel_spacing}', 'b {weeks} {day} {mm_pixel}']")
    theirs = ["{weeks} w {days} d {spacing}", "b {weeks} {days} {spacing}"]
    asked = sentences.load_frames(str(script), tmp_path)
    assert asked["templates"] == theirs
    assert asked["our sentences"] == load_age_templates()["templates"]
    assert sentences.deviation(str(script)) == "own sentences"
    with pytest.raises(DownloadError, match="not the registered one"):
        sentences.load_frames("gestational_age", tmp_path)
    entry = replace(registered(ENTRY).file(AGE_SCRIPT), hash=file_hash(script))
    monkeypatch.setattr(Entry, "file", lambda *_: entry)
    beside = sentences.load_frames("gestational_age", tmp_path)
    assert beside["the authors' sentences"] == theirs
    assert (sentences.whose(str(script)), sentences.deviation(str(script))) == ("the authors'", "")


def test_the_paper_profile_asks_with_the_authors_sentences(repository):
    paper = load_profile(repository / "profiles/paper.yaml")
    released = paper.data["released"].root
    assert resolve(paper.notebooks["02_gestational_age"]["age_templates"]) == released / AGE_SCRIPT
