"""Where things lie: the checkout, the shipped model and downloaded ones."""

import os
from pathlib import Path

SHIPPED = Path(__file__).parent / "models" / "weights" / "phantomclip"
"""Folder of the model that comes with the package."""


def project_root() -> Path:
    """The checkout that the current folder belongs to, else the current folder.

    A notebook may be started in ``notebooks/``, by papermill at the root, or anywhere in
    Colab: relative paths mean the same in all of them.
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def expanded(path: str | Path) -> Path:
    """A path with ~ as the home folder where a text begins with it; in "./~" it is a name."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path drops the dot first)


def resolve(path: str | Path) -> Path:
    """An absolute path; a relative one is tried from here, then from the project's root."""
    path = expanded(path)
    near = Path.cwd() / path
    return near if near.exists() else project_root() / path


def as_text(path: str | Path) -> str:
    r"""A path as any text may hold it: bytes of a name that are no UTF-8 are written as \xNN."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shown(path: str | Path, root: Path | None = None) -> str:
    """A path as a reader is shown it: relative to the checkout, or another root, if it is in it."""
    path, root = Path(as_text(path)), Path(as_text(root or project_root()))
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def models_folder() -> Path:
    """Downloaded models: $FETALCLIP_NB_MODELS, else build/models."""
    given = os.environ.get("FETALCLIP_NB_MODELS")
    return expanded(given) if given else project_root() / "build" / "models"
