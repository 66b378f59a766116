"""A user's own images, in one line: a data set in a known layout, a folder, files or patterns."""

import glob
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset, build, require_root
from fetalclip_nb.data.dicom import DECODERS, DICOM_SUFFIXES, NOT_DECODED, is_dicom
from fetalclip_nb.data.images import verify_image
from fetalclip_nb.data.kinds import kind_of, load_dataset
from fetalclip_nb.data.sources import data_folder
from fetalclip_nb.errors import DataError, ImageError, ParameterError, listing
from fetalclip_nb.paths import project_root, resolve
from fetalclip_nb.profiles import DEMO


def open_folder(folder: Path | str) -> Dataset:
    """Read a data set in any layout that is known, or a plain folder of images.

    Args:
        folder: FETAL_PLANES_DB, HC18, FASS, FOCUS, a folder with a ``manifest.csv``, or one with
            images alone, in it and in its folders; each of those counts as a patient of its own
            and has no label.

    Raises:
        DataError: If the folder is missing or holds no image, or what its reader finds wrong.
        ImageError: If images are damaged; all are named.
    """
    known = "FETAL_PLANES_DB, HC18, FASS, FOCUS or a manifest.csv, or a plain folder of images"
    root = require_root(folder, known)
    kind = kind_of(root)
    return load_dataset(kind, root) if kind else unlabelled("folder", root, image_files([root]))


def unlabelled(name: str, root: Path, files: Sequence[Path]) -> Dataset:
    """Images alone as a data set: none has a label, each counts as a patient of its own.

    Args:
        name: Kind of data set, one of `dataset.PLAIN`.
        root: Folder that all of them lie in.
        files: The images; their paths below ``root`` become their ids.
    """
    names = [file.relative_to(root).as_posix() for file in files]
    table = pd.DataFrame({"id": names, "path": names, "patient": names, "label": ""})
    return build(name, root, table)


def open_images(words: str) -> Dataset:
    """Read the images that a parameter names.

    Args:
        words: A folder (see `open_folder`), or files, folders and patterns separated by
            commas, or the word "demo" for the demo's phantoms in the layout of FETAL_PLANES_DB.

    Returns:
        A data set. Images of files and patterns have no label, and each counts as a patient of
        its own.

    Raises:
        DataError: Words that lead to no image, or a folder that is no whole data set.
        ImageError: If images are damaged; all are named.
    """
    if words == DEMO or resolve(words).is_dir():
        return open_folder(data_folder(words, demo="fetal_planes"))
    files = image_files([word.strip() for word in words.split(",") if word.strip()])
    return unlabelled("files", Path(os.path.commonpath([file.parent for file in files])), files)


def drawn_images(dataset: Dataset, count: int, *, seed: int) -> Dataset:
    """A few images of a data set, drawn at random, in its order.

    Args:
        dataset: Where to draw from.
        count: Images to draw; all of them where there are fewer.
        seed: Seed of the draw.
    """
    if count < 1:
        raise ParameterError(
            "No image to look at", where="count", expected="at least 1", found=count
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    return dataset.where(np.isin(np.arange(len(dataset)), order[:count]))


SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", *DICOM_SUFFIXES)
"""Endings of the files that are taken from folders and patterns, in lower case."""

_OUTLINE = "_Annotation"
"""How names of HC18's outlines end, before the suffix: drawings, no images to be judged."""


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
        words: Files, folders and patterns.
        files: What `image_files` took of them.
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
