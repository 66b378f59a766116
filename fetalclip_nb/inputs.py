"""From the words of a command line to image files and to classes."""

import glob
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fetalclip_nb.dicom import DECODERS, DICOM_SUFFIXES, NOT_DECODED, is_dicom
from fetalclip_nb.errors import DataError, ImageError, ParameterError, listing
from fetalclip_nb.images import verify_image
from fetalclip_nb.paths import project_root, resolve

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", *DICOM_SUFFIXES)
"""Endings of the files that are taken from folders and patterns, in lower case."""

_OUTLINE = "_Annotation"
"""How names of HC18's outlines end, before the suffix: drawings, no images to be judged."""

COLUMNS = ("image", "prediction")
"""What a table of predictions has beside the probabilities of the classes."""


def image_files(words: Sequence[str | Path]) -> list[Path]:
    """Image files that words name.

    A file that is named is taken whatever its ending. Of a folder, with all folders in it, and
    of a pattern (``*``, ``?``, ``[...]``, ``**`` for any folders between), images are taken:
    files that end like one (`SUFFIXES`), and DICOM files without an ending, or with a number in
    its place as where they are named by their UID. Hidden files and folders are left out, as
    are the outlines that lie between the images of HC18. Relative words are looked for here,
    then in the checkout.

    Args:
        words: Files, folders and patterns, also such as a shell has not expanded.

    Returns:
        Absolute paths, sorted, each file once.

    Raises:
        DataError: If there is no word, or some of them lead to no image; all are named.
    """
    _require_some(words)
    found = {word: _found(str(word)) for word in words}
    without = [f"{word} ({_reason(str(word))})" for word, files in found.items() if not files]
    if without:
        raise DataError(
            f"{len(without)} of {len(found)} names lead to no image",
            where=Path.cwd(),
            expected=f"image files, or folders and patterns that hold some ({', '.join(SUFFIXES)})",
            found=listing(without),
            fix="correct these names",
        )
    # The same file under two names counts once, under the name that comes first.
    distinct: dict[Path, Path] = {}
    for path in sorted(path for paths in found.values() for path in paths):
        distinct.setdefault(path.resolve(), path)
    return list(distinct.values())


def outlines_left_out(words: Sequence[str | Path], files: Sequence[Path]) -> list[Path]:
    """Outlines that lie where words point, and that `image_files` has not taken.

    Args:
        words: As given to `image_files`.
        files: What it gave.
    """
    named = [resolve(str(word)) for word in words]
    spots = [
        spot
        for word, path in zip(words, named, strict=True)
        if not path.is_file()
        for spot in ([path] if path.is_dir() else _matches(Path(word).expanduser()))
    ]
    near = {file for spot in spots for file in ([spot] if spot.is_file() else _visible(spot))}
    return sorted(file for file in near - set(files) if _is_outline(file))


def whole_images(files: Sequence[Path], *, skip_bad: bool = False) -> list[Path]:
    """Check that images can be read, before anything is computed with them.

    Args:
        files: Image files.
        skip_bad: Leave damaged images out instead of refusing them.

    Returns:
        The files, in the same order, without those that were skipped.

    Raises:
        ImageError: If images are missing or damaged (all of them are counted, the first ten
            are named, each with its reason), or if none is left.
        DataError: If there is no file at all, or there are DICOM files and no pydicom.
    """
    _require_some(files)
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(_problem, files))
    bad = [path for path, problem in zip(files, problems, strict=True) if problem]
    whole = [path for path, problem in zip(files, problems, strict=True) if not problem]
    if bad and (not skip_bad or not whole):
        raise ImageError(
            f"{len(bad)} of {len(files)} images cannot be read",
            expected="whole PNG, JPEG or DICOM files",
            found=listing(
                f"{file}: {_short(p)}" for file, p in zip(files, problems, strict=True) if p
            ),
            fix=_remedy([problem.what for problem in problems if problem], skip_bad=skip_bad),
        )
    return whole


def sentence_classes(sentences: Sequence[str]) -> dict[str, list[str]]:
    """Each sentence as a class of its own, named by itself.

    Raises:
        ParameterError: If a sentence is empty or given twice, or as `require_choice`.

    >>> sentence_classes(["a head ", "a femur"])
    {'a head': ['a head'], 'a femur': ['a femur']}
    """
    texts = [sentence.strip() for sentence in sentences]
    if not all(texts) or len(set(texts)) < len(texts):
        raise ParameterError(
            "Sentences are empty or repeated", where="prompts", found=listing(map(repr, texts))
        )
    classes = {text: [text] for text in texts}
    require_choice(classes)
    return classes


def require_choice(prompts: Mapping[str, Sequence[str]], *, where: str = "prompts") -> None:
    """Refuse classes between which nothing can be chosen, or that cannot head a column.

    Args:
        prompts: Sentences of each class.
        where: Parameter or file that they come from, for the message.

    Raises:
        ParameterError: Fewer than two classes, or a class named as another column.
    """
    if len(prompts) < 2:
        raise ParameterError(
            "One class alone always gets 100 %",
            where=where,
            expected="at least two classes or sentences to choose between",
            found=listing(prompts) or "none",
            fix="add a sentence that says what the image may show instead",
        )
    reserved = [name for name in COLUMNS if name in prompts]
    if reserved:
        raise ParameterError(
            "Class names are reserved", where=where, found=listing(reserved), fix="rename them"
        )


def _require_some(names: Sequence[str | Path]) -> None:
    if not names:
        raise DataError("No image was named", expected="files, folders or patterns such as *.png")


def _found(word: str) -> list[Path]:
    """Images behind one word."""
    path = resolve(word)
    if path.is_file():
        return [path]
    # A name may hold brackets: it is a pattern only where nothing has that very name.
    matches = [path] if path.is_dir() else _matches(Path(word).expanduser())
    return [file for match in matches for file in _images(match)]


def _matches(pattern: Path) -> list[Path]:
    """What a pattern matches here, else in the checkout."""
    for folder in (Path.cwd(), project_root()):
        found = glob.glob(str(folder / pattern), recursive=True)  # noqa: PTH207 (absolute, too)
        if found:
            return [Path(match) for match in found]
    return []


def _images(path: Path) -> list[Path]:
    if path.is_dir():
        return [file for file in _visible(path) if _is_image(file)]
    return [path] if _is_image(path) else []


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not _hidden(path.relative_to(folder))]


def _is_outline(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.stem.endswith(_OUTLINE)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _is_image(path: Path) -> bool:
    if not path.is_file():
        return False
    ending = path.suffix.lower()
    if not ending or ending[1:].isdecimal():
        # Exports of a machine: IM_0001, or a UID as 1.2.840.5, beside an index of the medium.
        return path.name != "DICOMDIR" and is_dicom(path)
    return ending in SUFFIXES and not _is_outline(path)


def _reason(word: str) -> str:
    if resolve(word).is_dir():
        return "a folder without images"
    return "nothing matches" if glob.has_magic(word) else "no such file"


def _problem(path: Path) -> ImageError | None:
    try:
        verify_image(path.read_bytes(), path)
    except OSError as error:
        return ImageError(f"Cannot be opened ({error.strerror})", where=path)
    except ImageError as error:
        return error
    return None


def _short(problem: ImageError) -> str:
    """What is wrong with a file, to stand behind its name."""
    first, *rest = problem.what.removeprefix("DICOM file ")
    return first.lower() + "".join(rest)


def _remedy(reasons: Sequence[str], *, skip_bad: bool) -> str:
    fix = "put whole files in their place, or leave them out"
    if not skip_bad:
        fix += " (`skip_bad`, on the command line --skip-bad)"
    return f"{fix}; {DECODERS}" if NOT_DECODED in reasons else fix
