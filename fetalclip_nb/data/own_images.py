"""A user's own images, in one line: a data set in a known layout, a folder, files or patterns."""

import fnmatch
import glob
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import Dataset, build, require_root
from fetalclip_nb.data.dicom import DECODERS, DICOM_SUFFIXES, NOT_DECODED, is_dicom
from fetalclip_nb.data.images import ENDINGS, verify_image
from fetalclip_nb.data.kinds import kind_of, load_dataset
from fetalclip_nb.data.sources import data_folder
from fetalclip_nb.errors import DataError, ImageError, ParameterError, listing, refuse
from fetalclip_nb.memory import remembered
from fetalclip_nb.paths import as_text, expanded, project_root, resolve
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
    odd = [as_text(name) for name in names if as_text(name) != name]
    refuse(odd, "File names are not in UTF-8", where=root, fix="rename these files or folders")
    table = pd.DataFrame({"id": names, "path": names, "patient": names, "label": ""})
    return build(name, root, table)


def open_images(words: str) -> Dataset:
    """Read the images that a parameter names.

    Args:
        words: A folder (see `open_folder`), or files, folders and patterns separated by
            commas (see `unlabelled`), or the word "demo" for the demo's phantoms in the layout
            of FETAL_PLANES_DB.
    """
    if words == DEMO or resolve(words).is_dir():
        return open_folder(data_folder(words, demo="fetal_planes"))
    named = [words] if resolve(words).is_file() else map(str.strip, words.split(","))
    files = image_files([*filter(None, named)])
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


SUFFIXES = (*ENDINGS, *DICOM_SUFFIXES)
"""Endings of the files that are taken from folders and patterns, in lower case."""

_LITTER = ("thumbs.db", "desktop.ini", "dicomdir")
"""What systems and media put beside images: nobody has to be told that it is left out."""


def image_files(words: Sequence[str | Path]) -> list[Path]:
    """Image files that words name: absolute paths, sorted, each file once.

    A file that is named is taken whatever its ending. Of a folder, with all folders in it, and
    of a pattern (``*``, ``?``, ``[...]``, ``**`` for any folders between), images are taken:
    files that end like one (`SUFFIXES`), and DICOM files of any other name, as where they are
    named by their UID. Hidden files and folders are left out, and with a note the outlines of HC18
    and all other files. Relative words are looked for here, then in the checkout. What has the
    very name of a pattern, or of a part of it, comes before what it matches.
    """
    _require_some(words)
    near = {word: _near(word) for word in map(str, words)}
    named = {word for word in near if resolve(word).is_file()}
    found = {w: [f for f in files if w in named or _is_image(f)] for w, files in near.items()}
    # The same file under two names counts once, under its own name or else the first.
    named_so = {(os.path.realpath(f), str(f)) for files in found.values() for f in files}
    distinct: dict[str, str] = {}
    for real, path in sorted(named_so, key=lambda names: (names[0] != names[1], names[1])):
        distinct.setdefault(real, path)
    _note_others({file for files in near.values() for file in files}.difference(*found.values()))
    without = [f"{word} ({_reason(word)})" for word, files in found.items() if not files]
    what = f"{len(without)} of {len(found)} names lead to no image"
    some = "image files, or folders and patterns that hold some (.png, .jpg, .dcm, ...)"
    refuse(without, what, where=Path.cwd(), expected=some, fix="correct these names")
    return sorted(map(Path, distinct.values()))


def whole_images(files: Sequence[Path], *, skip_bad: bool = False) -> list[Path]:
    """Check that images can be read, before anything is computed with them, and give them back.

    With ``skip_bad`` those that cannot be are left out instead of refused.

    Raises:
        ImageError: If images are missing or damaged (each with its reason), or if none is left.
        DataError: If there is no file at all, or there are DICOM files and no pydicom.
    """
    _require_some(files)
    names = [(str(file),) for file in files]
    problems = remembered("whole", Path.cwd(), names, lambda row: _problem(files[row]))
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


def _near(word: str) -> list[Path]:
    """Files behind one word, also other ones than images."""
    parts = expanded(word).parts
    matches = [*_matches(Path.cwd(), parts)] or [*_matches(project_root(), parts)]
    lone = [match for match in matches if not match.is_dir()]
    walks = [part for match in matches if match.is_dir() for part in _walk(match)]
    return lone + [folder / name for folder, names in walks for name in names]


def _matches(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What a pattern matches in a folder; brackets that match nothing stand for themselves."""
    if not parts or os.path.lexists(folder / parts[0]):
        yield from _matches(folder / parts[0], parts[1:]) if parts else [folder]
    elif parts[0] == "**":
        for below, _ in _walk(folder) if parts[1:] else [(folder, [])]:
            yield from _matches(below, parts[1:])
    elif folder.is_dir():
        hidden = parts[0].startswith(".")
        seen = [path for path in folder.iterdir() if path.name.startswith(".") <= hidden]
        names = [path.name for path in seen if os.path.realpath(path) not in _above(folder)]
        literal = parts[0].replace("[", "[[]")
        for name in fnmatch.filter(names, parts[0]) or fnmatch.filter(names, literal):
            yield from _matches(folder / name, parts[1:])


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all in it, also behind links, each once, with its files; nothing hidden."""
    seen = _above(folder)
    for path, folders, names in os.walk(folder, followlinks=True, onerror=_note_closed):
        here, real = Path(path), os.path.realpath(path)
        new = [] if real in seen else [name for name in folders if not name.startswith(".")]
        # Links come last: what they lead to keeps the name of its own folder.
        folders[:] = sorted(new, key=lambda name: ((here / name).is_symlink(), name))
        if real not in seen:
            yield here, [name for name in names if not name.startswith(".")]
        seen.add(real)


def _above(folder: Path) -> set[str]:
    """Folders to which no link is followed: it would lead round."""
    return {str(above) for above in Path(os.path.realpath(folder)).parents}


def _note_closed(error: OSError) -> None:
    print(f"Left out {as_text(error.filename)} ({error.strerror}).", file=sys.stderr)


def _note_others(files: Collection[Path]) -> None:
    """Say what lies beside the images and is none."""
    others = [file for file in files if file.name.lower() not in _LITTER]
    kinds = {"*_Annotation" if _is_outline(f) else f.suffix.lower() or "no ending" for f in others}
    if others:
        count = f"{len(others)} file{'s' * (len(others) > 1)}"
        print(f"Left out {count} ({listing(sorted(kinds), 5)}).", file=sys.stderr)


def _is_outline(path: Path) -> bool:
    # HC18's drawings, which are no images to be judged.
    return path.suffix.lower() in SUFFIXES and path.stem.lower().endswith("_annotation")


def _is_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:  # a link that leads nowhere is an image that is missing
        return not _is_outline(path) and (path.is_file() or not path.exists())
    return path.name.lower() not in _LITTER and path.is_file() and is_dicom(path)


def _reason(word: str) -> str:
    if resolve(word).exists():
        return f"a {'folder' if resolve(word).is_dir() else 'device or pipe'} without images"
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
