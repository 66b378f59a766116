"""What commands that answer have in common: options, forms, files to write, notes to read."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from fetalclip_nb.errors import ParameterError, listing

FORMATS = ("table", "json", "csv")

PICTURES = (".png", ".jpg", ".pdf", ".svg")

_RESEARCH = "For research and teaching. Not a medical device."

_PHANTOMS = (
    "phantomclip was trained on drawn phantoms, not on patients: what it says is a demonstration."
)


def add_options(
    parser: argparse.ArgumentParser, *, shown: str, default_format: str = "table"
) -> None:
    """Add the options that all of these commands have.

    Args:
        parser: Of one command.
        shown: What its picture shows.
        default_format: What it writes unless told otherwise.
    """
    parser.add_argument("--model", default="phantomclip", help="(default: phantomclip)")
    parser.add_argument("--format", choices=FORMATS, help=f"(default: {default_format})")
    parser.add_argument("--picture", type=Path, metavar="FILE", help=f"write {shown} (.png, .pdf)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, fp32, tf32, bf16 or fp16")


def asked_model(options: argparse.Namespace):
    """The model that the options name."""
    from fetalclip_nb.models.model import load_model

    return load_model(options.model, device=options.device, precision=options.precision)


def save_picture(target: Path, draw: Callable) -> None:
    """Write what a function draws, without a window and on machines without a display too."""
    import matplotlib as mpl

    mpl.use("Agg")
    write(target, lambda made: draw().savefig(made))


def write(target: Path, written: Callable[[Path], object]) -> None:
    """Write an answer: an older one stays until the new one is whole."""
    from fetalclip_nb.files import whole  # `--help` need not wait for it

    with (
        whole(Path(os.path.realpath(target))) if _is_plain(target) else nullcontext(target) as made
    ):
        written(made)


def _is_plain(target: Path) -> bool:
    """Whether a file can be replaced; devices and pipes are written as they are."""
    return (target.is_file() or not target.exists()) and not target.is_relative_to("/dev")


def note(source: str, *notes: str) -> None:
    """Say on standard error what a reader of the answer has to know.

    Args:
        source: What was loaded, as `models.Model` says.
        notes: What is to be said of this answer; empty ones are left out.
    """
    caveats = [_RESEARCH, _PHANTOMS] if source == "phantomclip" else [_RESEARCH]
    print("\n".join([*filter(None, notes), *caveats]), file=sys.stderr)


def require_writable(target: Path, option: str, *, inputs: Sequence[Path] = ()) -> None:
    """Refuse a file that cannot be written, before anything is computed.

    Args:
        target: The file.
        option: Option that names it, for the message.
        inputs: Files that must not be overwritten.
    """
    if os.path.realpath(target) in {os.path.realpath(file) for file in inputs}:
        raise ParameterError(
            "An image would be overwritten", where=option, found=target, fix="choose another name"
        )
    try:
        if target.is_file() or target.is_dir():
            target.open("ab").close()
        if _is_plain(target):
            tempfile.TemporaryFile(dir=Path(os.path.realpath(target)).parent).close()
        elif not os.access(target, os.W_OK):  # opening a pipe could wait for its reader
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise ParameterError(
            "File cannot be written there",
            where=option,
            found=f"{target} ({error.strerror})",
            fix="name a file in a folder that exists and that you may write to",
        ) from None


def require_picture(target: Path, option: str, *, inputs: Sequence[Path] = ()) -> None:
    """Refuse a file that no figure can be saved to: not writable, or none of `PICTURES`."""
    if target.suffix.lower() not in PICTURES:
        raise ParameterError(
            "Picture has an unknown ending", where=option, expected=listing(PICTURES), found=target
        )
    require_writable(target, option, inputs=inputs)


def shortened(text: str, length: int) -> str:
    """Text cut to a number of characters, with an ellipsis where something was cut.

    >>> shortened("cerebellum", 6), shortened("femur", 6)
    ('cereb…', 'femur')
    """
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"
