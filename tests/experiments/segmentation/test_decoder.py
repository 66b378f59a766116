"""The decoder: the protocol's numbers of parameters, shapes, and that it uses all it is given."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fetalclip_nb.experiments.segmentation.decoder import Decoder


def parameters(*sizes):
    return sum(p.numel() for p in Decoder(*sizes).parameters())


def inputs(side=32, width=6, n=2):
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randn(n, 4, width, side // 16, side // 16, generator=generator)
    return blocks, torch.randn(n, 3, side, side, generator=generator)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ((1024, 1, 32), 1_591_941),
        ((768, 1, 32), 1_315_461),
        ((128, 1, 32), 624_261),
        ((1024, 1, 16), 713_557),
        ((1024, 9, 32), 1_592_205),
    ],
)
def test_protocols_numbers_of_parameters(sizes, count):
    assert parameters(*sizes) == count


def test_the_authors_layers_and_floating_point_operations():
    decoder = Decoder(1024, 1).eval()
    kinds = Counter(type(layer).__name__ for layer in decoder.modules())
    # Six doublings of the skips, one of the deepest features, three of the joins.
    assert kinds["BatchNorm2d"] == 34 and kinds["ConvTranspose2d"] == 10
    grouped = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert all(m.groups == m.in_channels == m.out_channels for m in grouped)
    assert all(m.bias is not None for m in decoder.modules() if hasattr(m, "kernel_size"))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder(torch.zeros(1, 4, 1024, 14, 14), torch.zeros(1, 3, 224, 224))
    assert round(counter.get_total_flops() / 1e9, 2) == 4.65  # a multiplication and addition: two


def test_the_skip_comes_first_where_maps_are_joined():
    decoder = Decoder(6, 1, filters=2).eval()
    first = decoder.joins[0][0][0][0]  # the depthwise convolution of the join on twice the grid
    seen = []
    first.register_forward_hook(lambda layer, given, made: seen.append(given[0]))
    blocks, image = inputs()
    with torch.no_grad():
        decoder(blocks, image)
        assert torch.equal(seen[0][:, :16], decoder.skips[0](blocks[:, 2]))
        assert torch.equal(seen[0][:, 16:], decoder.deep(blocks[:, 3]))


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
