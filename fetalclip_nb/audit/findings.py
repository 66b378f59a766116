"""What an audit finds in a data set: repeats that cross a border, contradictions, odd names."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fetalclip_nb.audit.description import Described, describe
from fetalclip_nb.audit.repeats import Repeat, repeats
from fetalclip_nb.data.dataset import LABEL_COLUMNS, Dataset
from fetalclip_nb.memory import remembered
from fetalclip_nb.tasks.official_splits import OFFICIAL, official_folds
from fetalclip_nb.tasks.splits import leaking


@dataclass(frozen=True)
class Finding:
    """Something that was found.

    Attributes:
        kind: What it is, as a title.
        detail: The images or patients concerned, and what contradicts.
        fault: Whether a score or a split would be wrong by it; else it is worth knowing.
        files: Pictures to show beside it, two of a pair.
    """

    kind: str
    detail: str
    fault: bool = True
    files: tuple[Path, ...] = ()


def audit(
    dataset: Dataset, against: Dataset | None, official: Path | None, cache_dir: Path
) -> list[Finding]:
    """Everything that can be found in a data set that its reader accepts.

    Args:
        dataset: What is looked at.
        against: Another data set that should share no image with it.
        official: Folder of the authors' split files, whose sides are then compared.
        cache_dir: Folder of caches.
    """
    images = described(dataset, cache_dir)
    own = dataset.table.get("split", "")
    table = dataset.table.assign(side=official_sides(dataset, official) if official else own)
    found = official_leaks(dataset, official) if official else []
    images = described(dataset, cache_dir)
    found += repeat_findings(repeats(images), table, dataset.paths)
    if against is not None:
        found += across_sets(repeats(images, described(against, cache_dir)), dataset, against)
    return found + odd_names(dataset.table["patient"]) + blocks(images, dataset.table["id"])


def described(dataset: Dataset, cache_dir: Path) -> list[Described]:
    """Keypoints of all images, whose bytes are read again only where they have changed."""
    paths = dataset.paths

    def digest(item: int) -> list[str]:
        return [hashlib.sha256(paths[item].read_bytes()).hexdigest()]

    files = [(path,) for path in dataset.table["path"]]
    digests = [each for (each,) in remembered("audit", dataset.root, files, digest)]
    return describe(paths, digests, cache_dir)


def repeat_findings(
    pairs: Sequence[Repeat], table: pd.DataFrame, paths: Sequence[Path]
) -> list[Finding]:
    """Repeats within a data set, those that cross a border first.

    Args:
        pairs: As given by `repeats.repeats`.
        table: One row an image: id, patient, side (of a split) and any labels.
        paths: Files of the images.
    """
    borders = ["patient", "side", *(name for name in LABEL_COLUMNS if name in table)]
    found = []
    for pair in pairs:
        one, other = table.iloc[pair.first], table.iloc[pair.second]
        crossed = [
            f"{name} {one[name] or 'none'} and {other[name] or 'none'}"
            for name in borders
            if one[name] != other[name]
        ]
        kind = (
            "Repeat with another patient, side or label"
            if crossed
            else "Repeat within one patient or examination"
        )
        detail = "; ".join([f"{one['id']} and {other['id']}: {_alike(pair)}", *crossed])
        files = (paths[pair.first], paths[pair.second])
        found.append(Finding(kind, detail, bool(crossed), files))
    return sorted(found, key=lambda each: not each.fault)


def across_sets(pairs: Sequence[Repeat], one: Dataset, other: Dataset) -> list[Finding]:
    """Images that another data set has as well."""
    kind, found = "Image of another data set", []
    for pair in pairs:
        names = [d.table["id"].iloc[i] for d, i in ((one, pair.first), (other, pair.second))]
        files = (one.paths[pair.first], other.paths[pair.second])
        found.append(Finding(kind, f"{' and '.join(names)}: {_alike(pair)}", files=files))
    return found


def _alike(pair: Repeat) -> str:
    if pair.points < 0:
        return "equal pixels"
    return f"the same frame, {pair.points} points{', mirrored' if pair.mirrored else ''}"


def official_sides(dataset: Dataset, folder: Path) -> pd.Series:
    """Whether each image's patient is tested by the authors' split, or not."""
    tested = set(_official(dataset, folder).test) if dataset.name in OFFICIAL else set()
    return dataset.table["patient"].map(lambda patient: "test" if patient in tested else "train")


def official_leaks(dataset: Dataset, folder: Path) -> list[Finding]:
    """Tested patients of the authors' split who are trained or validated on as well."""
    if dataset.name not in OFFICIAL:
        what = "The authors have no split of this kind of data set"
        return [Finding(what, dataset.name, fault=False)]
    split = _official(dataset, folder)
    leaks = sorted(leaking(split))
    detail = f"{len(leaks)} of {len(split.test)} tested {dataset.units}: {', '.join(leaks)}"
    return [Finding("Official split trains on what it tests", detail)] if leaks else []


def _official(dataset: Dataset, folder: Path):
    return official_folds(folder, OFFICIAL[dataset.name][1])


def odd_names(patients: pd.Series) -> list[Finding]:
    """Patients whose names differ in form only: 012 and 12, 7 and 7.0, case, unseen characters.

    >>> [found.detail for found in odd_names(pd.Series(["012", "12", "7", "7.0", "9"]))]
    ["'012' = '12'", "'7' = '7.0'"]
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(set(patients)):
        groups.setdefault(plain_name(name), []).append(name)
    twice = [names for names in groups.values() if len(names) > 1]
    what = "Patient names that differ in form only"
    return [Finding(what, " = ".join(map(repr, names))) for names in twice]


def plain_name(name: str) -> str:
    """A patient's name without what is no part of it.

    >>> plain_name(" P\\u200b012 "), plain_name("7.0"), plain_name("0"), plain_name("pat-007")
    ('p012', '7', '0', 'pat-007')
    """
    seen = [c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c)[0] != "C"]
    plain = "".join("".join(seen).split()).casefold()
    whole = plain.removesuffix(".0")
    return (whole.lstrip("0") or "0") if whole.isdigit() else plain


def blocks(images: Sequence[Described], names: pd.Series) -> list[Finding]:
    """How many pictures have a block burnt into a corner, such as hides a name."""
    found = names[[each.block for each in images]]
    if found.empty:
        return []
    detail = f"{len(found)} of {len(names)} pictures, {found.iloc[0]} the first"
    return [Finding("Black block burnt into a corner", detail, fault=False)]


def counts(findings: Sequence[Finding]) -> Mapping[str, int]:
    """How many findings there are of each kind, faults first."""
    kinds = [each.kind for each in sorted(findings, key=lambda each: not each.fault)]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
