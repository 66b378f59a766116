"""Putting a profile's data in place: phantoms are drawn, real data are downloaded."""

from pathlib import Path

from fetalclip_nb.data.kinds import KINDS
from fetalclip_nb.downloads import fetch
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.paths import resolve
from fetalclip_nb.profiles import DEMO, DataSource, load_profile


def prepare(source: DataSource) -> Path:
    """The folder of a profile's source: what is missing there is drawn or downloaded."""
    if source.phantoms:
        writers = KINDS[source.kind].phantoms
        settings = {"view": next(iter(writers)), **source.phantoms}
        writers[settings.pop("view")](source.root, **settings)
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
    if root != DEMO:
        return resolve(root)
    drawn = load_profile(DEMO).data
    if demo not in drawn:
        raise ParameterError(
            f"The demo has nothing in place of {demo!r}", found=root, fix="name a folder of files"
        )
    return prepare(drawn[demo])
