"""Image encoders that read no text: of timm, of transformers, of a folder, or a user's function."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from timm.models import load_state_dict, model_entrypoint
from torch import nn

from fetalclip_nb.errors import ModelError, reading, refuse
from fetalclip_nb.models import functions, layouts
from fetalclip_nb.models.checkpoints import put_weights, require_file
from fetalclip_nb.models.names import IN_FOLDER, UNTRAINED, door, folder_of, parts

_SEED = 0

_FIX = "check the name and the network connection; without a network, put its files into a folder "
_FIX += f"(config.json and model.safetensors) and name it {IN_FOLDER}FOLDER"

Made = tuple[nn.Module, object, None, dict]
"""Network, PIL image to tensor, no tokenizer, settings that the network is built with."""


class ImageOnly(nn.Module):
    """An image tower in place of a model of two towers."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, D) of pixels (N, 3, S, S)."""
        return self.visual(pixels)


class TimmTower(nn.Module):
    """A network of timm's without its classifier, with open_clip's way to ask for blocks."""

    def __init__(self, trunk: nn.Module, image_size: int) -> None:
        super().__init__()
        self.trunk, self.image_size = trunk, image_size
        self._first = int(hasattr(trunk, "layer4"))  # timm counts the stem of a ResNet as a stage

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (N, 3, S, S) to pooled features (N, D)."""
        return self.trunk(pixels)

    def forward_intermediates(
        self, pixels: torch.Tensor, indices: Sequence[int] | None, *, intermediates_only: bool
    ) -> dict[str, list[torch.Tensor]]:
        """Maps (N, width, side, side) after the blocks of these numbers, or after all."""
        del intermediates_only  # what open_clip's towers are asked for, and all that this one gives
        asked = None if indices is None else [self._first + index for index in indices]
        maps = self.trunk.forward_intermediates(pixels, asked, intermediates_only=True)
        return {"image_intermediates": maps if asked else maps[self._first :]}


class HubTower(nn.Module):
    """A vision model of transformers: its trained pooling, else class token, else mean of places.

    Attributes:
        pooling: Which of the three; without a trained pooler its place is empty.
    """

    def __init__(self, trunk: nn.Module, image_size: int, *, pooler: bool) -> None:
        super().__init__()
        self.trunk, self.image_size = trunk, image_size
        if not pooler:
            trunk.pooler = None
        tokens = any(name.endswith(("cls_token", "class_embedding")) for name in trunk.state_dict())
        self.pooling = "pooler" if pooler else "class token" if tokens else "mean"

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (N, 3, S, S) to features (N, D)."""
        made = self.trunk(pixel_values=pixels)
        if self.pooling == "pooler" and made.get("pooler_output") is not None:
            return made["pooler_output"].flatten(1)
        last = made["last_hidden_state"]
        if last.ndim == 4:
            return last.mean((2, 3))
        return last[:, 0] if self.pooling == "class token" else last.mean(1)

    def forward_intermediates(
        self, pixels: torch.Tensor, indices: Sequence[int] | None, *, intermediates_only: bool
    ) -> dict[str, list[torch.Tensor]]:
        """Maps (N, width, side, side) after the blocks of these numbers, or after all."""
        del intermediates_only
        made = self.trunk(pixel_values=pixels, output_hidden_states=True)
        states = (made.get("reshaped_hidden_states") or made["hidden_states"])[1:]
        states = states if indices is None else [states[index] for index in indices]
        return {"image_intermediates": [self._map(state) for state in states]}

    def _map(self, state: torch.Tensor) -> torch.Tensor:
        if state.ndim == 4:
            return state
        side = self.image_size // self.trunk.config.patch_size
        return state[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))


def image_only(source: str) -> Made:
    """Build what a source without text names, with its weights; see `names.door`."""
    kind, untrained = door(source), source.endswith(UNTRAINED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if kind == "function":
            return functions.create(source)
        if kind == "timm":
            return _from_timm(source.removeprefix("timm:"), parts(source)[1])
        if kind == "hf":
            name = source.removeprefix("hf:")
            return _from_hub(name.removesuffix(UNTRAINED), source, untrained=untrained)
        folder = folder_of(source)
        config = folder / "config.json"
        with reading(config, "Config is no JSON", error=ModelError, fix="correct it"):
            stated = json.loads(config.read_text("utf-8")) if config.is_file() else {}
        if "model_type" in stated:
            return _from_hub(str(folder), source, untrained=untrained)
        if "architecture" in stated:
            return _from_timm(f"{IN_FOLDER}{folder}{UNTRAINED * untrained}", None)
        network, side, settings = layouts.create(folder, untrained=untrained)
        return _made(TimmTower(network, side), side, settings, **layouts.PIXELS)


def _from_timm(name: str, weights: Path | None) -> Made:
    untrained = name.endswith(UNTRAINED)
    name = name.partition("+")[0] if weights else name.removesuffix(UNTRAINED)
    with reading(f"timm:{name}", "Model cannot be loaded", error=ModelError, fix=_FIX):
        fetched = not untrained and weights is None
        trunk = timm.create_model(name, pretrained=fetched, num_classes=0)
        data = timm.data.resolve_model_data_config(trunk)
    if weights:
        require_file(weights, "checkpoint")
        with reading(weights, "Checkpoint cannot be read", error=ModelError):
            state = _filtered(
                load_state_dict(str(weights), use_ema=False, weights_only=True), trunk
            )
        put_weights(trunk, state, weights, f"timm's {name}")
    kept = ("mean", "std", "interpolation")
    settings = {"timm": trunk.pretrained_cfg.get("architecture"), "pool": _pooling(trunk)}
    side = data["input_size"][-1]
    return _made(TimmTower(trunk, side), side, settings, **{key: data[key] for key in kept})


def _pooling(trunk: nn.Module) -> str:
    return repr([getattr(part, "global_pool", "") for part in (trunk, getattr(trunk, "head", 0))])


def _filtered(state: dict, trunk: nn.Module) -> dict:
    """A checkpoint by the names of timm's network, without the classifier."""
    architecture = trunk.pretrained_cfg["architecture"]
    rooms = vars(sys.modules[model_entrypoint(architecture).__module__])
    if convert := rooms.get("checkpoint_filter_fn"):
        state = convert(state, trunk)
    heads = trunk.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{head}." for head in ([heads] if isinstance(heads, str) else heads))
    return {name: each for name, each in state.items() if not (heads and name.startswith(heads))}


def _from_hub(place: str, source: str, *, untrained: bool) -> Made:
    fix = f"{_FIX}; it needs the extra `hf` (transformers)"
    with reading(source, "Model cannot be loaded", error=ModelError, fix=fix):
        from transformers import AutoConfig, AutoImageProcessor, AutoModel, logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()  # of weights that are missing it is told below
        lost = []
        if untrained:
            trunk = AutoModel.from_config(AutoConfig.from_pretrained(place))
        else:
            trunk, info = AutoModel.from_pretrained(place, output_loading_info=True)
            lost = sorted(info["missing_keys"])
        given = AutoImageProcessor.from_pretrained(place)
        size = given.crop_size if getattr(given, "do_center_crop", False) else given.size
        side = size.get("height") or size["shortest_edge"]
        stated = given.image_mean, given.image_std
        mean, std = stated if given.do_normalize else ((0, 0, 0), (1, 1, 1))
    hides = [trunk.config.model_type] if "mae" in trunk.config.model_type else []
    what = f"Patches are hidden at random; take its publisher's checkpoint as {IN_FOLDER}FOLDER"
    refuse(hides, what, error=ModelError, where=source)
    trunk = getattr(trunk, "vision_model", trunk).float()  # of two towers; of 16 bits, too
    pooler = getattr(trunk, "pooler", trunk) and not any("pooler" in name for name in lost)
    lost = [name for name in lost if "pooler" not in name]
    refuse(lost, "Checkpoint lacks weights", error=ModelError, where=source, fix=fix)
    tower = HubTower(trunk, side, pooler=bool(pooler))
    settings = {**trunk.config.to_diff_dict(), "pool": tower.pooling}
    settings = {key: settings[key] for key in settings.keys() - {"transformers_version"}}
    return _made(tower, side, settings, mean=mean, std=std)


def _made(
    visual: nn.Module,
    side: int,
    settings: dict,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    interpolation: str = "bicubic",
) -> Made:
    """An encoder whose images, square already, are resized whole to its side."""
    pixels = {"mean": tuple(mean), "std": tuple(std), "interpolation": interpolation}
    preprocess = PreprocessCfg(size=side, resize_mode="squash", **pixels)
    return ImageOnly(visual), image_transform_v2(preprocess, is_train=False), None, settings
