import pytest


@pytest.fixture(scope="session")
def released(shared_data):
    """The folder of the authors' files."""
    return shared_data / "fetalclip"
