"""A few phantoms and an untrained model for the chapters' steps."""

import pytest

from helpers import write_config


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums over several threads are rounded otherwise: here, equal means equal."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """An untrained CLIP of 32 pixels."""
    from fetalclip_nb.models.model import load_model

    path = write_config(tmp_path_factory.mktemp("tiny") / "tiny.json")
    return load_model(f"tiny={path}-untrained", device="cpu")


@pytest.fixture(scope="session")
def few_planes(tmp_path_factory):
    """Planes of eight patients, 56 images."""
    from fetalclip_nb.data.kinds import load_dataset
    from fetalclip_nb.phantoms.cohorts import write_fetal_planes

    root = tmp_path_factory.mktemp("few") / "planes"
    write_fetal_planes(root, patients=8, seed=6, workers=1)
    return load_dataset("fetal_planes", root)


@pytest.fixture(scope="session")
def few_heads(tmp_path_factory):
    """Heads of eight patients, ten images."""
    from fetalclip_nb.data.kinds import load_dataset
    from fetalclip_nb.phantoms.cohorts import write_hc18

    root = tmp_path_factory.mktemp("few") / "heads"
    write_hc18(root, patients=8, seed=1, workers=1)
    return load_dataset("hc18", root)
