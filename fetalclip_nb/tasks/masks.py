"""What a segmentation probe learns: images, the structures in them and their checked masks."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data import fass, focus
from fetalclip_nb.data.dataset import Dataset, image_sizes
from fetalclip_nb.data.kinds import KINDS, kind_of, load_dataset
from fetalclip_nb.data.manifest import MASK_PREFIX
from fetalclip_nb.data.mask_files import RULE, Flaw, MaskReader, without_holes
from fetalclip_nb.data.sources import data_folder
from fetalclip_nb.errors import DataError, listing, refuse
from fetalclip_nb.memory import remembered
from fetalclip_nb.tasks.items import Items, image_items

STRUCTURES = {
    "head": ("head",),
    "abdomen": ("stomach", "abdominal_circumference", "spine"),
    "four_chamber": ("thorax", "aorta", "spine", "heart", "LV", "LA", "RA", "RV", "IVS"),
}
"""Structures of each task in the protocol, in its order."""

LAYOUTS = (
    "manifest.csv with columns mask_STRUCTURE; "
    f"or FASS ({fass.IMAGES}/, {fass.ARRAYS}/); "
    f"or FOCUS ({', '.join(focus.SPLITS)}, each with {focus.IMAGES}/ and {focus.MASKS}/)"
)
"""What a folder of masks may look like."""


@dataclass(frozen=True)
class MaskTask:
    """Images, and a mask of each structure for each of them.

    Attributes:
        name: "head", "abdomen", "four_chamber" or a user's own.
        dataset: The images, in the order of the rows.
        structures: C names.
        read: Gives the regions of one row, bool (C, height, width) at the image's own size.
        fingerprint: 16 hexadecimal digits over data set, structures and bytes of all masks.
        areas: Pixels of each structure in each image, int64 of shape (N, C); 0 where absent.
        stand_in: That the data set stands in for the paper's private one, "" if it does not; to
            be shown wherever its results are.
    """

    name: str
    dataset: Dataset
    structures: tuple[str, ...]
    read: Callable[[int], np.ndarray]
    fingerprint: str
    areas: np.ndarray = field(compare=False, repr=False)
    stand_in: str = ""

    @property
    def items(self) -> Items:
        """One item an image, all of one class: splits are by patient, not by label."""
        labelled = self.dataset.table.assign(label=self.name)
        return image_items(self.name, replace(self.dataset, table=labelled), (self.name,))

    def summary(self) -> pd.DataFrame:
        """One row a structure: images that show it, images in which it is absent (black masks)."""
        shown = (self.areas > 0).sum(axis=0)
        columns = {"structure": self.structures, "images": shown, "absent": len(self.areas) - shown}
        return pd.DataFrame(columns)


def head_task(dataset: Dataset) -> MaskTask:
    """Segmentation of the fetal head on HC18, every annotation checked; outlines are filled.

    Source: FetalCLIP (arXiv 2502.14807), segmentation probing; HC18 (Zenodo 1327317).
    """
    return _task("head", dataset)


def open_tasks(heads: Dataset | None, *, abdomen: str, heart: str) -> dict[str, MaskTask]:
    """Images and masks by task: head, abdomen, four_chamber. Every mask is checked.

    Args:
        heads: In the layout of HC18; None for none.
        abdomen: Folder of images and masks, "demo" for phantoms, empty for none.
        heart: The same for four-chamber views.
    """
    tasks = {"head": head_task(heads)} if heads else {}
    if abdomen:
        tasks["abdomen"] = structure_task("abdomen", data_folder(abdomen, demo="abdomen"))
    if heart:
        tasks["four_chamber"] = structure_task("four_chamber", data_folder(heart, demo="heart"))
    return tasks


def structure_task(name: str, root: Path | str) -> MaskTask:
    """Segmentation of the structures that a data set has, those of the protocol first.

    Masks are filled regions, not outlines, and all are checked. A mask that is black says that
    its structure is absent in that image.

    Args:
        name: "abdomen", "four_chamber" or a name of your own.
        root: A folder in one of `LAYOUTS`, or a manifest: the layout decides how it is read.

    Source: FetalCLIP (arXiv 2502.14807), segmentation probing.
    """
    root = Path(root).expanduser()
    kind = kind_of(root)
    if kind not in ("manifest", "fass", "focus"):
        found = sorted(p.name for p in root.iterdir()) if root.is_dir() else ["no such folder"]
        raise DataError(
            "Folder holds no masks in a known layout",
            where=root,
            expected=LAYOUTS,
            found=listing(found) or "nothing",
            fix="name the folder that directly holds these, or write a manifest.csv",
        )
    return _task(name, load_dataset(kind, root))


def _task(name: str, dataset: Dataset) -> MaskTask:
    masks = KINDS[dataset.name].masks
    structures = ordered(name, masks.structures or _named_structures(dataset))
    columns = [masks.column] if masks.column else [MASK_PREFIX + s for s in structures]
    files = tuple(dataset.table[columns].itertuples(index=False, name=None))
    sizes = tuple(map(tuple, image_sizes(dataset.root, dataset.table["path"]).tolist()))
    ids = tuple(dataset.table["id"])
    reader = MaskReader(dataset.root, structures, ids, sizes, files, masks.decode)
    return MaskTask(name, dataset, structures, reader, *_checked(dataset, reader), masks.stand_in)


def _named_structures(dataset: Dataset) -> list[str]:
    """Structures that columns mask_STRUCTURE of a table name."""
    nearly = [c for c in dataset.table if c.lower().startswith(MASK_PREFIX)]
    columns = [c for c in nearly if c.startswith(MASK_PREFIX) and c != MASK_PREFIX]
    if not columns:
        raise DataError(
            "Manifest names no masks of structures",
            where=dataset.root,
            expected="columns mask_STRUCTURE, such as mask_stomach",
            found=listing(dataset.table.columns),
            fix="add a column for each structure with the paths of its masks",
        )
    refuse(
        [c for c in nearly if c not in columns],
        "Columns are nearly those of masks",
        where=dataset.root,
        expected=f"{MASK_PREFIX}STRUCTURE in small letters, such as mask_stomach",
        fix="rename them",
    )
    return [column.removeprefix(MASK_PREFIX) for column in columns]


def ordered(task: str, structures: Iterable[str]) -> tuple[str, ...]:
    """Structures as the protocol orders them, others after them by alphabet.

    >>> ordered("abdomen", ["vein", "spine", "artery", "stomach"])
    ('stomach', 'spine', 'artery', 'vein')
    """
    found = set(structures)
    known = [name for name in STRUCTURES.get(task, ()) if name in found]
    return (*known, *sorted(found - set(known)))


def _checked(dataset: Dataset, reader: MaskReader) -> tuple[str, np.ndarray]:
    """Check every mask: refuse all that cannot be used, fingerprint and measure the rest."""
    files = [(*row, image) for row, image in zip(reader.files, dataset.table["path"], strict=True)]
    about = f"mask {reader.decode.__name__} {reader.structures}"
    outcomes = remembered(about, dataset.root, files, lambda row: _examined(reader, row))
    flaws = [named for found in outcomes if isinstance(found, tuple) for named in found]
    refuse(
        dict.fromkeys(f"{label}: {flaw.text}" for label, flaw in flaws),
        f"{len(flaws)} of {len(dataset) * len(reader.structures)} masks cannot be used",
        where=dataset.root,
        expected=RULE,
        fix="; ".join(dict.fromkeys(flaw.fix for _, flaw in flaws)),
    )
    areas = np.array([areas for areas, _, _ in outcomes], dtype=np.int64)
    filled = np.array([filled for _, filled, _ in outcomes])
    _require_regions(reader, areas, filled)
    parts = [dataset.fingerprint.encode(), "\n".join(reader.structures).encode()]
    parts += [bytes.fromhex(digest) for *_, digest in outcomes]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16], areas


def _require_regions(reader: MaskReader, areas: np.ndarray, filled: np.ndarray) -> None:
    """Refuse structures that no image shows, or whose masks are rings that nobody filled."""
    names, shown = np.array(reader.structures), areas > 0
    refuse(
        names[~shown.any(axis=0)],
        "Structures are in no image: all their masks are black",
        where=reader.root,
        expected="each structure in at least one image",
        fix="leave out the masks of these structures",
    )
    rings = shown & (filled > 2 * areas)  # most of what they enclose is a hole
    refuse(
        names[rings.sum(axis=0) > shown.sum(axis=0) / 2],
        "Masks are outlines, not regions: thin rings in most images of some structures",
        where=reader.root,
        expected="filled regions",
        fix="fill the outlines",
    )


def _examined(reader: MaskReader, row: int) -> list | tuple[tuple[str, Flaw], ...]:
    """Areas of an image's regions, without and with holes, and hash of its masks; or its flaws."""
    found = reader.inspect(row)
    flaws = tuple((label, region) for label, region in found if isinstance(region, Flaw))
    if flaws:
        return flaws
    areas = [int(region.sum()) for _, region in found]
    filled = [int(without_holes(region).sum()) for _, region in found]
    digests = [hashlib.sha256(reader.data(name)).digest() for name in reader.files[row]]
    return [areas, filled, b"".join(digests).hex()]
