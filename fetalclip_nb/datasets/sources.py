"""Putting a profile's data in place: phantoms are drawn, real data are downloaded."""

from pathlib import Path

from fetalclip_nb import downloads, phantoms
from fetalclip_nb.datasets import Dataset, load_dataset
from fetalclip_nb.errors import ProfileError
from fetalclip_nb.paths import resolve
from fetalclip_nb.profiles import DEMO, DataSource, load_profile

_WRITERS = {
    "fetal_planes": phantoms.write_fetal_planes,
    "hc18": phantoms.write_hc18,
    "manifest": phantoms.write_chd,
}


def prepare(source: DataSource) -> Path:
    """Make sure that a source's files are there.

    Args:
        source: From a profile.

    Returns:
        Its folder.

    Raises:
        ProfileError: If phantoms of this kind do not exist.
        DataError, DownloadError: If drawing or downloading fails.
    """
    if source.phantoms:
        if source.kind not in _WRITERS:
            raise ProfileError(
                "No phantoms of this kind", expected=", ".join(_WRITERS), found=source.kind
            )
        _WRITERS[source.kind](source.root, **source.phantoms)
    elif source.download and source.kind == "released":
        downloads.fetch(source.download, source.root)
    elif source.download:
        downloads.prepare_dataset(source.download, source.root)
    return source.root


def open_dataset(kind: str, root: str, *, demo: str = "") -> Dataset:
    """Load a data set by folder, or the demo's phantoms by the word "demo".

    Args:
        kind: "fetal_planes", "hc18" or "manifest".
        root: Folder (relative to here or to the checkout), or "demo".
        demo: Name of the data set in the demo profile, where it is not the kind's name.
    """
    if root == DEMO:
        return load_dataset(kind, prepare(load_profile(DEMO).data[demo or kind]))
    return load_dataset(kind, resolve(root))
