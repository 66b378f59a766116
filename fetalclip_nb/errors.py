"""One family of errors, one form of message: what, where, expected, found, what to do."""

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path


class FetalClipError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        what: What is wrong, as a short sentence without the final period.
        where: File, column, parameter or setting concerned.
        expected: What would have been right.
        found: What was there instead.
        fix: What the reader can do about it.

    >>> print(FetalClipError("Column is missing", where="a.csv", expected="Plane", fix="rename it"))
    Column is missing. Where: a.csv. Expected: Plane. What to do: rename it.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = "",
        expected: object = "",
        found: object = "",
        fix: str = "",
    ) -> None:
        self.what = what
        parts = (("Where", where), ("Expected", expected), ("Found", found), ("What to do", fix))
        details = [f"{name}: {str(text).rstrip('.')}." for name, text in parts if str(text)]
        # One paragraph, whatever a file or its name has in it.
        super().__init__(" ".join(" ".join([f"{what.rstrip('.')}.", *details]).splitlines()))


class ProfileError(FetalClipError):
    """A profile file or a setting in it cannot be used."""


class ParameterError(FetalClipError):
    """A notebook or function parameter is unknown, of the wrong type or out of range."""


class DataError(FetalClipError):
    """A data set's files or table do not have the documented layout."""


class ImageError(DataError):
    """An image file is missing, truncated or of a kind that cannot be used."""


class DownloadError(FetalClipError):
    """A file could not be fetched, or what came is not what was registered."""


class ModelError(FetalClipError):
    """A model's config or weights cannot be loaded."""


class CacheError(FetalClipError):
    """A cached product does not match what its key promises."""


class ShapeError(FetalClipError):
    """An array has a shape, a type or a norm that the computation does not accept."""


class ResultError(FetalClipError):
    """A result file is missing, malformed or at odds with what is shown."""


class NotebookError(FetalClipError):
    """A notebook failed, or its executed copy is not what the book may publish."""


def listing(items: Iterable[object], limit: int = 10) -> str:
    """Join the first few items and say how many there are.

    >>> listing(["a", "b", "c"], limit=2)
    'a, b (first 2 of 3)'
    >>> listing(["a", "b"])
    'a, b'
    """
    names = [str(item) for item in items]
    head = ", ".join(names[:limit])
    return head if len(names) <= limit else f"{head} (first {limit} of {len(names)})"


def refuse(
    wrong: Iterable[object],
    what: str,
    *,
    error: type[FetalClipError] = DataError,
    **details: object,
) -> None:
    """Raise an error that lists what is wrong; nothing happens where nothing is.

    Args:
        wrong: Names or values that cannot be used.
        what: What is wrong with them.
        error: Kind of error.
        **details: Its ``where``, ``expected`` and ``fix``.

    >>> refuse([], "Names occur twice")
    """
    names = [str(each) or "''" for each in wrong]  # an empty name is wrong, too
    if not names:
        return
    problem = error(what, found=listing(names), **details)
    if (gathered := _GATHERED.get()) is None:
        raise problem
    gathered.append(problem)


_GATHERED: ContextVar[list[FetalClipError] | None] = ContextVar("gathered", default=None)


@contextlib.contextmanager
def gathering() -> Iterator[list[FetalClipError]]:
    """Collect what `refuse` would raise, so that all that is wrong is known at once.

    What is read on after a refusal may fail in any way; that tells nothing new and is let go.

    >>> with gathering() as wrong:
    ...     refuse(["a.png"], "Names occur twice")
    ...     refuse(["b.png"], "Files are missing")
    >>> [problem.what for problem in wrong]
    ['Names occur twice', 'Files are missing']
    """
    wrong: list[FetalClipError] = []
    token = _GATHERED.set(wrong)
    try:
        yield wrong
    except FetalClipError as problem:
        wrong.append(problem)
    except Exception:
        if not wrong:
            raise
    finally:
        _GATHERED.reset(token)


@contextlib.contextmanager
def reading(
    path: Path | str,
    what: str,
    *,
    error: type[FetalClipError] = DataError,
    **details: object,
) -> Iterator[None]:
    """Turn whatever a library raises over somebody's file into one error that names the file.

    It stands around the parsing of what comes from outside, and around nothing else: there a
    parser may raise anything, and our own mistakes must not look like those of a file.

    Args:
        path: The file.
        what: What cannot be done with it.
        error: Kind of error.
        **details: Its ``expected`` and ``fix``.

    >>> with reading("a.json", "Table cannot be read"):
    ...     raise ValueError("no number")
    Traceback (most recent call last):
    fetalclip_nb.errors.DataError: Table cannot be read. Where: a.json. Found: no number.
    """
    try:
        yield
    except FetalClipError:
        raise
    except Exception as problem:
        raise error(what, where=path, found=reason(problem), **details) from problem


def reason(problem: BaseException) -> str:
    """What another library says is wrong, as part of a sentence.

    >>> reason(KeyError("state_dict"))
    "KeyError 'state_dict'"
    >>> reason(FileNotFoundError(2, "No such file or directory", "a.png"))
    'No such file or directory'
    """
    text = getattr(problem, "strerror", None) or " ".join(str(problem).split())
    return text if " " in text else f"{type(problem).__name__} {text}".strip()
