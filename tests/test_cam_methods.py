"""Methods of class activation maps."""

import pytest

from fetalclip_nb import cam_methods
from fetalclip_nb.errors import ParameterError


@pytest.mark.parametrize(
    ("texts", "found"), [(("", " , "), "nothing"), (("scorecam", "magic, x"), "magic, x")]
)
def test_unknown_methods_are_named(texts, found):
    with pytest.raises(ParameterError, match=f"scorecam, gradcam, layercam.*Found: {found}"):
        cam_methods.parse_methods(*texts)


def test_every_method_has_a_title():
    assert tuple(cam_methods.TITLES) == cam_methods.METHODS


def test_what_differs_from_the_published_maps():
    text = cam_methods.deviation_text("scorecam", 10, 0.5)
    assert text.endswith("are the published ones.")
    text = cam_methods.deviation_text("layercam", 3, 0.25)
    assert all(part in text for part in ("LayerCAM", "3 images of each class (10)", "0.25 (0.5)"))


def test_the_reader_is_told_that_no_untrained_model_was_run():
    assert "ours-untrained" in cam_methods.twin_text(["clip", "ours-untrained"])
    assert "stays open" in cam_methods.twin_text(["clip"])
