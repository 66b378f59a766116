"""Fixtures that more than one test module uses."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Processes that tests start find the helpers, too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(REPOSITORY / "tests" / "support"), os.environ.get("PYTHONPATH", "")])
)


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


# Imported where they are used: tests of other modules do not wait for torch.
@pytest.fixture
def figure_style():
    """Figures in the book's style, without a window, closed in the end."""
    import matplotlib.pyplot as plt

    from fetalclip_nb.results.figures import use_style

    plt.switch_backend("Agg")
    use_style()
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """A tiny encoder."""
    import segments

    return segments.tiny_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def trunks(tmp_path_factory):
    """Masks of three structures."""
    import segments

    return segments.abdomens(tmp_path_factory.mktemp("trunks") / "abdomen")


@pytest.fixture(scope="session")
def heads(tmp_path_factory):
    """Masks of heads."""
    import segments

    return segments.phantom_heads(tmp_path_factory.mktemp("heads") / "hc18")


@pytest.fixture(scope="session")
def squares(trunks, encoder, tmp_path_factory):
    """What decoders of the trunks are trained and tested on, without copies."""
    import segments
    from fetalclip_nb.experiments.segmentation.material import gather

    folder = tmp_path_factory.mktemp("squares")
    kept = segments.trained_patients(trunks)
    return gather(encoder, trunks, kept, segments.RECIPE, cache_dir=folder)


@pytest.fixture(scope="session")
def head_squares(heads, encoder, tmp_path_factory):
    """What decoders of heads are trained and tested on, without copies."""
    import segments
    from fetalclip_nb.experiments.segmentation.material import gather

    folder = tmp_path_factory.mktemp("head_squares")
    kept = segments.trained_patients(heads)
    return gather(encoder, heads, kept, segments.RECIPE, cache_dir=folder)
