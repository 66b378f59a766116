"""The decoder: the protocol's numbers of parameters, shapes, and that it uses all it is given."""

import pytest
import torch

from fetalclip_nb.experiments.segmentation.decoder import Decoder


def parameters(*sizes):
    return sum(p.numel() for p in Decoder(*sizes).parameters())


def inputs(side=32, width=6, n=2):
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randn(n, 4, width, side // 16, side // 16, generator=generator)
    return blocks, torch.randn(n, 3, side, side, generator=generator)


def test_protocols_numbers_of_parameters():
    assert parameters(1024, 1) == 1_591_941
    assert parameters(768, 1) == 1_315_461


def test_a_further_structure_is_a_further_row_of_the_head():
    assert parameters(768, 9) - parameters(768, 1) == 8 * (16 + 1)


@pytest.mark.parametrize("side", [16, 32, 48, 224])
def test_a_logit_for_each_pixel_and_structure(side):
    decoder = Decoder(6, 3, filters=2).eval()
    with torch.no_grad():
        assert decoder(*inputs(side)).shape == (2, 3, side, side)


def test_every_block_and_the_image_are_used():
    decoder = Decoder(6, 1, filters=4)
    blocks, image = inputs()
    blocks.requires_grad_(), image.requires_grad_()
    decoder(blocks, image).sum().backward()
    assert (blocks.grad.abs().amax(dim=(0, 2, 3, 4)) > 0).all()
    assert image.grad.abs().max() > 0


def test_images_do_not_mix_in_evaluation():
    decoder = Decoder(6, 1, filters=4).eval()
    blocks, image = inputs(n=3)
    with torch.no_grad():
        torch.testing.assert_close(decoder(blocks, image)[1:2], decoder(blocks[1:2], image[1:2]))
