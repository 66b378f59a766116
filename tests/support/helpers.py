"""Small data sets and models that several test modules make."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

TINY_CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {
        "context_length": 40,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 2,
    },
}
FASS_IMAGES = ("P0149_IMG1", "P01_IMG1", "P01_IMG2")
FOCUS_COUNTS = {"training": 3, "validation": 1, "testing": 2}
AFRICAN_REST = {"Ghana": "GHA", "Malawi": "MWI", "Uganda": "UGA"}
AGE_SCRIPT = """import torch

raise SystemExit("never run")
SIZES = [f"{width}", f"{height}"]
OTHERS = ["a", "b"]
PROMPTS = [
    'A head at {weeks} weeks, {day} days, '
    '{pixel_spacing} mm.',
    "{pixel_spacing:.2f} mm a pixel at {week}+{days}",
]
"""
"""Sentences of ours in a script of the authors' form."""
PLANES_HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "


def write_image(
    path: Path, size: tuple[int, int] = (40, 30), mode: str = "L", seed: int | None = None
):
    """A random picture of a given mode, by its name where no seed is given."""
    rng = np.random.default_rng(zlib.crc32(os.fsencode(path.name)) if seed is None else seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0]) if bands == 1 else (size[1], size[0], bands)
    Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8), mode).save(path)


def write_planes(root: Path, rows: list[str] | None = None, header: str = PLANES_HEADER) -> Path:
    """A FETAL_PLANES_DB of a few images, with the real table's blanks and padding."""
    rows = rows or [
        "Patient00001_Plane1_1_of_2;1;Other;Not A Brain;Other;Aloka;1 ",
        "Patient00001_Plane3_1_of_1;1;Fetal brain ;Trans-thalamic;Op. 1;Voluson E6;1",
        "Patient00002_Plane2_1_of_1;2;Fetal abdomen;Not A Brain;Op. 2;Voluson S10;0 ",
        "Patient00003_Plane5_1_of_1;3;Fetal thorax;Not A Brain;Op. 3;Aloka;0 ",
    ]
    root.mkdir(parents=True, exist_ok=True)
    (root / "FETAL_PLANES_DB_data.csv").write_text("\n".join([header, *rows]) + "\n")
    modes = ["L", "RGB", "RGBA"]
    for i, row in enumerate(rows):
        write_image(root / "Images" / f"{row.split(';')[0]}.png", mode=modes[i % 3], seed=i)
    return root


def write_african(root: Path, rows: list[str] | None = None) -> Path:
    """African planes of a few images: number 1 is another patient in each centre."""
    rows = rows or [
        "1,Fetal abdomen,0,Algeria,patient001_DZA_plane0",
        "1,Fetal thorax,0,Algeria,patient001_DZA_plane3",
        "1,Fetal brain,1,Egypt,patient001_EGY_plane1",
        *(f"2,Fetal femur,1,{c},patient002_{code}_plane2" for c, code in AFRICAN_REST.items()),
    ]
    root.mkdir(parents=True, exist_ok=True)
    header = "Patient_num,Plane,Train,Center,Filename"
    (root / "African_planes_database.csv").write_text("\n".join([header, *rows]) + "\n")
    for i, row in enumerate(rows):
        *_, centre, name = row.split(",")
        write_image(root / centre / f"{name.removesuffix('.png')}.png", mode=("L", "RGB")[i % 2])
    return root


def write_heads(root: Path, n: int = 6) -> Path:
    """An HC18 of a few images; patients 1 and 2 have two."""
    names = ["001_HC", "001_2HC", "002_HC", "002_2HC", *[f"{i:03d}_HC" for i in range(3, n + 1)]]
    lines = ["filename,pixel size(mm),head circumference (mm)"]
    for i, name in enumerate(names[:n]):
        write_image(root / "training_set" / f"{name}.png", seed=i)
        lines.append(f"{name}.png,{0.1 + 0.01 * i},{90 + 50 * i}")
    (root / "training_set_pixel_size_and_HC.csv").write_text("\n".join(lines) + "\n")
    return root


def write_fass(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """Three images of two patients; returns the masks by image and structure."""
    masks = {}
    for i, name in enumerate(FASS_IMAGES):
        write_image(root / "IMAGES" / f"{name}.png", mode=("RGB", "L", "RGB")[i], seed=i)
        regions = {s: np.zeros((30, 40), np.uint8) for s in ("artery", "liver", "stomach", "vein")}
        for k, region in enumerate(regions.values()):
            region[i : i + 5 + k, 3:20] = 1
        masks[name] = regions
        save_fass(root, name, {"image": np.zeros((30, 40, 3), np.uint8), "structures": regions})
    return masks


def save_fass(root: Path, name: str, content: object) -> Path:
    """A file of FASS masks, as NumPy pickles it."""
    path = root / "ARRAY_FORMAT" / f"{name}.npy"
    path.parent.mkdir(exist_ok=True)
    np.save(path, content, allow_pickle=True)
    return path


def write_focus(root: Path) -> Path:
    """Images whose numbers start again in each folder, thorax and heart as nested boxes."""
    for k, (folder, count) in enumerate(FOCUS_COUNTS.items()):
        (root / folder / "annfiles_mask").mkdir(parents=True)
        (root / folder / "annfiles_ellipse").mkdir()
        for i in range(1, count + 1):
            write_image(root / folder / "images" / f"{i:03d}.png", seed=10 * k + i)
            for part, margin in (("thorax", 2), ("cardiac", 8)):
                values = np.zeros((30, 40), np.uint8)
                values[margin : 28 - i, margin : 36 - k] = 255
                path = root / folder / "annfiles_mask" / f"{i:03d}-{part}.png"
                Image.fromarray(values).convert("RGB" if k else "L").save(path)
    return root


def write_config(path: Path, **changes: object) -> Path:
    """A tiny model's config, which states how images are normalised."""
    stated = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    path.write_text(json.dumps({"model_cfg": TINY_CONFIG | changes, "preprocess_cfg": stated}))
    return path


def images_of(patients, labels, kind="manifest", root="somewhere", split="", **columns):
    """A data set of phantoms with a row a patient and label; there are no files."""
    from fetalclip_nb.data.dataset import Dataset

    table = pd.DataFrame({"patient": list(patients), "label": list(labels), "split": split})
    table.insert(0, "id", [f"i{number}" for number in range(len(table))])
    return Dataset(kind, Path(root), table.assign(**columns), True, "0")


def line_of(axis, label: str):
    """The line of an axis that has this label."""
    (found,) = [each for each in axis.lines if each.get_label() == label]
    return found


def legend_of(axis) -> list[str]:
    """What the legend of an axis says."""
    return [text.get_text() for text in axis.get_legend().get_texts()]
