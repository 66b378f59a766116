"""What commands that answer have in common: forms, files to write, notes for the reader."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fetalclip_nb.errors import ParameterError, listing

FORMATS = ("table", "json", "csv")

PICTURES = (".png", ".jpg", ".pdf", ".svg")

_RESEARCH = "For research and teaching. Not a medical device."

_PHANTOMS = (
    "phantomclip was trained on drawn phantoms, not on patients: what it says is a demonstration."
)


def require_writable(target: Path, option: str, *, inputs: Sequence[Path] = ()) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Args:
        target: The file.
        option: Option that names it, for the message.
        inputs: Files that must not be overwritten.

    Raises:
        ParameterError: A folder, a file in a folder that does not exist or where this user may
            not write, or one of the inputs.
    """
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise ParameterError(
            "File cannot be written there",
            where=option,
            expected="the name of a file in a folder that exists",
            found=target,
        )
    if target.resolve() in {file.resolve() for file in inputs}:
        raise ParameterError(
            "An image would be overwritten", where=option, found=target, fix="choose another name"
        )
    try:
        _try_to_write(target)
    except OSError as error:
        raise ParameterError(
            "File cannot be written there",
            where=option,
            found=f"{target} ({error.strerror})",
            fix="choose a folder that you may write to",
        ) from None


def require_picture(target: Path, option: str, *, inputs: Sequence[Path] = ()) -> None:
    """As `require_writable`, for a file that a figure is saved to.

    Raises:
        ParameterError: Also if its ending is none of `PICTURES`.
    """
    if target.suffix.lower() not in PICTURES:
        raise ParameterError(
            "Picture has an unknown ending", where=option, expected=listing(PICTURES), found=target
        )
    require_writable(target, option, inputs=inputs)


def caveats(source: str) -> list[str]:
    """What a reader of a model's answer has to know.

    Args:
        source: What was loaded, as `models.Model` says.

    >>> len(caveats("phantomclip")), len(caveats("fetalclip"))
    (2, 1)
    """
    return [_RESEARCH, _PHANTOMS] if source == "phantomclip" else [_RESEARCH]


def shown_path(path: Path | str) -> str:
    """A path as it is shown: relative to the current folder where it lies in it."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _try_to_write(target: Path) -> None:
    """Fail as writing would, and leave everything as it is."""
    if target.is_file():
        target.open("ab").close()
    elif target.exists():  # a device or a pipe: opening it could wait for its reader
        if not os.access(target, os.W_OK):
            raise PermissionError(13, "Permission denied")
    else:
        with tempfile.TemporaryFile(dir=target.absolute().parent):
            pass


def shortened(text: str, length: int) -> str:
    """Text cut to a number of characters, with an ellipsis where something was cut.

    >>> shortened("cerebellum", 6), shortened("femur", 6)
    ('cereb…', 'femur')
    """
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"
