import numpy as np
import pytest
import torch
from PIL import Image

from fetalclip_nb.data.images import read_square
from fetalclip_nb.models import embed
from fetalclip_nb.models.pixels import PixelEncoder


def test_thumbnail_keeps_grey_values_and_places():
    quarters = np.zeros((64, 64), dtype=np.uint8)
    quarters[:32, 32:] = 102
    quarters[32:, :32] = 255
    found = PixelEncoder(side=8).preprocess(Image.fromarray(quarters))
    assert (found.shape, found.dtype) == ((1, 8, 8), torch.float32)
    corners = found[0][[0, 0, 7, 7], [0, 7, 0, 7]].tolist()
    assert corners == pytest.approx([0, 0.4, 1, 0], abs=0.02)


def test_colour_counts_as_its_grey():
    image = Image.new("RGB", (40, 40), (200, 60, 60))
    encoder = PixelEncoder()
    assert torch.equal(encoder.preprocess(image), encoder.preprocess(image.convert("L")))
    assert encoder.preprocess(image).mean() == pytest.approx(
        image.convert("L").getpixel((0, 0)) / 255
    )


def test_encoding_flattens_row_by_row():
    batch = torch.arange(18, dtype=torch.float32).reshape(2, 1, 3, 3)
    found = PixelEncoder(side=3).encode_images(batch)
    assert (found.shape, found.dtype) == ((2, 9), np.float32)
    assert found.ravel().tolist() == list(range(18))


def test_cached_like_a_model(heads, tmp_path):
    encoder = PixelEncoder()
    found = embed.image_embeddings(encoder, heads, cache_dir=tmp_path)
    assert found.vectors.shape == (6, 32 * 32)
    for path, vector in zip(heads.paths, found.vectors, strict=True):
        small = read_square(path).resize((32, 32), Image.Resampling.BICUBIC)
        assert vector.reshape(32, 32) == pytest.approx(np.asarray(small) / 255, abs=1e-6)
    assert found.meta["model_fingerprint"] == encoder.fingerprint
    other = embed.image_embeddings(PixelEncoder(side=4), heads, cache_dir=tmp_path)
    assert other.vectors.shape == (6, 16)
