"""Files that are whole or not there, one lock and one recipe for keys, names for files."""

import contextlib
import hashlib
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import filelock
import numpy as np
from safetensors import SafetensorError

DAMAGE = (
    *(ValueError, LookupError, EOFError, OSError),
    *(zipfile.BadZipFile, zlib.error, SafetensorError),
)
"""What a reader raises that is given a cut or altered file."""

T = TypeVar("T")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file or folder that gets its own name once it is written.

    A run that is killed leaves the old file or none, and at most a folder that ends in .tmp.

    Args:
        path: The file or folder; folders above it are made.

    Yields:
        A path of the same name in a temporary folder beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".tmp", f"{path.name}.", path.parent) as folder:
        made = Path(folder) / path.name
        yield made
        made.replace(path)


def lock(path: Path) -> filelock.FileLock:
    """A lock beside a file or folder: one process or thread makes it, others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(f"{path}.lock")


def cached(
    path: Path,
    compute: Callable[[], T],
    read: Callable[[Path], T] = np.load,
    write: Callable[[Path, T], object] = np.save,
) -> T:
    """Read a file, or compute and keep what it holds; a damaged file is made again.

    Args:
        path: The file; its name must cover all that its content depends on (see `key`).
        compute: Gives the content where there is no whole file.
        read: Path to content; raises one of `DAMAGE` if the file is not whole.
        write: Writes the content to a path.
    """
    with lock(path):
        if path.is_file():
            with contextlib.suppress(*DAMAGE):
                return read(path)
        content = compute()
        with whole(path) as made:
            write(made, content)
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
