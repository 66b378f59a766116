"""Unpack zip and tar archives from strangers: nothing outside the folder, no links, no bombs.

Bring unpacked archives into the folder layout that a data set's reader expects.
"""

import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import IO

from fetalclip_nb.errors import DataError, listing

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")

MAX_RATIO = 20
"""Default limit: this many times the archive's size, plus `SLACK_BYTES`."""

SLACK_BYTES = 1 << 30

MAX_MEMBERS = 1_000_000

_CHUNK = 1 << 20

_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
)


@dataclass(frozen=True)
class _Member:
    """One entry: a folder if ``kind`` is "folder", a file if "file", else something refused."""

    name: str
    kind: str
    handle: zipfile.ZipInfo | tarfile.TarInfo


def is_archive(path: str | Path) -> bool:
    """Whether the file's name says that it is a zip or tar archive.

    >>> is_archive("training_set.zip"), is_archive("training_set.csv")
    (True, False)
    """
    return Path(path).name.lower().endswith(SUFFIXES)


def unpack(archive: str | Path, folder: str | Path, *, max_bytes: int | None = None) -> Path:
    """Unpack an archive into a new folder.

    The folder appears only when everything is there: work goes on in a temporary folder beside it.

    Args:
        archive: A .zip, .tar, .tar.gz, .tgz or .tar.xz file.
        folder: Folder to make; it must not hold anything yet.
        max_bytes: Limit for the unpacked total; by default 20 times the archive plus 1 GiB.

    Returns:
        ``folder`` as a path.

    Raises:
        DataError: Damaged archive, a member that would leave the folder, a link or device, more
            than ``max_bytes``, or a folder that is in use.
    """
    archive, folder = Path(archive), Path(folder)
    _require_usable(archive, folder)
    limit = MAX_RATIO * archive.stat().st_size + SLACK_BYTES if max_bytes is None else max_bytes
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _extract(archive, work, limit)
        if folder.exists():
            folder.rmdir()  # Windows does not rename onto a folder
        work.chmod(0o755)  # mkdtemp's folder is private
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _extract(archive: Path, work: Path, limit: int) -> None:
    left = limit
    try:
        with _opened(archive) as (members, stream_of):
            for number, member in enumerate(members):
                if number >= MAX_MEMBERS:
                    raise _refusal("Archive has too many members", archive, f"> {MAX_MEMBERS}")
                target = work / _safe_path(member, archive)
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with stream_of(member.handle) as source:
                    left -= _copy(source, target, left, archive, limit)
    except _DAMAGE as error:
        raise DataError(
            "Archive cannot be unpacked",
            where=archive,
            found=f"{type(error).__name__}: {error}",
            fix="delete it and download it again; check the space on the disk",
        ) from None


def _copy(source: IO[bytes], target: Path, left: int, archive: Path, limit: int) -> int:
    """Copy and count what really comes: sizes in an archive's headers may lie."""
    written = 0
    with target.open("xb") as out:  # x: no member may overwrite another
        while block := source.read(_CHUNK):
            written += len(block)
            if written > left:
                raise _refusal(
                    "Archive unpacks to more than is allowed", archive, f"over {limit} bytes"
                )
            out.write(block)
    return written


def _safe_path(member: _Member, archive: Path) -> PurePosixPath:
    name = member.name
    path = PurePosixPath(name.replace("\\", "/"))
    windows = PureWindowsPath(name)
    if not name or "\0" in name or path.is_absolute() or windows.drive or ".." in path.parts:
        raise _refusal("Archive member would leave the folder", archive, repr(name))
    if member.kind not in ("file", "folder"):
        raise _refusal(f"Archive member is a {member.kind}", archive, repr(name))
    return path


def _refusal(what: str, archive: Path, found: str) -> DataError:
    return DataError(
        what,
        where=archive,
        expected="plain files and folders below one folder",
        found=found,
        fix="do not trust this archive: get it from the publisher's own page",
    )


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[Iterator[_Member], object]]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield map(_zip_member, opened.infolist()), opened.open
    else:
        with tarfile.open(archive) as opened:
            yield map(_tar_member, opened), opened.extractfile


def _zip_member(info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        kind = "link"
    elif info.flag_bits & 1:
        kind = "encrypted file"
    else:
        kind = "folder" if info.is_dir() else "file"
    return _Member(info.filename, kind, info)


def _tar_member(info: tarfile.TarInfo) -> _Member:
    if info.issym() or info.islnk():
        kind = "link"
    elif info.isdir():
        kind = "folder"
    else:
        kind = "file" if info.isfile() else "device"
    return _Member(info.name, kind, info)


def _require_usable(archive: Path, folder: Path) -> None:
    if not archive.is_file():
        raise DataError("Archive is missing", where=archive, fix="download it first")
    if not is_archive(archive):
        raise DataError(
            "Not an archive that can be unpacked", where=archive, expected=", ".join(SUFFIXES)
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            "Folder to unpack into is in use",
            where=folder,
            expected="no such folder, or an empty one",
            fix="choose another folder or move this one away",
        )


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
