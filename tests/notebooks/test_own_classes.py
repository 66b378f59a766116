"""Two classes, thirty classes: the chapters as they are, by parameters alone."""

import json

import pandas as pd
import pytest

from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.errors import DataError
from fetalclip_nb.experiments.linear_probing import class_tasks
from fetalclip_nb.results.result_files import load_facts, load_results
from fetalclip_nb.workflow import gate, runner
from helpers import write_image

NONE = {"hc18_root": "", "abdomen_root": "", "heart_root": ""}
PARAMETERS = {
    "01_zero_shot": {},
    "03_linear_probing": {"chd_root": "", "folds": 2, "runs": 1, "copies": 0, "epochs": 2},
    "05_few_data": {"hc18_root": "", "plane_sizes": "1, 2", "sets": 2, "runs": 1, "copies": 0}
    | {"epochs": 2, "probe_batch": 1},
    "06_cam": {**NONE, "per_class": 1, "steps": 4, "random_draws": 1, "method": "gradcam"}
    | {"compare": ""},
    "07_embeddings": {"hc18_root": ""},
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Writes a manifest of so many classes, eight patients with an image of each."""

    def write(classes, **columns):
        root = tmp_path_factory.mktemp("scans")
        rows = [(f"{p}-{k}.png", f"part {k}", f"P{p}") for p in range(8) for k in range(classes)]
        for name, *_ in rows:
            write_image(root / name)
        table = pd.DataFrame(rows, columns=["image", "label", "patient"]).assign(**columns)
        table.to_csv(root / "manifest.csv", index=False)
        sentences = {label: [f"an image of {label}"] for label in table["label"].unique()}
        (root / "prompts.json").write_text(json.dumps(sentences))
        return root

    return write


@pytest.fixture(scope="module")
def cohorts(scans):
    return {count: scans(count) for count in (2, 30)}


@pytest.mark.parametrize(
    ("classes", "chapter"),
    [
        *((2, name) for name in ("01_zero_shot", "05_few_data", "06_cam")),
        *((30, name) for name in ("01_zero_shot", "03_linear_probing", "06_cam", "07_embeddings")),
    ],
)
def test_chapters_take_any_number_of_classes(classes, chapter, cohorts, repository, tmp_path):
    root = cohorts[classes]
    values = {
        **PARAMETERS[chapter],
        "data_root": str(root),
        "models": "phantomclip",
        "results_dir": str(tmp_path / "results"),
        "cache_dir": str(root / "cache"),
        "device": "cpu",
    }
    if chapter != "03_linear_probing":
        values["plane_prompts"] = str(root / "prompts.json")
    source, target = (folder / f"notebooks/{chapter}.ipynb" for folder in (repository, tmp_path))
    outcome = runner.run_notebook(source, target, values, {})
    assert outcome.status == "done", outcome.error
    gate.check_notebooks([chapter], repository=repository, built=tmp_path)
    facts = load_facts(tmp_path / "results" / chapter)
    assert facts["own_count"] == classes
    said = json.dumps([*facts.values()]) + "".join(load_results(tmp_path / "results" / chapter))
    assert "CHD" not in said and "heart disease is" not in said


def test_a_class_that_is_missing_from_a_side_is_named_before_any_work(scans):
    split = ["train"] * 9 + ["test"] * 6 + ["train"] * 9
    images = load_dataset("manifest", scans(3, split=split))
    kept = images.where(~((images.table["split"] == "test") & (images.table["label"] == "part 1")))
    with pytest.raises(DataError, match="Split cannot be used.*no image of part 1 in test"):
        class_tasks(kept, "own", None, folds=2, seed=0)
