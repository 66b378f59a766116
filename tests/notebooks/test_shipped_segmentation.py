"""What decoders on the shipped model outline: real heads, and the phantoms of the demo book."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fetalclip_nb.results import result_files

CHAPTER = "04_segmentation"


def test_plain_papermill_outlines_real_heads(shared_data, repository, tmp_path):
    """As the book's page on running it says for real heads: 196 of them."""
    source = repository / "notebooks" / f"{CHAPTER}.ipynb"
    command = [sys.executable, "-m", "papermill", str(source), str(tmp_path / "out.ipynb")]
    command += ["-k", "python3", "-p", "data_root", str(shared_data / "hc18")]
    command += ["-p", "abdomen_root", "", "-p", "heart_root", "", "-p", "models", "phantomclip"]
    command += ["-p", "epochs", "30", "-p", "image_only", "False", "--no-progress-bar"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr[-2000:]
    folder = tmp_path / "build" / "own" / "results" / CHAPTER
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


@pytest.fixture(scope="module")
def shown(repository) -> dict[str, result_files.Row]:
    """Results of the demo book's chapter, compulsory where the book is."""
    given = os.environ.get("FETALCLIP_NB_BOOK")
    build = Path(given).parents[2] if given else repository / "build" / "demo"
    folder = build / "results" / CHAPTER
    if not given and not folder.is_dir():
        pytest.skip("no demo book has been built")
    return result_files.load_results(folder)


def test_demo_outlines_heads(shown):
    model = shown["phantomclip"]
    assert model.synthetic and model.score("head/dsc").value >= 0.95
    for other in ("phantomclip-untrained", "image only", "mean mask"):
        assert shown[other].score("head/dsc").high < model.score("head/dsc").low, other


def test_demo_outlines_organs_better_than_a_fixed_mask(shown):
    for task in ("abdomen", "four_chamber"):
        name = task.replace("_", "-")
        model, guess = (
            shown[f"{m} ({name})"].score(f"{task}/dsc") for m in ("phantomclip", "mean mask")
        )
        assert guess.high < model.low
