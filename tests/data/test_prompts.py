import json

import pytest

from fetalclip_nb.data import prompts
from fetalclip_nb.data.fetal_planes import BRAIN_SUBPLANES, FIVE_PLANES
from fetalclip_nb.errors import DataError


def test_our_sets_have_five_sentences_for_every_class_of_the_tasks():
    planes, brain = prompts.load_prompts("planes"), prompts.load_prompts("brain")
    assert set(FIVE_PLANES) < set(planes) and len(planes) == 9
    assert set(brain) == set(BRAIN_SUBPLANES)
    assert all(len(set(sentences)) == 5 for sentences in (planes | brain).values())


def test_our_sentences_are_not_the_authors_sentences(shared_data):
    folder = shared_data / "fetalclip" / "zero_shot_planes_db"
    for name, ours in (("five_planes", "planes"), ("brain_subplanes", "brain")):
        theirs = json.loads((folder / f"test_{name}_prompts.json").read_text())
        known = {s.lower().strip(" .") for sentences in theirs.values() for s in sentences}
        own = [s.lower().strip(" .") for v in prompts.load_prompts(ours).values() for s in v]
        assert not known & set(own)


def test_age_templates_fill_in_weeks_days_and_spacing():
    frames = prompts.load_age_templates()
    assert len(frames["templates"]) == len(frames["unseen"]) == 5
    assert not set(frames["templates"]) & set(frames["unseen"])
    for frame in frames["templates"]:
        sentence = prompts.age_sentence(frame, 20 * 7 + 3, "0.47")
        assert all(part in sentence for part in ("20", "3", "0.47"))
        assert "{" not in sentence


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "another form"),
        ('{"a": "one sentence"}', "without a list of sentences.*Found: a"),
        ('{"a": []}', "without a list of sentences"),
    ],
)
def test_bad_prompt_files(tmp_path, content, message):
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        prompts.load_prompts(path)
    for part in ("p.json", '{"class": ["sentence", ...], ...}', "What to do"):
        assert part in str(caught.value)


def test_missing_file_and_missing_field(tmp_path):
    with pytest.raises(DataError, match="missing.*planes or brain"):
        prompts.load_prompts("hearts")
    with pytest.raises(DataError, match="planes or brain") as caught:
        prompts.load_prompts("gestational_age")
    assert "gestational_age" not in str(caught.value).split("Expected")[1]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"templates": ["{weeks} weeks, {spacing} mm"]}))
    with pytest.raises(DataError, match=r"lack a field.*\{days\}"):
        prompts.load_age_templates(path)
