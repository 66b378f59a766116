"""What all data sets have in common: a checked table, a fingerprint, a summary."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from fetalclip_nb.data.images import verify_image
from fetalclip_nb.errors import DataError, ImageError, listing, refuse

PHANTOM_MARKER = "phantom.json"

PLAIN = ("folder", "files")
"""Kinds of data set that are images alone: nobody has said where they come from."""

_LEVELS = 4
"""Folders above a phantom in which the mark may lie: clips/NAME/FRAME.png are the deepest."""


@dataclass(frozen=True)
class Dataset:
    """Images and what is known of them.

    Attributes:
        name: Kind of data set ("fetal_planes", "hc18", "manifest").
        root: Folder that the paths are relative to.
        table: One row an image: id, path, patient, split and the data set's own columns.
        synthetic: True if phantoms are among the images; their numbers are never compared with
            the paper.
        fingerprint: 16 hexadecimal digits over table and image bytes.
    """

    name: str
    root: Path
    table: pd.DataFrame
    synthetic: bool
    fingerprint: str

    def __len__(self) -> int:
        """Number of images."""
        return len(self.table)

    @property
    def paths(self) -> list[Path]:
        """Absolute image paths, in table order."""
        return [self.root / path for path in self.table["path"]]

    def where(self, rows: np.ndarray) -> "Dataset":
        """The same data set with a subset of rows (boolean mask of shape (N,)).

        The fingerprint stays the whole's: who keys a cache by it adds the ids.
        """
        return replace(self, table=self.table[np.asarray(rows, dtype=bool)])

    def summary(self, *columns: str) -> pd.DataFrame:
        """Images and patients by the values of some columns."""
        groups = self.table.groupby(list(columns), observed=True)
        return groups.agg(images=("id", "size"), patients=("patient", "nunique")).reset_index()


def build(name: str, root: Path, table: pd.DataFrame) -> Dataset:
    """Check that every image exists and is whole, then fingerprint table and bytes.

    Args:
        name: Kind of data set.
        root: Folder that ``table.path`` is relative to.
        table: Rows with at least id, path and patient.
    """
    if table.empty:
        raise DataError("Data set has no images", where=root, fix="check the folder")
    refuse(table.loc[table["id"].duplicated(), "id"], "Image names occur twice", where=root)
    table = table.reset_index(drop=True)
    digests = _digests(root, table["path"].tolist())
    rows = table.to_csv(index=False, lineterminator="\n").encode()
    fingerprint = hashlib.sha256(rows + b"".join(digests)).hexdigest()[:16]
    return Dataset(name, root, table, _drawn(root, table["path"]), fingerprint)


def require_root(root: Path | str, layout: str) -> Path:
    """The data set's folder, or an error that says how to get it."""
    path = Path(root).expanduser()
    if not path.is_dir():
        raise DataError(
            "Not a folder" if path.exists() else "Data folder is missing",
            where=path,
            expected=f"a folder with {layout}",
            fix="name the folder that holds the data set, or run `fetalclip-nb data --profile "
            "NAME` with the profile that names it (demo draws phantoms)",
        )
    return path.resolve()


def read_csv(path: Path, columns: list[str], *, separator: str = ",") -> pd.DataFrame:
    """Read a table with these columns as strings, without blanks around names and values."""
    if not path.is_file():
        raise DataError("Table is missing", where=path, fix="download or unpack the data set again")
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError("Table cannot be read", where=path, found=str(error)) from None
    table.columns = [str(column).strip() for column in table.columns]
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(
            f"Table lacks {'a column' if len(missing) == 1 else 'columns'}: {listing(missing)}",
            where=path,
            expected=separator.join(columns),
            found=separator.join(table.columns),
            fix=f"check the header and the separator ({separator!r})",
        )
    return table.apply(lambda column: column.str.strip())


def require_known(values: pd.Series, known: tuple[str, ...], *, column: str, where: Path) -> None:
    """Refuse values outside a closed list, all at once."""
    unknown = values[~values.isin(known)]
    refuse(
        dict.fromkeys(map(repr, unknown)),
        f"Unknown {column} in {len(unknown)} of {len(values)} rows",
        where=f"{where}, column {column}",
        expected=", ".join(value or "empty" for value in known),
        fix="correct the table or pick the matching data set kind",
    )


def require_disjoint(table: pd.DataFrame, where: Path) -> None:
    """Refuse patients with images in two splits; where none is named, "" counts as no split."""
    splits = table[table["split"] != ""].groupby("patient")["split"].nunique()
    refuse(splits[splits > 1].index, "Patients occur in two splits", where=where)


def to_numbers(values: pd.Series, *, column: str, where: Path) -> pd.Series:
    """Convert strings to positive finite numbers, refusing all others at once."""
    numbers = pd.to_numeric(values, errors="coerce")
    wrong = ~(numbers > 0) | ~np.isfinite(numbers)
    refuse(
        map(repr, values[wrong]),
        f"{wrong.sum()} of {len(values)} values are not positive numbers",
        where=f"{where}, column {column}",
    )
    return numbers.astype(float)


def refuse_lone_masks(folder: Path, names: Iterable[str], *, expected: str) -> None:
    """Refuse mask files in a folder that are not among these names: they have no image."""
    known = set(names)
    endings = {PurePath(name).suffix for name in known}
    alone = sorted({p.name for p in folder.glob("*") if p.suffix in endings} - known)
    refuse(
        alone,
        f"{len(alone)} masks have no image",
        where=folder,
        expected=expected,
        fix="unpack the data set again",
    )


def _drawn(root: Path, paths: Iterable[str]) -> bool:
    """Whether phantoms are among the images.

    The mark lies at the root of what was drawn. Files that are named one by one or by a pattern,
    and folders in a data set or around several, have another root, so it is also looked for above
    each image, where the image itself lies and not only a link to it.
    """
    folders = {(root / path).resolve().parent for path in paths}
    near = {above for folder in folders for above in (folder, *folder.parents)[:_LEVELS]}
    return any((folder / PHANTOM_MARKER).exists() for folder in {root, *near})


def _digests(root: Path, paths: list[str]) -> list[bytes]:
    """Hash and verify every file once, collecting all that fail."""
    with ThreadPoolExecutor() as pool:
        outcomes = list(pool.map(lambda path: _digest(root / path), paths))
    missing = [p for p, o in zip(paths, outcomes, strict=True) if o is None]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} image files are missing",
            where=root,
            found=f"no {listing(missing)}",
            fix="put them there (unpack a downloaded data set again) or drop these rows from the "
            "table",
        )
    broken = {p: o for p, o in zip(paths, outcomes, strict=True) if isinstance(o, ImageError)}
    if broken:
        raise ImageError(
            f"{len(broken)} of {len(paths)} images are damaged",
            where=root,
            expected="whole PNG, JPEG or DICOM files",
            found=f"{listing(broken)}; the first one: {next(iter(broken.values()))}",
            fix="put whole files in their place (unpack a downloaded data set again) or drop their "
            "rows from the table",
        )
    return outcomes


def _digest(path: Path) -> bytes | ImageError | None:
    """A whole image's hash, what is wrong with it, or None where there is no file."""
    try:
        data = path.read_bytes()
        verify_image(data, path)
    except (FileNotFoundError, IsADirectoryError):
        return None
    except ImageError as error:
        return error
    return hashlib.sha256(data).digest()


def kind_of_images(dataset: Dataset) -> str:
    """What the prose calls a data set's images."""
    if dataset.synthetic:
        return "synthetic phantoms, so that no number here is comparable with the paper's"
    if dataset.name in PLAIN:
        return "images of your own, of whose origin this book knows nothing"
    return "real ultrasound images"


LABEL_COLUMNS = ("label", "plane", "brain_plane")
"""Columns of a data set's table that name what an image shows."""


def unprompted_sentence(table: pd.DataFrame, classes: Sequence[str]) -> str:
    """Which labels no class is named after, so that a zero-shot answer cannot be right.

    Args:
        table: One row an image, with any of `LABEL_COLUMNS`; an image may have a plane and a
            sub-plane, and a class for one of them is enough. Images without a label are left out.
        classes: Classes that have sentences.

    >>> planes = pd.DataFrame({"plane": ["brain", "other"], "brain_plane": ["other", ""]})
    >>> unprompted_sentence(planes, ["brain", "femur"]).split(":")[0]
    'No class has the name "other", the label of 1 of 2 images'
    >>> unprompted_sentence(planes, ["brain", "femur", "other"])
    'Every known label has a class of its name, so any answer may be right.'
    """
    columns = [name for name in LABEL_COLUMNS if name in table]
    rows = table[columns].itertuples(index=False, name=None)
    known = [names for names in ([name for name in row if name] for row in rows) if names]
    if not known:
        return "What these images show is not known here, so no answer can be checked."
    absent = [names[0] for names in known if not set(names) & set(classes)]
    if not absent:
        return "Every known label has a class of its name, so any answer may be right."
    labels = " or ".join(f'"{name}"' for name in sorted(set(absent)))
    return (
        f"No class has the name {labels}, the label of {len(absent):,} of {len(table):,} images: "
        "unless a class of another name means the same, every answer for such an image is wrong, "
        "however high its probability."
    )
