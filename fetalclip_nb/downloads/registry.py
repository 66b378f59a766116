"""What can be downloaded: addresses, sizes, hashes, licences and citations (registry.yaml)."""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from fetalclip_nb.errors import DownloadError


@dataclass(frozen=True)
class RemoteFile:
    """One file.

    Attributes:
        path: Where it goes, relative to the download folder (posix).
        url: Where it lies.
        bytes: Its size; None if nobody has published it.
        hash: "sha256:..." or "md5:..."; "" if nobody has published one.
        hash_source: "measured" (by this project), "third party" or "".
    """

    path: str
    url: str
    bytes: int | None = None
    hash: str = ""
    hash_source: str = ""

    def url_at(self, base_url: str | None) -> str:
        """The address, with scheme and host replaced by those of a mirror if one is given.

        >>> RemoteFile("a.csv", "https://zenodo.org/records/1/files/a.csv").url_at("http://box:80/")
        'http://box:80/records/1/files/a.csv'
        """
        return self.url if base_url is None else base_url.rstrip("/") + urlsplit(self.url).path


@dataclass(frozen=True)
class Entry:
    """A data set, a model or a set of released files.

    Attributes:
        name: Name in the registry.
        title: What it is.
        kind: "data set", "model" or "released outputs".
        licence: As the publisher states it.
        citation: How to cite it.
        citation_doi: DOI of the cited paper.
        page: Where its publisher describes it.
        files: The files to download.
        doi: DOI of the record itself, "" if it has none.
        layout: For a data set: name or path below its root -> pattern of the files in that
            folder, or "file".
    """

    name: str
    title: str
    kind: str
    licence: str
    citation: str
    citation_doi: str
    page: str
    files: tuple[RemoteFile, ...]
    doi: str = ""
    layout: dict[str, str] = field(default_factory=dict)

    def file(self, path: str) -> RemoteFile:
        """The file with this path."""
        return next(file for file in self.files if file.path == path)


@cache
def registry() -> dict[str, Entry]:
    """All entries by name, in file order."""
    text = (resources.files(__package__) / "registry.yaml").read_text("utf-8")
    return {name: _entry(name, content) for name, content in yaml.safe_load(text).items()}


def registered(name: str) -> Entry:
    """The entry of this name.

    >>> registered("hc18").licence
    'CC BY 4.0'
    """
    if name not in registry():
        raise DownloadError(
            "Nothing is registered under this name",
            where="registry.yaml",
            expected=", ".join(registry()),
            found=name,
            fix="choose one of the registered names, or put your own files in place by hand",
        )
    return registry()[name]


def file_hash(path: Path, like: str = "sha256:") -> str:
    """Hash of a file in the form of ``like``, "sha256:..." or "md5:..."."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as stream:
        return f"{algorithm}:{hashlib.file_digest(stream, algorithm).hexdigest()}"


def _entry(name: str, content: dict) -> Entry:
    base = content.pop("base", "")
    files = tuple(
        RemoteFile(**{"url": base + file["path"], **file}) for file in content.pop("files")
    )
    return Entry(name=name, files=files, **content)
