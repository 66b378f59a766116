import json

import pytest

from fetalclip_nb.data import prompts
from fetalclip_nb.data.fetal_planes import BRAIN_SUBPLANES, FIVE_PLANES
from fetalclip_nb.errors import DataError
from helpers import AGE_SCRIPT


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
        ('{"a": [" "], "b": [["c"]]}', "without a list of sentences.*Found: a, b"),
        ('{"a": ["f\xf6tus"]}', "no JSON.*utf-8.*save it as UTF-8"),
        ('{"a": ["\\ud800"]}', "no JSON.*surrogates"),
        ("[" * 100_000, "no JSON.*recursion"),
        ("9" * 5000, "no JSON.*digits"),
        ('{"head": ["a"], "femur": ["b"], " Head": ["c"]}', "stand twice.*Found: 'head'.*once"),
        ('{"": ["a"], "femur": ["b"]}', "empty or stand twice.*Found: ''"),
    ],
)
def test_bad_prompt_files(tmp_path, content, message):
    path = tmp_path / "p.json"
    path.write_text(content, "cp1252")
    with pytest.raises(DataError, match=message) as caught:
        prompts.load_prompts(path)
    assert "p.json" in str(caught.value) and "What to do" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_prompt_files_in_unicode_are_read_whatever_their_mark(tmp_path, encoding):
    path = tmp_path / "p.json"
    path.write_text('{"head": ["f\xf6tus", "胎儿"]}', encoding)
    assert prompts.load_prompts(path) == {"head": ["f\xf6tus", "胎儿"]}


@pytest.mark.parametrize("unseen", [7, "text", {"a": 1}, [7], [""], [["a"]]])
def test_templates_of_another_form_are_refused(tmp_path, unseen):
    path = tmp_path / "t.json"
    frame = "{weeks} {days} {spacing}"
    path.write_text(json.dumps({"templates": [frame], "unseen": unseen}))
    with pytest.raises(DataError, match=r"another form.*t\.json"):
        prompts.load_age_templates(path)
    path.write_text(json.dumps({"templates": [frame], "unseen": []}))
    assert prompts.load_age_templates(path) == {"templates": [frame], "unseen": []}


FRAMES = [
    "A head at {weeks} weeks, {days} days, {spacing} mm.",
    "{spacing} mm a pixel at {weeks}+{days}",
]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("    'A head", "    f'A head"),
        ("{week}", "{ga_weeks!s}"),
        ("{weeks} weeks, {day} days, '\n    '{pixel_spacing}", "{} weeks, {} days, '\n    '{}"),
        ("{weeks} weeks, {day} days, '\n    '{pixel_spacing}", "{0} weeks, {1} days, {2}' '"),
        ("PROMPTS = [", "def prompts():\n  return ["),
    ],
)
def test_the_sentences_of_a_script_are_read_and_not_run(tmp_path, old, new):
    path = tmp_path / "ages.py"
    path.write_text(AGE_SCRIPT.replace(old, new))
    assert old in AGE_SCRIPT and prompts.load_age_templates(path) == {
        "templates": FRAMES,
        "unseen": [],
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("PROMPTS = [", "PROMPTS = ['no field', ", "not one list.*Found: 0 such lists.*as JSON"),
        ("PROMPTS = [", "PROMPTS = [name, ", "Found: 0 such lists"),
        ("OTHERS = [", "OTHERS = ['{weeks} {day} {mm}'], [", "Found: 2 such lists"),
        ("{day}", "{hour}", "lack a field or have others.*Found: 'A head at {weeks} weeks, {hour}"),
        ("{day}", "{weekday}", "lack a field or have others"),
        ("{day}", "{weeks}", "lack a field or have others"),
        ("PROMPTS = [", "PROMPTS = [[", r"cannot be read.*ages\.py.*line"),
    ],
)
def test_a_script_without_clear_sentences_is_refused(tmp_path, old, new, message):
    path = tmp_path / "ages.py"
    path.write_text(AGE_SCRIPT.replace(old, new))
    with pytest.raises(DataError, match=message):
        prompts.load_age_templates(path)


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
    path.write_text(json.dumps({"templates": ["{Weeks:d} w {day} d {mm_pixel}"]}))
    assert prompts.load_age_templates(path)["templates"] == ["{weeks} w {days} d {spacing}"]
    with pytest.raises(DataError, match=r"missing.*ages\.py.*or a \.py script"):
        prompts.load_age_templates(tmp_path / "ages.py")
