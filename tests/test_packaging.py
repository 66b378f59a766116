"""What is declared in several places says the same everywhere."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import fetalclip_nb


@pytest.fixture(scope="module")
def pyproject(repository) -> dict:
    return tomllib.loads((repository / "pyproject.toml").read_text())


def bounds(requirements) -> dict[str, set[str]]:
    """Package names and version bounds, however they are spelt."""
    parsed = [Requirement(text) for text in requirements]
    return {
        re.sub(r"[-_.]+", "-", entry.name).lower(): {str(part) for part in entry.specifier}
        for entry in parsed
    }


def test_conda_environment_has_the_requirements_of_the_package(repository, pyproject):
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    plain = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    by_pip = next(e["pip"] for e in environment["dependencies"] if isinstance(e, dict))
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    expected = [*project["dependencies"], *extras["book"], *extras["dicom"], *extras["test"]]
    assert bounds(entry for entry in by_pip if not entry.startswith("-")) == bounds(expected)
    assert by_pip[-1] == "-e ."
    assert f"python{project['requires-python']}" in plain


def test_version_is_the_same_everywhere(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["version"] == fetalclip_nb.__version__
    assert citation["license"] == "MIT"


def test_every_import_of_the_package_is_required(repository, pyproject):
    names = {"cv2": "opencv-python-headless", "PIL": "pillow", "sklearn": "scikit-learn"}
    names |= {
        "yaml": "pyyaml",
        "open_clip": "open_clip_torch",
        "huggingface_hub": "huggingface_hub",
        "pytorch_grad_cam": "grad-cam",
        "umap": "umap-learn",
    }
    project = pyproject["project"]
    # DICOM and models of transformers are read where their extra is installed; errors say so.
    extras = [entry for name in ("dicom", "hf") for entry in project["optional-dependencies"][name]]
    required = bounds([*project["dependencies"], *extras])
    pattern = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
    for path in (repository / "fetalclip_nb").rglob("*.py"):
        for module in set(pattern.findall(code_of(path))):
            if module in sys.stdlib_module_names or module == "fetalclip_nb":
                continue
            name = names.get(module, module).replace("_", "-").lower()
            assert name in required, f"{path.name} imports {module}"


def code_of(path: Path) -> str:
    """Source without docstrings, whose sentences may begin with "from"."""
    return re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL)


def test_importing_the_package_imports_nothing_else():
    code = "import sys, fetalclip_nb; sys.exit(len({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_make_says_what_it_would_do_and_asks_for_no_more_than_python(repository):
    shown = subprocess.run(
        ["make", "-n", "book", "VENV=/nonexistent/venv"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "-m venv --clear /nonexistent/venv" in shown
    assert '-e ".[book,hf,dicom,test]"' in shown
    assert "--config profile=demo" in shown
