"""Files that are whole or not there, one lock and one recipe for keys, names for files."""

import contextlib
import glob
import hashlib
import io
import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import filelock
import numpy as np
import psutil

from fetalclip_nb.errors import CacheError

_SEAL = hashlib.sha256().digest_size

T = TypeVar("T")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file or folder that gets its own name once it is written, and on the disk.

    It is a path of the same name in a temporary folder beside it; folders above are made. A run
    that is killed leaves the old file or none, and at most a folder that ends in .tmp: the next
    writer of the same name removes it.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(".tmp", own_name(path), path.parent) as folder:
            made = Path(folder) / path.name
            yield made
            for file in [made] if made.is_file() else made.rglob("*"):
                if file.is_file():
                    with file.open("rb") as opened:
                        os.fsync(opened.fileno())  # or a power cut could leave it empty
            made.replace(path)
    except OSError as error:
        if error.errno and not error.filename:  # a full disk does not say what it refused
            error.filename = str(path)
        raise


def own_name(path: Path) -> str:
    """How names begin that this process gives to what becomes a path, and that end in .tmp.

    What processes of this machine have left under such names, and are no more, is removed.
    """
    owner = f"{path.name}.{platform.node()}-"
    for left in path.parent.glob(f"{glob.escape(owner)}*.tmp"):
        process = left.name.removeprefix(owner).split(".")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    return f"{owner}{os.getpid()}."


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with whole(path) as made:
        made.write_text(text, "utf-8")


def lock(path: Path) -> filelock.FileLock:
    """A lock beside a file or folder: one process or thread makes it, others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(f"{path}.lock")


def keep(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file, whole or not at all, with a SHA-256 of its name and content behind the content.

    `numpy.load` and `zipfile` read it as if nothing followed.
    """
    file = io.BytesIO()  # not the disk: torch would hide that it is full
    write(file)
    with whole(path) as made:
        made.write_bytes(file.getvalue() + _seal(path, file.getvalue()))


def kept(path: Path) -> BinaryIO:
    """What `keep` has written.

    Raises:
        CacheError: If the file has been cut, altered or given the name of another.
    """
    data = memoryview(path.read_bytes())
    content, seal = data[:-_SEAL], data[-_SEAL:]
    if _seal(path, content) != seal:
        raise CacheError("File is cut or altered", where=path, fix="delete it and run again")
    return io.BytesIO(content)


def _seal(path: Path, content: bytes | memoryview) -> bytes:
    return hashlib.sha256(hashlib.sha256(content).digest() + path.name.encode()).digest()


def cached(
    path: Path,
    compute: Callable[[], T],
    read: Callable[[BinaryIO], T] = np.load,
    write: Callable[[BinaryIO, T], object] = np.save,
) -> T:
    """Read a file, or compute and keep what it holds; a damaged file is made again.

    Nothing is written where the file is there and whole, not even a lock.

    Args:
        path: The file; its name must cover all that its content depends on (see `key`).
        compute: Gives the content where there is no whole file.
        read: Open file to content.
        write: Writes the content to an open file.
    """
    with contextlib.suppress(OSError, CacheError):
        return read(kept(path))
    with lock(path):
        with contextlib.suppress(OSError, CacheError):  # made by another process meanwhile
            return read(kept(path))
        content = compute()
        keep(path, lambda file: write(file, content))
    return content


def key(meta: object, *arrays: np.ndarray) -> str:
    """16 hexadecimal digits that stand for settings and arrays together.

    Args:
        meta: Settings as JSON; the order of names does not matter.
        arrays: Their types, shapes and numbers count.

    >>> key({"side": 64, "seed": 1}) == key({"seed": 1, "side": 64}) != key({"seed": 1})
    True
    """
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def slug(name: str) -> str:
    """A name as it stands in file names and keys.

    >>> slug("FetalCLIP (released outputs)")
    'fetalclip-released-outputs'
    """
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-").lower()
