"""What files and folders hold. Contents count, not dates: these hide changes (`cp -p`, `tar`) and
show some where nothing changed (a copied checkout). What has not changed is not read again.
"""

import contextlib
import glob
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fetalclip_nb.files import key
from fetalclip_nb.memory import remembered
from fetalclip_nb.models.names import model_files, parse_models
from fetalclip_nb.paths import project_root
from fetalclip_nb.results.result_files import LEFT_OUT
from fetalclip_nb.workflow.parameters import Parameter

_NO_INPUT = ("profile", "device", "precision", "results_dir", "cache_dir")


def outside_state(
    declared: Mapping[str, Parameter], values: Mapping[str, object]
) -> dict[str, str]:
    """State of every file and folder that a notebook's parameters name, by the text that does.

    Declared defaults count where no value is injected.
    """
    used = {name: entry.default for name, entry in declared.items()} | dict(values)
    texts = {k: v for k, v in used.items() if k not in _NO_INPUT and isinstance(v, str)}
    words = {word.strip() for text in texts.values() for word in (text, *text.split(","))}
    found = {word: _named(word) for word in words if word}
    if "models" in texts:
        found |= {spec: model_files(spec) for spec in parse_models(texts["models"])}
    for name in (*chapters_read(declared, values), LEFT_OUT) if "chapters" in texts else ():
        found[name] = [project_root() / str(used["results_dir"]) / name]
    return {word: state(*paths) for word, paths in found.items() if paths}


def chapters_read(declared: Mapping[str, Parameter], values: Mapping[str, object]) -> list[str]:
    """Other chapters whose result files a notebook reads: those that its `chapters` names."""
    default = declared["chapters"].default if "chapters" in declared else ""
    given = str(values.get("chapters", default))
    return [name.strip() for name in given.split(",") if name.strip()]


def _named(word: str) -> list[Path]:
    """The path of this name from the checkout, where notebooks run, or what the pattern matches."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # a sentence may be no path
        path = project_root() / Path(word).expanduser()
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 (absolute, too)
        return [path] if path.exists() else sorted(map(Path, matches))
    return []


def state(*roots: Path) -> str:
    """16 hexadecimal digits over files, by name and content, and over all files in folders."""
    found = [(os.path.relpath(path, root.parent), path) for root in roots for path in _below(root)]

    def digest(item: int) -> list[str]:
        with found[item][1].open("rb") as file:
            return [hashlib.file_digest(file, "sha256").hexdigest()]

    files = [(str(path),) for _, path in found]
    digests = remembered("bytes", Path.cwd(), files, digest)
    return key([[name, each] for (name, _), (each,) in zip(found, digests, strict=True)])


def _below(path: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    if path.is_file():
        yield path
        if path.suffix.lower() == ".csv" and not above:  # a manifest stands for its images
            cells = re.split(r'[,;\t\r\n"]+', path.read_text("utf-8", "replace"))
            yield from filter(os.path.isfile, (path.parent / cell for cell in cells))
    elif path.is_dir() and os.access(path, os.R_OK):
        real = os.path.realpath(path)
        for each in sorted(path.iterdir()) if real not in above else ():  # a link may lead back
            if not each.name.startswith("."):  # .DS_Store
                yield from _below(each, (*above, real))
