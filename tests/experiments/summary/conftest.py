"""Result files of chapters that were never run."""

import json

import numpy as np
import pytest

from fetalclip_nb.experiments.summary.cells import read_chapters
from fetalclip_nb.results.result_files import LEFT_OUT, Row, save_row
from fetalclip_nb.stats.answers import answer_table, between
from fetalclip_nb.stats.scores import Score

CHAPTERS = "01_zero_shot, 02_gestational_age, 03_linear_probing, 04_segmentation"


def score(value, low, high, n=8187):
    return {"patient": Score(value, low, high, value, n, 100)}


@pytest.fixture
def results(tmp_path):
    """Writes chapters' rows, facts and saved answers, and reads them as the notebook does."""

    class Results:
        score = staticmethod(score)

        def save(self, chapter, model, scores, *, published="", facts=None, **kwargs):
            made = {"model": {"published": published, "fingerprint": "f00"}, "dataset": "own"}
            made |= {"seconds_since_start": 90, "python": "3.11", "versions": {"torch": "2"}}
            made |= {"commit": "c0ffee", "device": "cpu", "dataset_fingerprint": "beef"}
            row = Row(model, scores, provenance=made, **kwargs)
            save_row(tmp_path / chapter, row)
            (tmp_path / chapter / "facts.json").write_text(json.dumps(facts or {}))
            return row

        def answer(self, chapter, tables):
            """One row a model, the first of which the others are compared with."""
            for number, (model, table) in enumerate(tables.items()):
                first = next(iter(tables.values()))
                apart = between({"vpr": table}, {"vpr": first}) if number else {}
                scores = {"vpr": score(table["part"].mean(), 0, 1, len(table))}
                row = self.save(chapter, model, scores, order=number, differences=apart)
                path = tmp_path / chapter / "predictions" / f"{row.key}.parquet"
                path.parent.mkdir(exist_ok=True)
                # As a session saves it: beside answers of another kind.
                table.assign(metric="vpr", structure=None).to_parquet(path)

        def leave_out(self, **reasons):
            (tmp_path / LEFT_OUT).write_text(json.dumps({"models": {}} | reasons))

        def read(self):
            return read_chapters(tmp_path, CHAPTERS)

    return Results()


@pytest.fixture
def run(tmp_path):
    """Makes a folder of results: two models, planes without and ages with saved answers."""

    def make(
        name="run",
        *,
        names=("a", "b"),
        right=(30, 10),
        heads="2222",
        seed=0,
        split="own",
        seconds=1,
        baseline=True,
    ):
        folder = tmp_path / name

        def save(chapter, model, scores, data, kind="model", **made):
            own = {"source": f"path/{model}", "fingerprint": f"weights of {model}"}
            own |= {"parameters": 7, "published": ""}
            made |= {"model": own if kind == "model" else {}, "seconds_since_start": seconds}
            made |= dict(zip(("dataset", "dataset_fingerprint"), data.split(), strict=True))
            made |= {"versions": {"torch": "2", "numpy": "1"}, "commit": "c0ffee"}
            given = {"seed": seed, "data_root": name, "models": model, "device": name}
            order = len([*(folder / chapter).glob("*.json")])
            synthetic = data.startswith("heads")
            row = Row(model, scores, kind=kind, order=order, synthetic=synthetic)
            row.parameters.update(given)
            row.provenance.update(made)
            save_row(folder / chapter, row)
            (folder / chapter / "facts.json").write_text(json.dumps({"split": split}))
            return row

        planes = {"five_planes/f1_macro": score(0.8, 0.7, 0.9)}
        images = np.arange(40)
        for model, good in zip(names, right, strict=True):
            save("01_zero_shot", model, planes, "planes 1111", precision="fp32", units="patients")
            part = (images < good).astype(int)
            table = answer_table(images.astype(str), images // 2, part=part, whole=part**0)
            scores = {"vpr": {"patient": Score(good / 40, 0, 1, good / 40, 40, 20)}}
            made = {"precision": "fp16", "units": "examinations"}
            row = save("02_gestational_age", model, scores, f"heads {heads}", **made)
            path = folder / "02_gestational_age" / "predictions" / f"{row.key}.parquet"
            path.parent.mkdir(exist_ok=True)
            table.assign(metric="vpr").to_parquet(path)
        if baseline:
            save("01_zero_shot", "majority class", planes, "planes 1111", "baseline")
        return folder

    return make
