"""Sphinx extension: an API page for each folder of the package, written from the folder list.

The pages are build products (book/api, ignored by git): what is in the house is on them.
"""

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

import fetalclip_nb

PACKAGE = Path(fetalclip_nb.__file__).parent


def setup(app: Sphinx) -> dict:
    """Write the pages before Sphinx looks for them."""
    app.connect("config-inited", write_pages)
    app.connect("doctree-read", hide_machine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(app: Sphinx, config: Config) -> None:
    """Write book/api/FOLDER.md for every folder, where the book has an API chapter."""
    folder = Path(app.srcdir, "book", "api")
    if not folder.with_suffix(".md").is_file():
        return
    pages = {f"{page_name(rooms)}.md": page(rooms) for rooms in folders()}
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        # Sphinx reads a page again when its file is newer.
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def hide_machine(app: Sphinx, doctree: nodes.document) -> None:
    """Show values and defaults that are paths from the checkout, not from this machine's root."""
    for text in list(doctree.findall(nodes.Text)):
        if (root := f"{PACKAGE.parent}/") in text:
            text.parent.replace(text, nodes.Text(text.replace(root, "")))


def folders() -> Iterator[Path]:
    """The package's folders that hold modules, the package itself first."""
    yield from sorted({path.parent for path in PACKAGE.rglob("*.py")})


def page_name(folder: Path) -> str:
    """Name of a folder's page: its own name, "package" for the entrance hall."""
    return "package" if folder == PACKAGE else folder.name


def page(folder: Path) -> str:
    """A folder's page: what it is for, then its modules in alphabetical order."""
    names = folder.relative_to(PACKAGE).parts
    dotted = ".".join([PACKAGE.name, *names])
    blocks = [f"# {'.'.join(names) or 'Entrance hall'}", _automodule(dotted)]
    for room in sorted(folder.glob("*.py")):
        if room.name != "__init__.py":
            blocks += [f"## {room.stem}", _automodule(f"{dotted}.{room.stem}", ":members:")]
    return "\n\n".join(blocks) + "\n"


def _automodule(name: str, *options: str) -> str:
    lines = [f".. automodule:: {name}", *(f"   {option}" for option in options)]
    return "\n".join(["```{eval-rst}", *lines, "```"])
