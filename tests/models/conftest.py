import pytest

from fetalclip_nb.data.hc18 import read_hc18
from helpers import write_heads


@pytest.fixture
def heads(tmp_path):
    """Six images of four patients."""
    return read_hc18(write_heads(tmp_path / "heads"))
