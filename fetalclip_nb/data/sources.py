"""Putting a profile's data in place: phantoms are drawn, real data are downloaded."""

from functools import partial
from pathlib import Path

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.downloads import fetch
from fetalclip_nb.errors import ProfileError
from fetalclip_nb.paths import resolve
from fetalclip_nb.phantoms.chd import write_chd
from fetalclip_nb.phantoms.cohorts import write_fetal_planes, write_hc18
from fetalclip_nb.phantoms.organs import ORGANS, write_organs
from fetalclip_nb.profiles import DEMO, VIEWS, DataSource, load_profile

_WRITERS = {"fetal_planes": write_fetal_planes, "hc18": write_hc18}

_VIEWS = {"chd": write_chd} | {view: partial(write_organs, view=view) for view in ORGANS}
"""Phantoms in the form of a manifest."""


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
        _draw(source)
    elif source.download and source.kind == "released":
        fetch.fetch(source.download, source.root)
    elif source.download:
        fetch.prepare_dataset(source.download, source.root)
    return source.root


def data_folder(root: str, *, demo: str) -> Path:
    """A data set's folder, or that of the demo's phantoms (drawn if missing) for the word "demo".

    Args:
        root: Folder (relative to here or to the checkout), or "demo".
        demo: Name of the data set in the demo profile.
    """
    return prepare(load_profile(DEMO).data[demo]) if root == DEMO else resolve(root)


def open_dataset(kind: str, root: str, *, demo: str = "") -> Dataset:
    """Load a data set by folder, or the demo's phantoms by the word "demo".

    Args:
        kind: "fetal_planes", "hc18", "manifest", "fass" or "focus".
        root: Folder (relative to here or to the checkout), or "demo".
        demo: Name of the data set in the demo profile, where it is not the kind's name.
    """
    return load_dataset(kind, data_folder(root, demo=demo or kind))


def _draw(source: DataSource) -> None:
    """Draw a source's phantoms, if they are not there."""
    settings = dict(source.phantoms)
    writers, kind = _WRITERS, source.kind
    if kind == "manifest":
        writers, kind = _VIEWS, settings.pop("view", VIEWS[0])
    if kind not in writers:
        raise ProfileError(
            "No phantoms of this kind",
            where=source.root,
            expected=", ".join([*_WRITERS, *(f"manifest with view {view}" for view in _VIEWS)]),
            found=kind,
        )
    writers[kind](source.root, **settings)
