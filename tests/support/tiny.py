"""A project in miniature: notebooks of a few cells and a profile that names them."""

import shutil
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = """profile: str = "demo"  # profile name
models: str = "phantomclip"  # models, separated by commas
device: str = "auto"  # auto | cpu | cuda
precision: str = "auto"  # auto | fp32 | bf16
results_dir: str = "build/demo/results"  # where results go
cache_dir: str = "build/cache"  # where embeddings lie
count: int = 2  # points
rate: float = 0.5  # step
quick: bool = False  # leave the long part out"""

TOC = """format: jb-book
root: book/intro
chapters:
  - file: notebooks/one
"""
# Between pages glue:text needs a format (":s"): without one it takes "::" for the start of it.
INTRO = """# Intro

See {doc}`../notebooks/one`: {glue:text}`../notebooks/one.ipynb::headline/vpr:s`.
"""
PLOT = "import matplotlib.pyplot as plt\n_ = plt.plot(range(count))"


def notebook(*cells: str | NotebookNode, parameters: str = PARAMETERS) -> NotebookNode:
    """A notebook: title, parameters cell, then code cells (text) or cells as given."""
    made = [
        new_markdown_cell("# A tiny chapter"),
        new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *(new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells),
    ]
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number}"  # random otherwise: the same cells, the same file
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=made, metadata={"kernelspec": kernel})


def project(folder: Path, settings: dict | None = None, **notebooks: NotebookNode) -> Path:
    """A checkout with these notebooks and a demo profile that gives each its settings."""
    settings = settings or {}
    (folder / "_config.yml").write_text("title: tiny\n")
    for name in ("notebooks", "profiles"):
        (folder / name).mkdir(exist_ok=True)
    for name, content in notebooks.items():
        nbformat.write(content, folder / "notebooks" / f"{name}.ipynb")
    profile = {
        "name": "demo",
        "data": {},
        "models": ["phantomclip"],
        "notebooks": {name: settings.get(name, {}) for name in notebooks},
    }
    (folder / "profiles" / "demo.yaml").write_text(yaml.safe_dump(profile))
    return folder


def results_cell(name: str, value: float) -> str:
    """Code that stores one score and records what the result files stand for."""
    return f"""import shutil
from pathlib import Path
from fetalclip_nb.results import result_files as results
from fetalclip_nb.stats.scores import Score

folder = Path(results_dir) / "{name}"
score = Score({value}, 0.1, 0.9, {value}, n=10, groups=5)
results.save_row(folder, results.Row("tiny", {{"vpr": {{"image": score}}}}, synthetic=True))
texts = results.render_glue(folder)
results.write_json(folder / "glue.json", texts)
results.show_record(texts)"""


def checkout(folder: Path, repository: Path) -> Path:
    """A project with the real configuration and extension and a book of two pages."""
    figure = {"figure": {"caption": "A line.", "name": "fig-line"}, "image": {"alt": "a line"}}
    plot = new_code_cell(PLOT, metadata={"mystnb": figure})
    chapter = notebook(plot, "print('answer', 6 * 7 * count)", results_cell("one", 0.834))
    project(folder, one=chapter)
    for name in ("_config.yml", "Snakefile"):
        shutil.copy(repository / name, folder)
    for name in ("_ext", "_static"):
        shutil.copytree(repository / "book" / name, folder / "book" / name)
    (folder / "book/_toc.yml").write_text(TOC)
    (folder / "book/intro.md").write_text(INTRO)
    (folder / "book/references.bib").touch()
    return folder
