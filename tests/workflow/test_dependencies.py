"""A change reruns what depends on it and nothing else."""

import nbformat
import pytest

from fetalclip_nb.workflow.dependencies import PACKAGE, data_files, module_files, notebook_files
from tiny import notebook


@pytest.fixture
def package(tmp_path):
    """A package: a imports b inside a function, b imports sub.c relatively, d stands alone."""
    root = tmp_path / "fetalclip_nb"
    (root / "sub").mkdir(parents=True)
    files = {
        "__init__.py": "",
        "a.py": "def f():\n    from fetalclip_nb import b\n    import numpy\n    return b, numpy",
        "b.py": "from .sub import c",
        "sub/__init__.py": "from fetalclip_nb.sub.e import x",
        "sub/c.py": "from . import e\nfrom ..errors import E",
        "sub/e.py": "x = 1",
        "errors.py": "E = 1",
        "d.py": "",
        "table.yaml": "",
        "README.md": "",
    }
    for name, code in files.items():
        (root / name).write_text(code)
    return root


def names(paths, root) -> set[str]:
    return {path.relative_to(root).as_posix() for path in paths}


def test_imports_are_followed_through_functions_and_packages(package):
    found = names(module_files(["fetalclip_nb.a", "numpy"], package), package)
    expected = {"__init__.py", "a.py", "b.py", "sub/__init__.py", "sub/c.py", "sub/e.py"}
    assert found == expected | {"errors.py"}


def test_a_module_without_imports_depends_on_itself(package):
    assert names(module_files(["fetalclip_nb.d"], package), package) == {"__init__.py", "d.py"}


def test_a_notebook_depends_on_itself_its_imports_and_the_data(package, tmp_path):
    path = tmp_path / "n.ipynb"
    nbformat.write(notebook("%matplotlib inline\n!ls\nfrom fetalclip_nb.d import *"), path)
    found = names(notebook_files(path, package), tmp_path)
    assert found == {f"fetalclip_nb/{name}" for name in ("__init__.py", "d.py", "table.yaml")} | {
        "n.ipynb"
    }


def test_of_this_package_analysis_is_independent_of_the_workflow():
    files = module_files(["fetalclip_nb.workflow.session", "fetalclip_nb.results.figures"])
    found = {path.relative_to(PACKAGE).as_posix() for path in files}
    assert {"stats/scores.py", "errors.py"} <= found
    assert found.isdisjoint({f"workflow/{name}.py" for name in ("runner", "gate", "build")})
    assert "cli.py" not in found
    assert PACKAGE / "data" / "prompts" / "planes.json" in data_files()
