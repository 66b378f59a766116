"""Which files of this package a module or a notebook is computed with.

Runner and Snakefile ask here what to watch: a change reruns what depends on it, directly or
through other modules, and nothing else.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat.validator import get_validator

from fetalclip_nb.errors import NotebookError, reading

PACKAGE = Path(__file__).parents[1]


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook, in the very form of the notebook format; else a NotebookError."""
    with reading(path, "Notebook cannot be read", error=NotebookError, fix="save or run it again"):
        notebook = nbformat.v4.reads_json(path.read_text("utf-8"))
        # `nbformat.validate` looks for better words, at times without end. Ids may be absent.
        get_validator(4, 4, relax_add_props=True).validate(notebook)
    return notebook


def module_files(names: Iterable[str], package: Path = PACKAGE) -> list[Path]:
    """Source files behind modules of this package, imports inside functions included.

    Args:
        names: Dotted names such as "fetalclip_nb.stats.scores", or of what a module or the
            face of a folder offers; those of other packages are ignored.
        package: Folder of the package.

    >>> [path.name for path in module_files(["fetalclip_nb.growth"])]
    ['__init__.py', 'growth.py']
    """
    files: set[Path] = set()
    waiting, asked = set(names), set()
    while waiting:
        name = waiting.pop()
        asked.add(name)
        wanted = set(_behind_face(name, package))
        for path, parent in _own_files(name, package):
            if path not in files:
                files.add(path)
                wanted.update(_imports(path.read_text("utf-8"), parent))
        waiting |= wanted - asked
    return sorted(files)


def notebook_files(notebook: Path, package: Path = PACKAGE) -> list[Path]:
    """Files that a notebook is computed with: itself, modules behind its imports, package data."""
    cells = read_notebook(notebook).cells
    # Python cannot parse IPython's own lines (%magic, !shell).
    plain = TransformerManager().transform_cell
    code = "".join(plain(cell.source) for cell in cells if cell.cell_type == "code")
    return [notebook, *module_files(_imports(code), package), *data_files(package)]


def data_files(package: Path = PACKAGE) -> list[Path]:
    """Prompts, weights and tables that come with the package."""
    files = (path for path in package.rglob("*") if path.is_file())
    return sorted(p for p in files if p.suffix not in (".py", ".pyc", ".md"))


def _own_files(name: str, package: Path) -> Iterator[tuple[Path, str]]:
    """The file of a module and those of the packages around it, each with its package's name."""
    parent, base = "", package.parent
    for part in name.split(".") if name.split(".")[0] == package.name else ():
        base /= part
        if base.with_suffix(".py").is_file():
            yield base.with_suffix(".py"), parent
        parent = f"{parent}.{part}".lstrip(".")
        if (base / "__init__.py").is_file():
            yield base / "__init__.py", parent


def _behind_face(name: str, package: Path) -> Iterator[str]:
    """Modules that a folder's face reads when it is imported whole, or for one of its names."""
    folder, _, attribute = name.rpartition(".")
    yield from (f"{name}.{room}" for room in _face(name, package))
    for room, offered in _face(folder, package).items():
        if attribute in offered:
            yield f"{folder}.{room}"


def _face(folder: str, package: Path) -> dict[str, list[str]]:
    """Rooms of a folder to the names it offers of them, as said to `lazy_loader.attach`."""
    path = package.parent.joinpath(*folder.split("."), "__init__.py")
    if not path.is_file():
        return {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_loader.attach":
            said = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
            return {key: [] for key in said.get("submodules", ())} | said.get("submod_attrs", {})
    return {}


def _imports(code: str, parent: str = "") -> Iterator[str]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            ups = parent.split(".")
            base = ".".join(ups[: len(ups) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            # A star stands for all that a face offers.
            yield from (module if a.name == "*" else f"{module}.{a.name}" for a in node.names)
