"""Fetch registered files: checked, resumable, never half there.

A file grows as ``NAME.part`` and gets its own name only once its size and hash are right, so
whatever bears the right name is whole. A file that is not the registered one stays as
``NAME.rejected``, so that a user who trusts it need not fetch it twice.
"""

import logging
import zipfile
from pathlib import Path

from filelock import FileLock

from fetalclip_nb.downloads.registry import Entry, RemoteFile, file_hash, registered, registry
from fetalclip_nb.downloads.transfer import transfer
from fetalclip_nb.downloads.unpack import holds_layout, lay_out
from fetalclip_nb.errors import DownloadError
from fetalclip_nb.paths import expanded

log = logging.getLogger(__name__)

_POINTER_START = b"version https://git-lfs.github.com/spec/"

_POINTER_LIMIT = 1024

_PAGE_STARTS = (b"<!doctype html", b"<html")


def fetch(
    name: str,
    folder: str | Path,
    *,
    accept_hash_mismatch: bool = False,
    base_url: str | None = None,
) -> Path:
    """Download an entry of the registry, unless it is there already, and check it.

    Args:
        name: Name in registry.yaml, for example "fetalclip" or "fetalclip-released".
        folder: Where the files go, below it at the paths of the entry.
        accept_hash_mismatch: Take a file whose size or hash is not the registered one.
        base_url: Mirror whose scheme and host replace those of the registered addresses.

    Returns:
        The file, or ``folder`` for an entry of several files.
    """
    entry, folder = registered(name), expanded(folder)
    for file in entry.files:
        target = folder / file.path
        if target.is_file():
            require_registered(file, target, accept_hash_mismatch=accept_hash_mismatch)
            continue
        with _lock(folder / f".{name}.lock"):
            if not target.is_file():  # else another process has brought and checked it meanwhile
                _download(entry, file, target, file.url_at(base_url), accept_hash_mismatch)
    return folder / entry.files[0].path if len(entry.files) == 1 else folder


def prepare_dataset(
    name: str,
    folder: str | Path,
    *,
    accept_hash_mismatch: bool = False,
    base_url: str | None = None,
) -> Path:
    """Download a data set and unpack it into the layout that its reader expects.

    The downloaded archives stay beside it, in ``<folder>.downloads``; delete them at will.

    Args:
        name: "fetal_planes", "african_planes", "hc18", "fass" or "focus".
        folder: Root of the data set, given back as a path: it holds what the entry's layout names
            afterwards, such as ``Images``. If it does already, nothing is fetched.
        accept_hash_mismatch: As for `fetch`.
        base_url: As for `fetch`.
    """
    entry, root = registered(name), expanded(folder)
    if not entry.layout:
        raise DownloadError(
            "This entry is no data set",
            where=name,
            expected=", ".join(e.name for e in registry().values() if e.layout),
            fix="fetch it with fetalclip-nb download",
        )
    if holds_layout(root, entry.layout):
        return root
    downloads = root.with_name(f"{root.name}.downloads")
    fetch(name, downloads, accept_hash_mismatch=accept_hash_mismatch, base_url=base_url)
    with _lock(root.with_name(f".{root.name}.lock")):
        if not holds_layout(root, entry.layout):
            lay_out([downloads / file.path for file in entry.files], entry.layout, root)
    return root


def to_fetch(entry: Entry, folder: str | Path) -> list[RemoteFile]:
    """The files of an entry that `fetch`, or `prepare_dataset`, would download to a folder."""
    root = expanded(folder)
    if entry.layout and holds_layout(root, entry.layout):
        return []
    root = root.with_name(f"{root.name}.downloads") if entry.layout else root
    return [file for file in entry.files if not (root / file.path).is_file()]


def require_registered(file: RemoteFile, path: Path, *, accept_hash_mismatch: bool = False) -> None:
    """Refuse a pointer or web page in a file's place; another size or hash may be accepted."""
    _require_content(file, path)
    _require_match(file, path, path, accept_hash_mismatch)


def require_not_lfs_pointer(path: Path) -> None:
    """Refuse the small text that Git LFS leaves in place of a large file."""
    small = path.is_file() and path.stat().st_size <= _POINTER_LIMIT
    if not small or not _first_bytes(path).startswith(_POINTER_START):
        return
    lines = path.read_text("utf-8", errors="replace").splitlines()
    facts = dict(line.split(" ", 1) for line in lines if " " in line)
    names = [e.name for e in registry().values() for f in e.files if Path(f.path).name == path.name]
    size, oid = facts.get("size", "more"), facts.get("oid", "hash unknown")
    command = f"delete it and run fetalclip-nb download {names[0]}, or " if names else ""
    raise DownloadError(
        "This is a Git LFS pointer, not the file itself",
        where=path,
        expected=f"a file of {size} bytes, {oid}",
        found=f"a text of {path.stat().st_size} bytes",
        fix=f"{command}run git lfs pull in the clone that it comes from",
    )


def _download(entry: Entry, file: RemoteFile, target: Path, url: str, accept: bool) -> None:
    part, rejected = (target.with_name(target.name + end) for end in (".part", ".rejected"))
    if accept and rejected.is_file():
        rejected.replace(target)  # the very file whose hash the message named
        return
    log.info("Downloading %s (%s), %s", file.path, entry.licence, url.rpartition("@")[2])
    size = None if accept else file.bytes
    transfer(url, part, size=size, resume=bool(file.hash and size))
    try:
        _require_content(file, part)
    except DownloadError:
        part.unlink()
        raise
    try:
        _require_match(file, part, target, accept)
    except DownloadError:
        part.replace(rejected)
        raise
    if not file.hash:
        log.info("%s: no hash is registered; this one has %s", file.path, file_hash(part))
    part.replace(target)


def _require_content(file: RemoteFile, path: Path) -> None:
    require_not_lfs_pointer(path)
    if _first_bytes(path).lower().startswith(_PAGE_STARTS):
        raise DownloadError(
            "This is a web page, not the file itself",
            where=path,
            expected=f"what lies at {file.url}",
            fix="a login page or a proxy may stand between: delete it, fetch it in a browser",
        )


def _require_match(file: RemoteFile, path: Path, target: Path, accept: bool) -> None:
    size = path.stat().st_size
    found = file_hash(path, file.hash) if file.hash else ""
    whole = file.hash or target.suffix != ".pt" or zipfile.is_zipfile(path)
    if accept or (file.bytes in (None, size) and found == file.hash and whole):
        return
    doubt = " (third party: read in public code)" * (file.hash_source == "third party")
    doubt += ", a zip archive as torch.save writes it" * (not whole)
    raise DownloadError(
        "File is not the registered one",
        where=target,
        expected=f"{file.bytes or 'any number of'} bytes {file.hash}{doubt}".strip(),
        found=f"{size} bytes {found}".strip(),
        fix=f"delete it and fetch it again from {file.url}; if you trust what is there, pass "
        "accept_hash_mismatch=True (fetalclip-nb download --accept-hash-mismatch)",
    )


def _lock(path: Path) -> FileLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        what, fix = "Folder cannot be written", "choose another folder"
        raise DownloadError(what, where=path.parent, found=error.strerror, fix=fix) from None
    return FileLock(path)


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_POINTER_LIMIT).lstrip()
