"""A change reruns what depends on it and nothing else."""

import ast
import subprocess
import sys

import nbformat
import pytest

from fetalclip_nb.workflow.dependencies import PACKAGE, data_files, module_files, notebook_files
from tiny import notebook

FACE = """import lazy_loader
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["shut"], submod_attrs={"d": ["draw"], "rooms": ["rooms", "x"]}
)"""


@pytest.fixture
def package(tmp_path):
    """A package: a imports b inside a function, b imports sub.c relatively, d stands alone."""
    root = tmp_path / "fetalclip_nb"
    files = {
        "__init__.py": "",
        "a.py": "def f():\n    from fetalclip_nb import b\n    import numpy\n    return b, numpy",
        "b.py": "from .sub import c",
        "sub/__init__.py": "from fetalclip_nb.sub.e import x",
        "sub/c.py": "from . import e\nfrom ..errors import E",
        "sub/e.py": "x = 1",
        "errors.py": "E = 1",
        "d.py": "",
        "house/__init__.py": FACE,
        "house/d.py": "draw = 1",
        "house/rooms.py": "from fetalclip_nb.errors import E\nrooms = x = E",
        "house/shut.py": "",
        "house/hidden.py": "",
        "table.yaml": "",
        "README.md": "",
    }
    for name, code in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(code)
    return root


def names(paths, root) -> set[str]:
    return {path.relative_to(root).as_posix() for path in paths}


def test_imports_are_followed_through_functions_and_packages(package):
    found = names(module_files(["fetalclip_nb.a", "numpy"], package), package)
    expected = {"__init__.py", "a.py", "b.py", "sub/__init__.py", "sub/c.py", "sub/e.py"}
    assert found == expected | {"errors.py"}


@pytest.mark.parametrize(
    ("code", "rooms"),
    [
        ("%matplotlib inline\n!ls\nfrom fetalclip_nb.d import *", {"d.py"}),
        ("from fetalclip_nb.house import draw", {"house/d.py"}),
        ("from fetalclip_nb.house import rooms", {"house/rooms.py", "errors.py"}),
        ("from fetalclip_nb.house.hidden import y", {"house/hidden.py"}),
        *(
            (code, {"house/d.py", "house/rooms.py", "house/shut.py", "errors.py"})
            for code in ("from fetalclip_nb import house as h", "from fetalclip_nb.house import *")
        ),
    ],
)
def test_a_notebook_depends_on_itself_the_rooms_behind_its_imports_and_the_data(
    package, tmp_path, code, rooms
):
    path = tmp_path / "n.ipynb"
    nbformat.write(notebook(code), path)
    face = {"house/__init__.py"} if "house" in code else set()
    expected = {"__init__.py", "table.yaml", *face, *rooms}
    found = names(notebook_files(path, package), tmp_path)
    assert found == {f"fetalclip_nb/{name}" for name in expected} | {"n.ipynb"}


@pytest.mark.parametrize("chapter", ["04_segmentation", "06_cam"])
def test_what_a_notebook_imports_is_among_its_files(repository, chapter):
    source = repository / "notebooks" / f"{chapter}.ipynb"
    cells = [c.source for c in nbformat.read(source, as_version=4).cells if c.cell_type == "code"]
    code = "\n".join(cell for cell in cells if "import" in cell and "%pip" not in cell)
    lines = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    # What a face offers is read when it is asked for.
    touch = "[getattr(m, n) for m in list(globals().values()) for n in getattr(m, '__all__', ())]"
    show = "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('fetalclip_nb')))"
    program = "\n".join([*lines, touch, "import sys", show])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= set(map(str, notebook_files(source)))


def test_of_this_package_analysis_is_independent_of_the_workflow():
    files = module_files(["fetalclip_nb.workflow.session", "fetalclip_nb.results.figures"])
    found = {path.relative_to(PACKAGE).as_posix() for path in files}
    assert {"stats/scores.py", "errors.py"} <= found
    assert found.isdisjoint({f"workflow/{name}.py" for name in ("runner", "gate", "build")})
    assert "cli.py" not in found
    assert PACKAGE / "data" / "prompts" / "planes.json" in data_files()
