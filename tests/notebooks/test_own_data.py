"""The page "Your own data in ten minutes": its blocks, run as they stand, and the book of it."""

import re
import shlex
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from fetalclip_nb.paths import project_root
from fetalclip_nb.results.result_files import load_facts, load_results

CLASSES = ["belly", "chest", "head", "thigh"]
PROGRAMS = {"fetalclip-nb": "fetalclip_nb.cli", "papermill": "papermill"}


@pytest.fixture(scope="module")
def scans():
    """All blocks of the page, done one after the other: files written, code and commands run."""
    root = project_root()
    for name in ("scans", "bench-phantomclip"):
        shutil.rmtree(root / "build" / name, ignore_errors=True)
    page = (root / "book" / "own_data.md").read_text("utf-8")
    for kind, block in re.findall(r"^```(.+?)\n(.*?)^```$", page, re.M | re.S):
        if kind.startswith("{code-block}"):
            caption, content = block.split("\n", 1)
            path = root / caption.removeprefix(":caption: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
        elif kind == "python":
            subprocess.run([sys.executable, "-c", block], cwd=root, check=True)
        elif kind == "bash":
            for program, *words in map(shlex.split, block.replace("\\\n", "").splitlines()):
                command = [sys.executable, "-m", PROGRAMS[program], *words]
                subprocess.run(command, cwd=root, check=True)
    return root / "build" / "scans"


def test_every_chapter_has_scores_of_the_four_classes(scans):
    assert len(pd.read_csv(scans / "manifest.csv")) == 40
    for chapter, metrics in {
        "01_zero_shot": [f"own_classes/f1/{name}" for name in CLASSES],
        "03_linear_probing": [f"own_classes/f1/{name}" for name in CLASSES],
        "05_few_data": ["own_classes_4/f1_macro", "own_classes_zero_shot/f1_macro"],
        "06_cam": [f"difference/{name}" for name in CLASSES],
        "07_embeddings": ["own_classes/purity"],
    }.items():
        row = load_results(scans / "results" / chapter)["phantomclip"]
        assert {*metrics} <= {*row.scores}, chapter
        assert load_facts(scans / "results" / chapter)["own_names"] == ", ".join(CLASSES)
    cells = pd.read_parquet(scans / "results" / "09_summary" / "cells.parquet")
    own = cells[cells["task"].str.contains("own classes")]
    assert len(own) == 4 and own["value"].notna().all() and set(own["verdict"]) == {"phantoms"}
    single = load_results(scans / "single" / "01_zero_shot")["phantomclip"]
    assert single.scores == load_results(scans / "results" / "01_zero_shot")["phantomclip"].scores


def test_the_book_says_own_classes_and_no_sentence_on_planes_scores(scans):
    pages = scans / "book" / "_build" / "html"
    asked = (pages / "notebooks" / "01_zero_shot.html").read_text("utf-8")
    assert "belly, chest, head, thigh" in asked and "macro F1 of" in asked
    assert "images of three brain sub-planes" not in asked
    assert not (pages / "notebooks" / "02_gestational_age.html").exists()
    for page in (pages / "book" / "intro.html", *pages.glob("notebooks/*.html")):
        assert "facts/" not in re.sub(r"<[^>]+>", "", page.read_text("utf-8")), page


def test_the_model_has_a_row_of_what_it_can_do(scans):
    rows = pd.read_csv(scans / "bench" / "models.csv").set_index("model")
    for measure in ("zero_shot", "linear_probe"):
        assert rows.loc["phantomclip", f"{measure}/own_classes/f1_macro/value"] > 0
    assert pd.isna(rows.loc["phantomclip", "gestational_age/vpr/value"])
