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
from fetalclip_nb.errors import DataError, ImageError, ParameterError, refuse
from fetalclip_nb.paths import expanded, project_root, resolve
from fetalclip_nb.profiles import DEMO


def open_folder(folder: Path | str) -> Dataset:
    """Read a data set in any layout that is known, or a plain folder of images.

    Args:
        folder: FETAL_PLANES_DB, HC18, FASS, FOCUS, a folder with a ``manifest.csv``, or one with
            images alone, in it and in its folders; each of those counts as a patient of its own
            and has no label.
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
        what = "No image to look at"
        raise ParameterError(what, where="count", expected="at least 1", found=count)
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
    """
    _require_some(words)
    found = {word: _found(str(word)) for word in words}
    without = [f"{word} ({_reason(str(word))})" for word, files in found.items() if not files]
    refuse(
        without,
        f"{len(without)} of {len(found)} names lead to no image",
        where=Path.cwd(),
        expected=f"image files, or folders and patterns that hold some ({', '.join(SUFFIXES)})",
        fix="correct these names",
    )
    # The same file under two names counts once, under the name that comes first.
    distinct: dict[Path, Path] = {}
    for path in sorted(path for paths in found.values() for path in paths):
        distinct.setdefault(path.resolve(), path)
    return list(distinct.values())


def outlines_left_out(words: Sequence[str | Path], files: Sequence[Path]) -> list[Path]:
    """Outlines that lie where words point, and that `image_files` has not taken."""
    near = {file for word in words if not resolve(word).is_file() for file in _near(word)}
    return sorted(file for file in near - set(files) if _is_outline(file))


def whole_images(files: Sequence[Path], *, skip_bad: bool = False) -> list[Path]:
    """Check that images can be read, before anything is computed with them.

    Args:
        files: Image files.
        skip_bad: Leave damaged images out instead of refusing them.

    Returns:
        The files, in the same order, without those that were skipped.

    Raises:
        ImageError: If images are missing or damaged (each with its reason), or if none is left.
        DataError: If there is no file at all, or there are DICOM files and no pydicom.
    """
    _require_some(files)
    with ThreadPoolExecutor() as pool:
        problems = list(pool.map(_problem, files))
    bad = {file: problem for file, problem in zip(files, problems, strict=True) if problem}
    whole = [file for file in files if file not in bad]
    if not skip_bad or not whole:
        fix = "put whole files in their place, or leave them out"
        if not skip_bad:
            fix += " (`skip_bad`, on the command line --skip-bad)"
        refuse(
            [f"{file}: {_short(problem)}" for file, problem in bad.items()],
            f"{len(bad)} of {len(files)} images cannot be read",
            error=ImageError,
            expected="whole PNG, JPEG or DICOM files",
            fix=f"{fix}; {DECODERS}" if NOT_DECODED in problems else fix,
        )
    return whole


def _require_some(names: Sequence[str | Path]) -> None:
    if not names:
        raise DataError("No image was named", expected="files, folders or patterns such as *.png")


def _found(word: str) -> list[Path]:
    """Images behind one word."""
    path = resolve(word)
    return [path] if path.is_file() else [file for file in _near(word) if _is_image(file)]


def _near(word: str | Path) -> list[Path]:
    """Files behind one word, also other ones than images."""
    path = resolve(word)
    # A name may hold brackets: it is a pattern only where nothing has that very name.
    matches = [path] if path.is_dir() else _matches(expanded(word))
    return [file for match in matches for file in ([match] if match.is_file() else _visible(match))]


def _matches(pattern: Path) -> list[Path]:
    """What a pattern matches here, else in the checkout."""
    for folder in (Path.cwd(), project_root()):
        found = glob.glob(str(folder / pattern), recursive=True)  # noqa: PTH207 (absolute, too)
        if found:
            return [Path(match) for match in found]
    return []


def _visible(folder: Path) -> list[Path]:
    """Files of a folder and its folders; none that is hidden or lies in a hidden folder."""
    below = ((path, path.relative_to(folder).parts) for path in folder.rglob("*"))
    return [path for path, parts in below if not any(part.startswith(".") for part in parts)]


def _is_outline(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.stem.endswith(_OUTLINE)


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


def _problem(path: Path) -> str:
    """What is wrong with a file, empty where nothing is."""
    try:
        verify_image(path.read_bytes(), path)
    except OSError as error:
        return f"Cannot be opened ({error.strerror})"
    except ImageError as error:
        return error.what
    return ""


def _short(problem: str) -> str:
    """A problem as it stands behind a file's name."""
    text = problem.removeprefix("DICOM file ")
    return text[0].lower() + text[1:]
