"""Unpack zip and tar archives into the folder layout that a data set's reader expects.

Archives come from strangers, though `fetch` has compared their hashes: nothing is written outside
of the folder, nothing but plain files and folders, and no more than a bound.
"""

import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath, PureWindowsPath

from fetalclip_nb.errors import DataError, listing, reading

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")

MAX_RATIO = 20
"""An archive may unpack to so many times its size, plus `SLACK_BYTES`."""

SLACK_BYTES = 1 << 30

_BLOCK = 4096  # what a file takes on a disk at least, so that empty ones count too


class _Bounded(io.BufferedReader):
    """A tar of which no more is read than is left: names and headers have lengths of their own."""

    left = 1 << 20

    def read(self, size: int = -1) -> bytes:
        self.left -= size
        if self.left < 0:
            raise tarfile.TarError("a header of more than a megabyte")
        return super().read(size)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a folder; after an error the folder may be incomplete.

    Sizes are those that the archive announces: neither format reads more of a file than that. A
    zip's links become plain files, a tar with links or devices is refused.
    """
    limit = left = MAX_RATIO * archive.stat().st_size + SLACK_BYTES

    def admit(name: str, size: int) -> None:
        nonlocal left
        left -= max(size, _BLOCK)
        path = PureWindowsPath(name)  # knows drives and both kinds of slash
        if not name or path.anchor or ".." in path.parts:
            raise _refusal("Archive member would leave the folder", archive, repr(name))
        if left < 0:
            raise _refusal("Archive holds more than is allowed", archive, f"over {limit} bytes")

    def plain(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
        admit(member.name, member.size)
        content.left += member.size + _BLOCK
        if not (member.isfile() or member.isdir()):
            raise _refusal("Archive member is a link or device", archive, repr(member.name))
        return tarfile.data_filter(member, path)

    with reading(archive, "Archive cannot be unpacked", fix="delete it and download it again"):
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as opened:
                for member in opened.infolist():
                    admit(member.filename, member.file_size)
                opened.extractall(folder)
        else:
            packed = {".tar": open, ".xz": lzma.open}.get(archive.suffix.lower(), gzip.open)
            content = _Bounded(packed(archive, "rb"))
            with content, tarfile.TarFile(fileobj=content) as opened:
                opened.extractall(folder, filter=plain)


def _refusal(what: str, archive: Path, found: str) -> DataError:
    return DataError(
        what,
        where=archive,
        expected="plain files and folders below one folder",
        found=found,
        fix="do not trust this archive: get it from the publisher's own page",
    )


FILE = "file"


def holds_layout(root: Path, layout: Mapping[str, str]) -> bool:
    """Whether a data set lies at ``root``; a root with anything else, or a part, is refused."""
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
    """
    work = root.with_name(f".{root.name}.preparing")
    shutil.rmtree(work, ignore_errors=True)  # what a killed run left behind
    pool, made = work / "pool", work / "made"
    pool.mkdir(parents=True)
    made.mkdir()
    try:
        for number, source in enumerate(sources):
            if source.name.lower().endswith(SUFFIXES):
                unpack(source, pool / str(number))
            else:
                shutil.copyfile(source, pool / source.name)
        for name, pattern in layout.items():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            _find(pool, name, pattern, sources).replace(made / name)
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
    alone = pattern == FILE
    files = (path for path in pool.rglob(name if alone else pattern) if path.is_file())
    places = {p if alone else p.parent for p in files if "__MACOSX" not in p.parts}
    end = PurePath(name).parts
    places = {place for place in places if place.parts[-len(end) :] == end} or places
    if len(places) != 1:
        raise DataError(
            "Archive does not hold what the data set needs",
            where=listing(source.name for source in sources),
            expected=f"one file {name}" if alone else f"one folder {name} with {pattern}",
            found=listing(sorted(str(place.relative_to(pool)) for place in places)) or "none",
            fix=f"unpack it by hand so that {name} lies in the data set's folder",
        )
    return places.pop()
