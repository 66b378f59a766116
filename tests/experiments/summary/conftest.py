"""Result files of chapters that were never run."""

import json

import pytest

from fetalclip_nb.experiments.summary.cells import read_chapters
from fetalclip_nb.results.result_files import LEFT_OUT, Row, save_row
from fetalclip_nb.stats.answers import between
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
