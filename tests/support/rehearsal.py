"""The paper's profile in miniature: its chapters, splits and models at a size for two cores.

    python tests/support/rehearsal.py RELEASED

writes build/rehearsal and runs it into a book: phantoms in the layouts of FETAL_PLANES_DB and HC18,
one image for each patient of the authors' splits (RELEASED is the folder of their released files),
the paper's models with random weights, and profile.yaml, which is profiles/paper.yaml with other
paths and sizes.
"""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd
import yaml

import published_models
from fetalclip_nb import phantoms
from fetalclip_nb.data.fetal_planes import TABLE
from fetalclip_nb.paths import project_root
from fetalclip_nb.phantoms.writer import RECORD
from fetalclip_nb.tasks.official_splits import official_folds, official_supports
from fetalclip_nb.tasks.splits import Split
from helpers import AGE_SCRIPT

IMAGE_ONLY = tuple(published_models.IMAGE_ONLY)
"""Encoders without text that run beside the paper's models."""

DRAWN = {
    "fetal_planes": {"patients": 60, "seed": 1},
    "hc18": {"patients": 12, "seed": 2},
    "african_planes": {"patients": 10, "seed": 3},
}
"""Phantoms; pictures of the first two are given to everybody in the authors' splits."""

HEADS = "training_set_pixel_size_and_HC.csv"


def patients_of(released: Path, task: str) -> tuple[list[str], set[str]]:
    """All patients of the authors' splits of a task, and those of them who are tested."""
    splits = [official_folds(released, task), *official_supports(released, task).values()]
    named = {name for split in splits for name in _named(split)}
    return sorted(named), set(splits[0].test)


def _named(split: Split) -> Iterator[str]:
    yield from split.test
    for fold in split.folds:
        yield from (*fold.train, *fold.validation)


def write_planes(folder: Path, released: Path) -> None:
    """FETAL_PLANES_DB: a phantom for each patient; brain splits get brains of each sub-plane.

    Some hundred pictures are drawn, and each is given to several patients.
    """
    pool = folder.with_name("pool")
    phantoms.write_fetal_planes(pool, **DRAWN["fetal_planes"])
    table = pd.read_csv(pool / TABLE, sep=";", dtype=str)
    brain = (table["Plane"] == "Fetal brain") & (table["Brain_plane"] != "Other")
    brains = [rows for _, rows in table[brain].groupby("Brain_plane")]
    others = [rows for _, rows in table[~brain].groupby("Plane")]
    turns = {kind: _in_turn(rows) for kind, rows in ((True, brains), (False, brains + others))}
    everybody, tested = patients_of(released, "six_planes")
    with_brain = set(patients_of(released, "brain_subplanes")[0]) - tested
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    rows = []
    for patient in everybody:
        row = next(turns[patient in with_brain]).copy()
        name = f"{patient}_Plane1_1_of_1"
        shutil.copyfile(
            pool / "Images" / f"{row['Image_name']}.png", folder / "Images" / f"{name}.png"
        )
        number, train = int(patient.removeprefix("Patient")), int(patient not in tested)
        rows.append({**row, "Image_name": name, "Patient_num": number, "Train ": train})
    pd.DataFrame(rows).to_csv(folder / TABLE, sep=";", index=False)
    shutil.copyfile(pool / RECORD, folder / RECORD)


def _in_turn(groups: Iterable[pd.DataFrame]) -> Iterator[pd.Series]:
    """A row of each group in turn, without end."""
    rows = [itertools.cycle(row for _, row in group.iterrows()) for group in groups]
    for group in itertools.cycle(rows):
        yield next(group)


def write_heads(folder: Path, released: Path) -> None:
    """HC18: a phantom head, its outline and its row for each examination of the splits."""
    pool = folder.with_name("head_pool")
    phantoms.write_hc18(pool, **DRAWN["hc18"])
    table = pd.read_csv(pool / HEADS, dtype=str)
    (folder / "training_set").mkdir(parents=True, exist_ok=True)
    rows, turns = [], _in_turn([table])
    for patient in patients_of(released, "head")[0]:
        row = next(turns)
        for end in (".png", "_Annotation.png"):
            source = row["filename"].replace(".png", end)
            shutil.copyfile(
                pool / "training_set" / source, folder / "training_set" / f"{patient}_HC{end}"
            )
        rows.append({**row, "filename": f"{patient}_HC.png"})
    pd.DataFrame(rows).to_csv(folder / HEADS, index=False)
    shutil.copyfile(pool / RECORD, folder / RECORD)


FEW = {"models": "fetalclip, mobilefetalclip"}
"""In chapters that have no column in the summary."""

SIZES = {
    "03_linear_probing": {"splits": "official", "copies": 1, "runs": 1, "epochs": 2},
    "04_segmentation": {
        **{"splits": "official", "side": 64, "filters": 2, "copies": 1, "head_folds": 1},
        **{"runs": 1, "epochs": 1},
    },
    "05_few_data": {
        **{"splits": "official", "plane_sizes": "2, 4", "brain_sizes": "4, 8", "runs": 1},
        **{"epochs": 2, "head_sizes": "1, 2", "head_runs": 1, "head_epochs": 1},
        **{"side": 64, "filters": 2},
        **FEW,
    },
    "06_cam": {"per_class": 1, "steps": 4, "random_draws": 1, "region_images": 2},
    "07_embeddings": FEW,
}
"""What is smaller than in the paper's profile."""


def write_profile(path: Path, released: Path) -> None:
    """The paper's profile with other data and sizes.

    Args:
        path: The file.
        released: Folder of the authors' released files.
    """
    text = (project_root() / "profiles" / "paper.yaml").read_text("utf-8")
    content = yaml.safe_load(text.replace("build/data/fetalclip-released", str(released)))
    content["name"] = path.parent.name
    content["description"] = (
        "The paper's profile in miniature: phantoms, and its models with random weights at a "
        "reduced size. It shows that every step runs; no score means anything."
    )
    for name, drawn in DRAWN.items():
        root = str(path.parent / "data" / name)
        content["data"][name] = {"kind": name, "root": root, "phantoms": drawn}
    del content["data"]["released"]["download"]
    # Their script with sentences on age is not among the files that tests are given.
    script = path.with_name("sentences_on_age.py")
    script.write_text(AGE_SCRIPT, "utf-8")
    content["notebooks"]["02_gestational_age"]["age_templates"] = str(script)
    folder = path.parent / "models"
    # The phantom CLIP is the demo's; in its place come encoders without text.
    kept = [name for name in content["models"] if not name.startswith("phantomclip")]
    content["models"] = kept + [f"{name}=local-dir:{folder / name}" for name in IMAGE_ONLY]
    for name, values in SIZES.items():
        content["notebooks"][name].update(values)
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")


def prepare(folder: Path, released: Path) -> Path:
    """Write data, models and profile where they are not there already; the profile."""
    for write, name in ((write_planes, "fetal_planes"), (write_heads, "hc18")):
        if not (folder / "data" / name / RECORD).is_file():
            write(folder / "data" / name, released)
    for name in (*published_models.NAMES, *IMAGE_ONLY):
        if not (folder / "models" / name).is_dir():
            side = {"mobilefetalclip": 64, **dict.fromkeys(IMAGE_ONLY, 112)}.get(name, 0)
            published_models.write(name, folder / "models", side=side)
    write_profile(folder / "profile.yaml", released)
    return folder / "profile.yaml"


def run(released: Path) -> int:
    """Run the profile's chapters and build the book; the exit code."""
    folder = project_root() / "build" / "rehearsal"
    profile = prepare(folder, released.resolve())
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--nolock"]
    command += ["--rerun-incomplete", "--show-failed-logs", "--quiet", "host"]
    environment = os.environ | {"FETALCLIP_NB_MODELS": str(folder / "models")}
    return subprocess.run(
        [*command, "--config", f"profile={profile}"],
        cwd=project_root(),
        env=environment,
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
