"""The chapter on embeddings where little is known: one model, no heads, machines like planes."""

import json
import re

import nbformat
import pandas as pd
import pytest

from fetalclip_nb import phantoms
from fetalclip_nb.experiments.embeddings import tables
from fetalclip_nb.results import result_files
from fetalclip_nb.workflow import gate, runner

NAME = "07_embeddings"


@pytest.fixture(scope="module")
def planes(tmp_path_factory):
    """Phantoms, each plane scanned with a machine of its own, all by one operator."""
    folder = tmp_path_factory.mktemp("chapter") / "planes"
    phantoms.write_fetal_planes(folder, patients=40, seed=3, workers=1)
    listed = folder / "FETAL_PLANES_DB_data.csv"
    table = pd.read_csv(listed, sep=";")
    table = table.assign(US_Machine=table["Plane"], Operator="Op. 1")
    table.to_csv(listed, sep=";", index=False)
    return folder


def test_what_cannot_be_told_is_said_and_cosines_stay_cosines(planes, tmp_path, repository):
    values = {
        "data_root": str(planes),
        "hc18_root": "",
        "models": "phantomclip",
        "distance": "cosine",
        "results_dir": str(tmp_path / "results"),
        "cache_dir": str(tmp_path / "cache"),
        "device": "cpu",
    }
    source, executed = repository / "notebooks" / f"{NAME}.ipynb", tmp_path / "notebooks"
    outcome = runner.run_notebook(source, executed / source.name, values)
    assert outcome.status == "done", outcome.error
    folders = {"sources": source.parent, "executed": executed, "results": tmp_path / "results"}
    gate.check_notebooks([NAME], **folders, repository=repository)
    texts = result_files.render_glue(tmp_path / "results" / NAME)
    cells = nbformat.read(executed / source.name, as_version=4).cells
    outputs = {cell.id: json.dumps(cell.get("outputs")) for cell in cells}

    assert "cannot be told: no plane has images of more" in texts["facts/machines_sentence"]
    assert texts["facts/operators_sentence"] == "All images have the same operator."
    assert texts["facts/beside_sentence"] == (
        "Whether anatomy or the machine is separated more cannot be told; all images have the same "
        f"operator. {tables.PHANTOMS}"
    )
    assert texts["facts/others_explained"] == "No other model was run."
    assert texts["facts/unprompted_sentence"].startswith('No class has the name "other", the label')
    assert "No heads were given" in outputs["heads"]
    # The row of the vectors holds the very silhouette of the headline, which is of cosines.
    row = re.search(r"<th>\d+ dimensions</th>(.*?)</tr>", outputs["kept"]).group(1)
    assert f"<td>{texts['headline/planes/silhouette']} (" in row
