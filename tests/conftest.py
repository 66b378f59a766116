"""Fixtures that more than one test module uses."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real HC18 images and the authors' released files, where they are at hand."""
    folder = Path(os.environ.get("FETALCLIP_NB_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FETALCLIP_NB_SHARED")
    return folder
