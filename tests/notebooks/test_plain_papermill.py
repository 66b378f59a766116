"""Real heads through plain papermill, with few parameters set, as a researcher would."""

import json
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.results import result_files


@pytest.fixture
def run(shared_data, repository, tmp_path):
    """Runs a chapter; gives the folder of its results and the executed notebook."""

    def papermill(chapter, **values):
        out = tmp_path / "out.ipynb"
        command = [
            sys.executable,
            "-m",
            "papermill",
            repository / f"notebooks/{chapter}.ipynb",
            out,
        ]
        values |= {"data_root": shared_data / "hc18", "models": "phantomclip"}
        for name, value in values.items():
            command += ["-p", name, str(value)]
        command += ["-k", "python3", "--no-progress-bar"]
        # Started elsewhere, so that results do not land in the checkout.
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-2000:]
        return tmp_path / "build/own/results" / chapter, nbformat.read(out, as_version=4)

    return papermill


def test_ages_of_real_heads(run):
    """196 images, 161 counted."""
    folder, notebook = run("02_gestational_age")
    saved = result_files.load_results(folder)
    facts = json.loads((folder / "facts.json").read_text())
    assert (facts["images"], facts["counted"]) == (196, 161)
    assert "real ultrasound" in facts["images_are"]
    headline = saved["phantomclip"]
    assert not headline.synthetic
    vpr = headline.scores["vpr"]
    assert vpr["patient"].n == vpr["image"].n == 161
    assert vpr["patient"].low < vpr["patient"].value < vpr["patient"].high
    assert vpr["patient"].value >= 0.75
    sizes = {f"vpr/{span}" for span in ("100-150", "150-200", "200-250", "250-342")}
    assert sizes <= set(headline.scores)
    names = ("constant age", "spacing only", "shuffled images", "mean embedding", "black image")
    for name in names:
        assert saved[name].score("vpr").value < vpr["patient"].low, name
    counts = next(cell for cell in notebook.cells if cell.id == "read").outputs[0]["data"]
    assert "196" in counts["text/plain"] and "161" in counts["text/plain"]


def test_outlines_of_real_heads(run):
    """As the book's page on running it says for real heads: 196 of them."""
    no_organs = {"abdomen_root": "", "heart_root": ""}
    folder, _ = run("04_segmentation", **no_organs, epochs=30, image_only=False)
    saved = result_files.load_results(folder)
    assert set(saved) == {"phantomclip", "mean mask"}
    headline = saved["phantomclip"]
    assert not headline.synthetic
    dice = headline.score("head/dsc")
    assert dice.value >= 0.93
    assert dice.low > saved["mean mask"].score("head/dsc").high
    table = pd.read_parquet(folder / "circumferences.parquet")
    assert len(table) == dice.n > 30
    error = np.abs(table["measured_mm"] - table["true_mm"]).mean()
    assert headline.score("head/hc_mae_mm").value == pytest.approx(error)
    assert error < 15
    images = pd.read_parquet(folder / "images-head.parquet")
    assert set(images["patient"]) == set(table["patient"])
