"""Bring unpacked archives into the folder layout that a data set's reader expects.

A layout maps each name below the root to the pattern of the files in that folder, or to "file".
Archives wrap their folders differently (an extra top folder, a doubled one, none): what counts is
where the files of the pattern lie. Where several folders hold such files, it is the one whose path
ends as the name does ("training/images").
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from fetalclip_nb.archives import is_archive, unpack
from fetalclip_nb.errors import DataError, listing

FILE = "file"


def holds_layout(root: Path, layout: Mapping[str, str]) -> bool:
    """Whether a data set lies at ``root`` already.

    Returns:
        True if everything in the layout is there, False if the root is empty or missing.

    Raises:
        DataError: The root holds phantoms or something else, so nothing may be laid out there.
    """
    if (root / "phantom.json").exists():
        raise DataError(
            "Folder holds phantoms",
            where=root,
            expected="an empty folder, or the real data set",
            fix="give the real data a folder of their own",
        )
    if all(_present(root / name, pattern) for name, pattern in layout.items()):
        return True
    if root.exists() and any(root.iterdir()):
        raise DataError(
            "Folder is neither empty nor this data set",
            where=root,
            expected=", ".join(layout),
            found=listing(sorted(path.name for path in root.iterdir())),
            fix="choose an empty folder, or complete this one by hand",
        )
    return False


def lay_out(sources: Sequence[Path], layout: Mapping[str, str], root: Path) -> None:
    """Unpack archives and copy plain files so that ``root`` has the layout.

    Everything is made beside the root and renamed at the end: a root that exists is complete.

    Args:
        sources: Archives and plain files.
        layout: Name below the root to pattern or "file".
        root: Folder to make; it may exist if it is empty.

    Raises:
        DataError: An archive is damaged or lacks what the layout names.
    """
    work = root.with_name(f".{root.name}.preparing")
    shutil.rmtree(work, ignore_errors=True)  # what a killed run left behind
    pool, made = work / "pool", work / "made"
    pool.mkdir(parents=True)
    made.mkdir()
    try:
        for number, source in enumerate(sources):
            if is_archive(source):
                unpack(source, pool / str(number))
            else:
                shutil.copyfile(source, pool / source.name)
        for name, pattern in layout.items():
            found = _find(pool, name, pattern, sources)
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            found.replace(made / name)
        if root.exists():
            root.rmdir()  # Windows does not rename onto a folder
        made.replace(root)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _present(path: Path, pattern: str) -> bool:
    return path.is_file() if pattern == FILE else next(path.glob(pattern), None) is not None


def _find(pool: Path, name: str, pattern: str, sources: Sequence[Path]) -> Path:
    """The one file of this name, or the one folder that holds files of this pattern.

    Of several folders, those whose path ends as the name does.
    """
    found = [
        path
        for path in pool.rglob(name if pattern == FILE else pattern)
        if path.is_file() and "__MACOSX" not in path.parts
    ]
    places = {path if pattern == FILE else path.parent for path in found}
    end = PurePath(name).parts
    places = {place for place in places if place.parts[-len(end) :] == end} or places
    if len(places) != 1:
        raise DataError(
            "Archive does not hold what the data set needs",
            where=listing(source.name for source in sources),
            expected=f"one {'file' if pattern == FILE else 'folder'} {name}"
            + ("" if pattern == FILE else f" with {pattern}"),
            found=listing(sorted(str(place.relative_to(pool)) for place in places)) or "none",
            fix=f"unpack it by hand so that {name} lies in the data set's folder",
        )
    return places.pop()
