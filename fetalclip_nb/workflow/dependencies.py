"""Which files of this package a module or a notebook is computed with.

Runner and Snakefile ask here what to watch: a change reruns what depends on it, directly or
through other modules, and nothing else.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat

PACKAGE = Path(__file__).parents[1]


def module_files(names: Iterable[str], package: Path = PACKAGE) -> list[Path]:
    """Source files behind modules of this package, imports inside functions included.

    Args:
        names: Dotted names such as "fetalclip_nb.stats.scores"; others are ignored.
        package: Folder of the package.

    Returns:
        Sorted paths.

    >>> [path.name for path in module_files(["fetalclip_nb.growth"])]
    ['__init__.py', 'growth.py']
    """
    found: set[Path] = set()
    waiting = list(names)
    while waiting:
        for path, name in _own_files(waiting.pop(), package):
            if path not in found:
                found.add(path)
                waiting.extend(_imports(path.read_text("utf-8"), _parent(path, name)))
    return sorted(found)


def notebook_files(notebook: Path, package: Path = PACKAGE) -> list[Path]:
    """Files that a notebook is computed with: itself, modules behind its imports, package data."""
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(_plain(cell.source) for cell in cells if cell.cell_type == "code")
    return [notebook, *module_files(_imports(code), package), *data_files(package)]


def data_files(package: Path = PACKAGE) -> list[Path]:
    """Prompts, weights and tables that come with the package."""
    files = (path for path in package.rglob("*") if path.is_file())
    return sorted(p for p in files if p.suffix not in (".py", ".pyc", ".md"))


def _own_files(name: str, package: Path) -> Iterator[tuple[Path, str]]:
    """The file of a module and those of the packages around it."""
    parts = name.split(".")
    if parts[0] != package.name:
        return
    for end in range(1, len(parts) + 1):
        base = package.joinpath(*parts[1:end])
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.is_file():
                yield path, ".".join(parts[:end])


def _parent(path: Path, name: str) -> str:
    return name if path.name == "__init__.py" else name.rpartition(".")[0]


def _imports(code: str, parent: str = "") -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            ups = parent.split(".")
            base = ".".join(ups[: len(ups) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _plain(code: str) -> str:
    """Code without IPython's own lines (%magic, !shell), which Python cannot parse."""
    lines = code.splitlines()
    magic = [line.lstrip()[:1] in ("%", "!") for line in lines]
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + "pass" if skip else line
        for line, skip in zip(lines, magic, strict=True)
    )
