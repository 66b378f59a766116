"""Image towers in open_clip's and timm's wrapping, without weights and without text."""

from pathlib import Path

import timm
from open_clip.timm_model import TimmModel
from torch import nn

from fetalclip_nb.models.model import Model, load_model
from helpers import TINY_CONFIG, write_config


class Network(nn.Module):
    """An image tower without a text tower."""

    def __init__(self, visual):
        super().__init__()
        self.visual = visual

    def encode_image(self, pixels):
        return self.visual(pixels)


def model_of(visual, device="cpu"):
    """A model around an image tower; on "meta" it has shapes and no numbers."""
    network = Network(visual).eval().requires_grad_(False)
    return Model("made up", "", network, None, None, "0" * 16, device, "fp32")


def timm_visual(**trunk):
    """A tiny ViT of timm's (160 pixels, 10 x 10 patches, width 64) in open_clip's wrapping."""
    visual = TimmModel("test_vit", 16, image_size=160)
    visual.trunk = timm.create_model("test_vit", num_classes=0, **trunk)
    return visual


def tiny_model(folder: Path, **vision: object) -> Model:
    """An untrained model: 32 pixels, 4 x 4 patches, width 32, two blocks or as many as told."""
    path = write_config(folder / "tiny.json", vision_cfg={**TINY_CONFIG["vision_cfg"], **vision})
    return load_model(f"{path}-untrained", device="cpu")
