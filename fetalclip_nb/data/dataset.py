"""What all data sets have in common: a checked table, a fingerprint, a summary."""

import codecs
import csv
import hashlib
import io
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from fetalclip_nb.data.images import image_size, verify_image
from fetalclip_nb.errors import DataError, ImageError, listing, reading, reason, refuse
from fetalclip_nb.memory import remembered

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

    @property
    def units(self) -> str:
        """What the column patient numbers: real HC18 counts examinations, of fewer women."""
        return "examinations" if self.name == "hc18" and not self.synthetic else "patients"

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
    twice = table.loc[table["id"].duplicated(), "id"]
    refuse(twice, "Image names occur twice", where=root, fix="keep one row of each image")
    table = table.reset_index(drop=True)
    digests = _digests(root, table["path"].tolist())
    _check_repeats(name, root, table, digests)
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
    """Read a table with these columns as strings without blanks around them, by line of the file.

    What spreadsheets write is read: marks of UTF-8 and UTF-16, another separator than the usual
    one, one more behind the last field, a line ``sep=;``, empty rows.
    """
    if not path.is_file():
        fix = "name the folder that holds it, or unpack the data set again"
        raise DataError("Table is missing", where=path, expected=separator.join(columns), fix=fix)
    with reading(path, "Table cannot be read", fix="save it as CSV UTF-8, not in a code page"):
        text = _text(path)
        header = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
        for known in ("\t", ";", ",", separator):  # the last one that gives all columns
            if set(columns) <= {name.strip(' "') for name in header.split(known)}:
                separator = known
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        fields = ([*map(str.strip, row)] for row in lines)
        rows = [(lines.line_num, row) for row in fields if any(row)]
    names = rows.pop(0)[1] if rows else []
    while names and not names[-1]:
        names.pop()
    missing, form = [name for name in columns if name not in names], separator.join(columns)
    fix = f"check the header ({separator.join(names)}) and the separator ({separator!r})"
    refuse(missing, "Table lacks columns", where=path, expected=form, fix=fix)
    twice = [repr(name) for i, name in enumerate(names) if i and name in ("", *names[:i])]
    refuse(twice, "Columns have no name or the same one", where=path, fix="name each of them")
    count, fix = len(names), "put values that hold the separator or a quote in quotes"
    uneven = [f"line {n}" for n, row in rows if len(row) < count or any(row[count:])]
    refuse(uneven, f"Rows have other fields than the {count} of the header", where=path, fix=fix)
    values, index = [row[:count] for _, row in rows], [line for line, _ in rows]
    table = pd.DataFrame(values, index, names, dtype=str)
    return table.drop(columns="", errors="ignore")  # where pandas wrote its index


def _text(path: Path) -> str:
    """A table's text, without the mark of its encoding and a spreadsheet's line ``sep=;``."""
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if wide else "utf-8-sig")
    if "\0" in text:
        raise ValueError("it holds zero bytes, as UTF-16 without its mark does")
    return re.sub(r'\A"?sep=.?"?\r?\n', "", text)


def require_known(values: pd.Series, known: tuple[str, ...], *, column: str, where: Path) -> None:
    """Refuse values outside a closed list, all at once."""
    unknown = values[~values.isin(known)]
    what = f"Unknown {column} in {len(unknown)} of {len(values)} rows"
    at, expected = f"{where}, column {column}", ", ".join(value or "empty" for value in known)
    fix = "correct the table or pick the matching data set kind"
    refuse(dict.fromkeys(map(repr, unknown)), what, where=at, expected=expected, fix=fix)


def require_disjoint(table: pd.DataFrame, where: Path) -> None:
    """Refuse patients with images in two splits; where none is named, "" counts as no split."""
    splits = table[table["split"] != ""].groupby("patient")["split"].nunique()
    what, fix = "Patients occur in two splits", "keep each patient in one"
    refuse(splits[splits > 1].index, what, where=where, fix=fix)


def to_numbers(values: pd.Series, *, where: Path, within: tuple[float, float]) -> pd.Series:
    """Convert a column of strings to numbers between two limits, refusing all others at once."""
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = ~numbers.between(*within)
    what = f"{wrong.sum()} of {len(values)} values are not from {within[0]:g} to {within[1]:g} mm"
    fix = "write numbers in mm, with a decimal point, and do not swap columns"
    refuse(map(repr, values[wrong]), what, where=f"{where}, column {values.name}", fix=fix)
    return numbers


def refuse_lone_masks(folder: Path, names: Iterable[str], *, expected: str) -> None:
    """Refuse mask files in a folder that are not among these names: they have no image."""
    known = set(names)
    endings = {PurePath(name).suffix for name in known}
    alone = sorted({p.name for p in folder.glob("[!.]*") if p.suffix in endings} - known)
    what, fix = f"{len(alone)} masks have no image", "unpack the data set again"
    refuse(alone, what, where=folder, expected=expected, fix=fix)


def _drawn(root: Path, paths: Iterable[str]) -> bool:
    """Whether phantoms are among the images.

    The mark lies at the root of what was drawn. Files that are named one by one or by a pattern,
    and folders in a data set or around several, have another root, so it is also looked for above
    each image, where the image itself lies and not only a link to it.
    """
    folders = {(root / path).resolve().parent for path in paths}
    near = {above for folder in folders for above in (folder, *folder.parents)[:_LEVELS]}
    return any((folder / PHANTOM_MARKER).exists() for folder in {root, *near})


def _check_repeats(name: str, root: Path, table: pd.DataFrame, digests: list[bytes]) -> None:
    """Refuse equal pictures with two labels, or of two patients on two sides of a split.

    A published data set is scored as it was published, with a note. So are pictures that two
    patients share where splits are still to be drawn. Within a patient frames may repeat.
    """
    same = pd.Series(digests, index=table.index)
    labels = [column for column in LABEL_COLUMNS if column in table]
    groups = table[same.duplicated(keep=False)].groupby(same)
    twins = [g for _, g in groups if len(g[[*labels, "patient"]].drop_duplicates()) > 1]
    what = "Equal pictures have different labels or patients"
    if name == "manifest":
        wrong = [g for g in twins if len(g[[*labels, "split"]].drop_duplicates()) > 1]
        refuse([" = ".join(g["id"]) for g in wrong], what, where=root, fix="keep one row of each")
    if twins and name not in PLAIN:
        print(f"Note: {what}: {listing(' = '.join(g['id']) for g in twins)}", file=sys.stderr)


def _digests(root: Path, paths: list[str]) -> list[bytes]:
    """Hash and verify every file that may have changed, collecting all that fail."""
    files = [(path,) for path in paths]
    outcomes = remembered("image", root, files, lambda row: _digest(root / paths[row]))
    missing = [p for p, o in zip(paths, outcomes, strict=True) if o is None]
    what = f"{len(missing)} of {len(paths)} image files are missing"
    fix = "put them there (unpack a downloaded data set again) or drop these rows from the table"
    refuse(missing, what, where=root, fix=fix)
    outcome = zip(paths, outcomes, strict=True)
    broken = [f"{path} ({o.what})" for path, o in outcome if isinstance(o, ImageError)]
    what, form = f"{len(broken)} of {len(paths)} images are damaged", "whole PNG, JPEG or DICOM"
    fix = "put whole files in their place (unpack a download again) or drop their rows"
    refuse(broken, what, error=ImageError, where=root, expected=form, fix=fix)
    return [bytes.fromhex(found) for (found,) in outcomes]


def _digest(path: Path) -> list[str] | ImageError | None:
    """A whole image's hash, what is wrong with it, or None where there is no file."""
    try:
        data = path.read_bytes()
        verify_image(data, path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except OSError as error:
        return ImageError(reason(error), where=path)
    except ImageError as error:
        return error
    return [hashlib.sha256(data).hexdigest()]


def image_sizes(root: Path, paths: Iterable[str]) -> np.ndarray:
    """Widths and heights in pixels, int64 (N, 2); 0 where there is no image to be read."""
    paths = [*paths]

    def size(row: int) -> list[int] | tuple[int, int]:
        try:
            return [*image_size(root / paths[row])]
        except ImageError:  # named with all others when the set is built
            return 0, 0

    sizes = remembered("size", root, [(path,) for path in paths], size)
    return np.array(sizes, np.int64).reshape(-1, 2)


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
