"""What the tests of both commands share."""

import argparse

import pytest

from fetalclip_nb.ask import predict_command, search_command
from fetalclip_nb.models.model import Model, load_model


@pytest.fixture(scope="session")
def model() -> Model:
    """The shipped model."""
    return load_model("phantomclip", device="cpu")


def _run(command, words: tuple[object, ...]) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([*map(str, words), "--device", "cpu"]))


@pytest.fixture(scope="session")
def run():
    """The command that predicts, with these words."""
    return lambda *words: _run(predict_command, words)


@pytest.fixture(scope="session")
def search():
    """The command that searches, with these words."""
    return lambda *words: _run(search_command, words)
