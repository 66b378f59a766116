"""Few-data training by hand-made vectors, and runs that were cut short."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.experiments.few_data import curves as few_data
from fetalclip_nb.experiments.few_data import tables
from fetalclip_nb.experiments.few_data.crossing import crossing
from fetalclip_nb.experiments.few_data.curves import class_logits, support_sizes
from fetalclip_nb.experiments.linear_probing import fit
from fetalclip_nb.experiments.linear_probing.probe import Encoded, fit_probes
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe
from fetalclip_nb.results import protocol
from fetalclip_nb.stats.runs import run_scores
from fetalclip_nb.stats.scores import RunScores, Score
from fetalclip_nb.tasks.items import Task, image_items
from fetalclip_nb.tasks.own_splits import own_supports
from fetalclip_nb.tasks.splits import Fold, Split
from helpers import images_of

SENTENCES = {"a": ["first", "second"], "b": ["third"], "c": ["fourth"], "d": ["fifth"]}
VECTORS = {
    "first": [1, 0, 0],
    "second": [0, 1, 0],
    "third": [0, 2, 0],
    "fourth": [0, 0, 3],
    "fifth": [4, 0, 0],
}


def words(sentences):
    return np.array([VECTORS[sentence] for sentence in sentences], dtype=np.float32)


def found(value):
    return RunScores(np.array([value]), Score(value, value - 0.1, value + 0.1, value, 8, 4))


# Parameters


@pytest.mark.parametrize(
    ("text", "sizes"), [("2", [2]), ("1,4", [1, 4]), (" 2 , 16,32", [2, 16, 32])]
)
def test_support_sizes_are_read(text, sizes):
    assert support_sizes(text) == sizes


@pytest.mark.parametrize(
    "text", ["", "2,", "0, 2", "4, 2", "2, 2", "2; 4", "2.5", "-2", "two", "²", "\u0662", "2 4"]
)
def test_support_sizes_that_cannot_be_read_are_refused(text):
    with pytest.raises(ParameterError, match="from 1 up, .*2, 4, 8. Found: '" + re.escape(text)):
        support_sizes(text)


# Zero-shot


def test_sentences_of_the_tasks_classes_score_by_cosine():
    images = np.array([[0, 5, 0], [3, 3, 0], [0, 0, 0.1]], np.float32)
    logits = class_logits(images, words, SENTENCES, ["c", "b", "a"])
    half = 100 / np.sqrt(2)
    expected = [[0, 100, half], [0, half, 100], [100, 0, 0]]
    assert logits.shape == (1, 3, 3)
    assert logits[0] == pytest.approx(np.array(expected), abs=1e-3)


def test_other_takes_the_probability_of_all_remaining_sentences():
    images = np.array([[1, 0, 0], [1, 1.01, 0.99], [0, 0.2, 1]], np.float32)
    logits = class_logits(images, words, SENTENCES, ["other", "a", "b"])[0]
    unit = images / np.linalg.norm(images, axis=1, keepdims=True)
    classes = np.array([[0.5**0.5, 0.5**0.5, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    every = np.exp(100 * unit @ classes.T - 60)
    every /= every.sum(1, keepdims=True)
    mine = np.exp(logits - 60)
    mine /= mine.sum(1, keepdims=True)
    expected = np.stack([every[:, 2] + every[:, 3], every[:, 0], every[:, 1]], 1)
    assert mine == pytest.approx(expected, rel=1e-3, abs=1e-12)
    assert (mine[1] > 0.01).sum() == 1 and mine[0, 0] == pytest.approx(1)


def test_other_with_sentences_of_its_own_takes_no_others():
    images = np.eye(3, dtype=np.float32)
    own = SENTENCES | {"other": ["third"]}
    logits = class_logits(images, words, own, ["other", "b"])[0]
    assert np.array_equal(logits[:, 0], logits[:, 1])


# Sizes and curves


def task_of(items, supports):
    return Task(Dataset("manifest", Path("somewhere"), items.table, False, "0"), items, supports)


def test_curves_hold_every_score_at_every_size(tmp_path):
    items, encoded, supports = small_task(0)
    task = task_of(items, supports)
    logits = few_probes(0, encoded, items, supports, tmp_path).logits(encoded.plain[task.tested])
    spoken = {("clip", "zero-shot", "letters"): logits[:1]}
    tasks = {"letters": task}
    curves = few_data.score_curves({("clip", "linear probe", "letters"): logits}, tasks)
    assert list(curves["clip", "letters"]) == [2, 4]
    expected = run_scores(logits[3 * RUNS :], *task.truth, sets=supports[4].sets)
    found = curves["clip", "letters"][4]
    assert found.keys() == expected.keys()
    assert found["f1_macro"].score == expected["f1_macro"].score
    zero = few_data.score_zero_shot(spoken, tasks)
    assert zero["clip", "letters"]["ece"].score == run_scores(logits[:1], *task.truth)["ece"].score
    runs = tables.runs_table(curves, tasks)
    assert set(runs["task"]) == {"letters_2", "letters_4"}
    said = few_data.plane_answers({("clip", "linear probe", "letters"): logits}, spoken, tasks)
    assert list(said["clip"]) == [f"letters_{n}/f1_macro" for n in (2, 4, "zero_shot")]
    names = np.array(items.classes)[logits[3 * RUNS :].argmax(-1)]
    last = said["clip"]["letters_4/f1_macro"]
    assert last["predicted"].tolist() == names.ravel().tolist()
    assert last["run"].max() == 3 * RUNS - 1


def test_untrained_models_are_not_asked_how_many_patients_beat_them(tmp_path):
    items, encoded, supports = small_task(0)
    task = task_of(items, supports)
    logits = few_probes(0, encoded, items, supports, tmp_path).logits(encoded.plain[task.tested])
    models = ("clip", "clip-untrained")
    probes = {(model, "linear probe", "letters"): logits for model in models}
    spoken = {(model, "zero-shot", "letters"): logits[:1] for model in models}
    needed = few_data.patients_needed(probes, spoken, {"letters": task})
    assert list(needed) == [("letters", "clip")] and needed["letters", "clip"].sets == 3


def test_what_figures_tables_and_files_take_is_named_by_size_task_and_model():
    points = {2: {"f1_macro": found(0.3), "ece": found(0.2)}, 16: {"f1_macro": found(0.6)}}
    curves = {("x", "brain"): points, ("y", "brain"): {4: points[2]}, ("x", "planes"): points}
    zero = {key: {"f1_macro": found(0.5)} for key in curves}
    table = tables.size_table(curves, zero)
    assert table.columns.tolist() == ["2 patients", "4 patients", "16 patients", "zero-shot"]
    assert table.loc[("brain", "x")].tolist() == [
        "30.0 (20.0–40.0)",
        "",
        "60.0 (50.0–70.0)",
        "50.0 (40.0–60.0)",
    ]
    saved = {}
    few_data.save_scores(
        lambda model, results, **where: saved.update({model: (results, where)}),
        curves,
        zero,
        {"x": {"said": 1}, "y": {}},
        subject="s",
    )
    results, where = saved["x"]
    names = ["brain_2/f1_macro", "brain_2/ece", "brain_16/f1_macro", "brain_zero_shot/f1_macro"]
    assert list(results)[:4] == names and len(results) == 8
    assert results["brain_2/ece"] == {"patient": found(0.2).score}
    assert where == {"subject": "s", "answers": {"said": 1}}


def test_facts_are_of_the_headline_model_and_of_heads_if_there_are_any():
    items, _, supports = small_task(0)
    task = task_of(items, supports)
    points = {2: {"f1_macro": found(0.3)}, 16: {"f1_macro": found(0.6)}}
    always = crossing([2, 16], np.ones((3, 2)), 0.5)
    settings = {"copies": 10, "runs": 5, "epochs": 100, "probe_batch": 8}
    facts = tables.facts(
        {"six_planes": task}, {("x", "six_planes"): points}, {("six_planes", "x"): always},
        settings, "x",
    )  # fmt: skip
    assert facts["largest_six_planes"] == 16
    assert facts["largest_f1_six_planes"] == "60.0 (50.0–70.0) %"
    assert facts["needed_six_planes"] == "at most 2" and facts["probes_six_planes"] == 2
    assert facts["unlike_paper"] == "own split, 8 probe_batch"
    assert tables.head_facts(None, {}, "", "x") == {
        "heads_sentence": "No heads were outlined in this run.",
        "heads_unlike_paper": "no heads were given",
    }
    heads = {("x", "head"): {1: {"dsc": found(0.5)}, 4: {"dsc": found(0.8)}}}
    told = tables.head_facts(task, heads, "", "x")
    assert "50.0 (40.0–60.0) % after 1 training patient, 80.0" in told["heads_sentence"]
    assert told["heads_unlike_paper"] == "nothing"
    table = tables.head_table(heads)
    assert table.loc["x"].tolist() == ["50.0 (40.0–60.0)", "80.0 (70.0–90.0)"]


def test_zero_shot_speaks_of_the_items_that_support_sets_leave(tiny_model, tmp_path):
    labels = np.resize(["abdomen", "femur", "femur"], 80)
    data = images_of([f"p{i % 20:02d}" for i in range(80)], labels)
    items = image_items("planes", data, ("abdomen", "femur"))
    tasks = few_data.support_tasks(
        {"planes": items}, data, "own", tmp_path, sizes=("2, 4",), sets=3, seed=0
    )
    sides = tables.support_table(tasks)
    assert sides.index.tolist() == [("planes", 2), ("planes", 4)]
    assert sides["train items"].to_numpy().tolist() == [[8, 8], [16, 16]]
    features = {("tiny", "planes"): Encoded(np.ones((80, 16), np.float32), None)}
    sentences = {"planes": load_prompts("planes")}
    spoken = few_data.zero_shot_logits([tiny_model], features, tasks, sentences, cache_dir=tmp_path)
    tested = sides["test items", "max"].iloc[0]
    assert spoken["tiny", "zero-shot", "planes"].shape == (1, tested, 2)


# Patients needed


def test_patients_needed_are_read_off_between_the_sizes_around_zero_shot():
    # Every patient has one image of each class and every probe errs on the same images of all
    # patients: each resample gives the same score, so that the crossing is known by hand.
    n = 12
    data = images_of(np.repeat([f"t{i:02d}" for i in range(n)], 4), list("aabb") * n)
    items = image_items("letters", data, ("a", "b"))
    split = Split("own", tuple(sorted(set(items.table["patient"]))), (Fold((), ()),))
    right = items.targets
    chance = np.tile([0, 1, 0, 1], n)
    one_wrong = np.tile([0, 1, 1, 1], n)

    def logits(*guesses):
        return np.stack([np.eye(2)[guess] for guess in guesses])

    # Macro F1: 0.5 by chance; with one of four wrong 2/3 and 4/5.
    middle = (2 / 3 + 4 / 5) / 2

    def needed(level, *sized):
        splits = dict(zip((2, 8, 32), [split] * len(sized), strict=False))
        probes = {("m", "linear probe", "letters"): np.concatenate(sized)}
        tasks = {"letters": task_of(items, splits)}
        [(key, found)] = few_data.patients_needed(
            probes, {("m", "zero-shot", "letters"): level}, tasks
        ).items()
        assert key == ("letters", "m")
        return found

    # Two probes of one set: with two sets, draws of them would move the crossing.
    sized = (logits(chance, chance), logits(chance, right), logits(right, right))
    found = needed(logits(one_wrong), *sized)
    # At 8 patients the mean of 0.5 and 1 is 0.75, above 0.7333; the way there starts at 0.5.
    exponent = 1 + (middle - 0.5) / 0.25 * 2
    assert found.median == np.floor(2**exponent) + 1
    assert found.low == found.median == found.high
    assert found.sizes == (2, 32)
    assert needed(logits(right), sized[0]).texts[0] == "more than 2"
    assert needed(logits(chance), sized[2]).texts[0] == "at most 2"


# Runs that are cut short

RUNS, SIZES = 2, (2, 4)
MODELS, TASKS = ("clip", "other"), (0, 1)


def small_task(number, model=0):
    """Items of 20 patients, features with two copies, support sets; always the same ones."""
    rng = np.random.default_rng(number)
    data = images_of([f"p{i % 20:02d}" for i in range(80)], rng.choice(list("abc"), size=80))
    items = image_items(f"task{number}", data, ("a", "b", "c"))
    features = np.random.default_rng([number, model]).normal(size=(3, 80, 6)).astype(np.float32)
    features[:, np.arange(80), items.targets] += 1
    supports = own_supports(items.table, SIZES, seed=0, sets=3)
    return items, Encoded(features[0], features[1:]), supports


def few_probes(number, encoded, items, supports, cache_dir, epochs=3):
    rate = (0.01, 0.02)[number]
    recipe = ProbeRecipe(learning_rate=rate, batch_size=4, epochs=epochs, runs=RUNS)
    task = Task(None, items, supports)
    return fit_probes(encoded, task, recipe, 0, cache_dir, "cpu")


def chapter(cache_dir):
    """Two models on two tasks as the chapter trains and scores them: its table of all probes."""
    scores, drawn = {}, {}
    for model, name in enumerate(MODELS):
        for task in TASKS:
            items, encoded, supports = small_task(task, model)
            probes = few_probes(task, encoded, items, supports, cache_dir)
            tested = task_of(items, supports)
            logits = probes.logits(encoded.plain[tested.tested])
            key = (name, "linear probe", items.name)
            curve = few_data.score_curves({key: logits}, {items.name: tested})[name, items.name]
            scores |= {(name, f"{items.name}_{n}"): found for n, found in curve.items()}
            drawn |= {f"{items.name}_{n}": split for n, split in supports.items()}
    return protocol.runs_table(scores, drawn)


@pytest.fixture
def trainings(monkeypatch):
    """Counts real trainings; the one numbered in ``stop`` is interrupted."""
    log = {"done": 0, "stop": None}
    train = fit.train_probes

    def counted(*given, **settings):
        if log["done"] == log["stop"]:
            raise KeyboardInterrupt
        probes = train(*given, **settings)
        log["done"] += 1
        return probes

    monkeypatch.setattr(fit, "train_probes", counted)
    return log


def test_interrupted_chapter_goes_on_with_the_next_model_and_task(tmp_path, trainings):
    trainings["stop"] = 2
    with pytest.raises(KeyboardInterrupt):
        chapter(tmp_path / "cut short")
    assert trainings["done"] == 2
    trainings.update(done=0, stop=None)
    table = chapter(tmp_path / "cut short")
    assert trainings["done"] == 2
    whole = chapter(tmp_path / "whole")
    assert trainings["done"] == 2 + 4
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    probes = len(MODELS) * len(TASKS) * len(SIZES) * 3 * RUNS
    assert (table["score"] == "f1_macro").sum() == probes
    assert table.groupby(["task", "model", "score"])["value"].nunique().max() > 1
    chapter(tmp_path / "whole")
    assert trainings["done"] == 2 + 4


KILLED = """
import sys, time
from pathlib import Path
from fetalclip_nb.experiments.linear_probing import training
from test_curves import chapter, few_probes, small_task

passes, one_pass = 0, training._Stack.train_epoch

def train_epoch(stack, epoch):
    global passes
    one_pass(stack, epoch)
    passes += 1
    if passes == 3 + 2:  # in the second training, after two of its three epochs
        print("in the middle", flush=True)
        time.sleep(60)

training._Stack.train_epoch = train_epoch
chapter(Path(sys.argv[1]))
"""


def test_killed_training_leaves_nothing_behind_but_finished_heads(tmp_path, trainings):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as process:
        assert process.stdout.readline() == "in the middle\n"
        process.kill()
    assert process.returncode == -9
    assert len(list((tmp_path / "probes").glob("*.npz"))) == 1
    table = chapter(tmp_path)
    assert trainings["done"] == 3
    pd.testing.assert_frame_equal(table, chapter(tmp_path / "whole"))
    items, encoded, supports = small_task(1)
    again = few_probes(1, encoded, items, supports, tmp_path)
    fresh = few_probes(1, encoded, items, supports, tmp_path / "fresh")
    for name, array in vars(fresh).items():
        assert np.array_equal(getattr(again, name), array)
