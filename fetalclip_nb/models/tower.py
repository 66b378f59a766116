"""The blocks of an image encoder that maps are made of, and a copy of it that does less work."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from torch import nn
from torch.nn import functional

from fetalclip_nb.errors import ModelError
from fetalclip_nb.models.model import Model


@dataclass(frozen=True)
class Tower:
    """Blocks that all have one token a patch, on a square grid, or the stages of convolutions.

    Attributes:
        name: The model's name.
        blocks: The blocks or stages, the shallowest first.
        prefix: Tokens before those of the patches: class and registers.
        grid: Patches along a side of the image, or places after the last stage.
        width: Numbers a token.
        batch_first: Whether tokens come as (N, T, width) or as (T, N, width).
        tokens: Whether blocks give tokens; stages give maps (N, width, grid, grid).
    """

    name: str
    blocks: Sequence[nn.Module]
    prefix: int
    grid: int
    width: int
    batch_first: bool = True
    tokens: bool = True

    def maps(self, tokens: torch.Tensor) -> torch.Tensor:
        """A block's tokens of the patches alone, where these are: (N, width, grid, grid)."""
        if not self.tokens:
            return tokens.float()
        if not self.batch_first:
            tokens = tokens.transpose(0, 1)
        patches = tokens[:, self.prefix :].float().transpose(1, 2)
        return patches.unflatten(2, (self.grid, self.grid))


def vision_tower(model: Model) -> Tower:
    """The blocks of a model's image tower, on a square grid.

    Vision transformers are open_clip's own or a trunk of timm's; of networks of convolutions alone
    (ResNet of both, ConvNeXt) these are the stages, as in the first paper on GradCAM.
    """
    visual = getattr(model.network, "visual", None)
    trunk = getattr(visual, "trunk", visual)
    if isinstance(visual, VisionTransformer):
        inner = visual.transformer
        parts = (inner.resblocks, 1, visual.grid_size, inner.width, inner.batch_first)
    elif all(hasattr(trunk, name) for name in ("blocks", "num_prefix_tokens", "embed_dim")):
        grid = getattr(getattr(trunk, "patch_embed", None), "grid_size", (0, 1))
        parts = (trunk.blocks, trunk.num_prefix_tokens, grid, trunk.embed_dim)
    elif isinstance(trunk, ResNet | ConvNeXt | ModifiedResNet):
        return _stages(model, trunk)
    else:
        raise _unusable(model, type(trunk).__name__)
    blocks, prefix, (height, width), *others = parts
    if height != width:
        raise _unusable(model, f"a grid of {height} x {width}")
    return Tower(model.name, blocks, prefix, height, *others)


def _stages(model: Model, trunk: nn.Module) -> Tower:
    """A network of convolutions, whose last stage is seen at a black image."""
    named = ("layer1", "layer2", "layer3", "layer4")
    stages = trunk.stages if isinstance(trunk, ConvNeXt) else [getattr(trunk, n) for n in named]
    seen = []
    hook = stages[-1].register_forward_hook(lambda *given: seen.append(given[-1].shape))
    side = np.broadcast_to(model.network.visual.image_size, 2)
    with torch.inference_mode(), model.autocast():
        trunk(torch.zeros(1, 3, *side.tolist(), device=model.device))
    hook.remove()
    return Tower(model.name, stages, 0, seen[0][-1], seen[0][1], tokens=False)


def input_norm(tower: Tower) -> nn.Module:
    """The norm through which tokens enter the last block: ln_1 in open_clip, norm1 in timm.

    Of convolutions it is the last stage, whose maps GradCAM was made for.
    """
    last = tower.blocks[-1]
    if not tower.tokens:
        return last
    for name in ("ln_1", "norm1"):
        if hasattr(last, name):
            return getattr(last, name)
    raise ModelError("Last block has no input norm", where=tower.name, expected="ln_1 or norm1")


def require_maps(model: Model) -> None:
    """Refuse a model of whose image tower no maps of classes are made."""
    input_norm(vision_tower(model))


def _unusable(model: Model, found: str) -> ModelError:
    return ModelError(
        "Image tower is no plain vision transformer",
        where=model.name,
        expected="open_clip's VisionTransformer, or a timm trunk with blocks, num_prefix_tokens "
        "and a square grid of patches",
        found=found,
        fix="maps need a ViT (phantomclip, fetalclip, clip, ...), a ResNet or a ConvNeXt: "
        "leave this model out",
    )


_FEW = 16
"""Of fewer pictures torch computes a pointwise convolution with slow code of its own."""


def fast_tower(model: Model) -> nn.Module:
    """A copy of any model's image tower that gives the same embeddings faster, for inference.

    It takes pixels (N, 3, S, S) to un-normalised embeddings (N, D).
    Weights are shared with the model, hooks on it are not. In open_clip's vision transformer the
    last block is computed for the class token alone, because nothing else of it is read. On a CPU
    its layers are computed as pointwise convolutions: these go to oneDNN, products of matrices go
    to MKL, which is about half as fast on processors of other makers than Intel
    (`benchmarks/run.py cams`). Where neither applies, the copy is the tower as it is.
    """
    visual = model.network.visual
    shared = {id(t): t for t in (*visual.parameters(), *visual.buffers())}
    tower = copy.deepcopy(visual, shared)
    if not isinstance(tower, VisionTransformer) or not tower.transformer.batch_first:
        return tower
    blocks = tower.transformer.resblocks
    if model.device == "cpu" and model.precision == "fp32":
        for block in blocks:
            _use_convolutions(block)
    plain = type(blocks[-1]) is ResidualAttentionBlock
    if plain and tower.pool_type == "tok" and tower.attn_pool is None:
        blocks[-1] = ClassTokenBlock(blocks[-1])
    return tower


class ClassTokenBlock(nn.Module):
    """A residual attention block of open_clip's, of which only the class token is wanted."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, tokens: torch.Tensor, attn_mask: None = None) -> torch.Tensor:
        """Tokens (N, T, W) to the class token after the block, (N, 1, W)."""
        block = self.block
        seen = block.ln_1(tokens)
        attended = block.attn(seen[:, :1], seen, seen, need_weights=False)[0]
        token = tokens[:, :1] + block.ls_1(attended)
        return token + block.ls_2(block.mlp(block.ln_2(token)))


class PointwiseLinear(nn.Module):
    """A linear layer on tokens, computed as a convolution with a kernel of one pixel.

    Args:
        weight: Shape (out, in).
        bias: Shape (out,), or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        kernel = weight.detach()[:, :, None, None]
        self.kernel = kernel.contiguous(memory_format=torch.channels_last)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (N, T, in) to (N, T, out)."""
        if len(tokens) < _FEW or tokens.shape[1] == 1:
            return functional.linear(tokens, self.weight, self.bias)
        # Seen as a picture of T x 1 pixels whose channels lie last, nothing has to be moved.
        picture = tokens.contiguous()[:, :, None].permute(0, 3, 1, 2)
        return functional.conv2d(picture, self.kernel, self.bias).permute(0, 2, 3, 1).squeeze(2)


class PointwiseAttention(nn.Module):
    """Multi-head attention, batch first and without dropout, with projections `PointwiseLinear`."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads, width = attention.num_heads, attention.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        self.all = PointwiseLinear(weight, bias)
        self.query = PointwiseLinear(weight[:width], bias[:width])
        self.key_value = PointwiseLinear(weight[width:], bias[width:])
        self.out = PointwiseLinear(attention.out_proj.weight, attention.out_proj.bias)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **options: object
    ) -> tuple[torch.Tensor]:
        """Attend from query (N, Q, W) to key, which is the value, (N, T, W)."""
        if query is key:
            parts = self._split(self.all(query), 3)
        else:
            parts = [*self._split(self.query(query), 1), *self._split(self.key_value(key), 2)]
        attended = functional.scaled_dot_product_attention(*parts)
        return (self.out(attended.transpose(1, 2).reshape(query.shape)),)

    def _split(self, projected: torch.Tensor, parts: int) -> torch.Tensor:
        """Projections (N, T, parts x W) to one (N, heads, T, W / heads) each."""
        return projected.unflatten(2, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)


def _use_convolutions(block: nn.Module) -> None:
    """Exchange the layers of a block, in place, where they are of the plain kind."""
    if type(block) is not ResidualAttentionBlock or block.attn.in_proj_bias is None:
        return
    block.attn = PointwiseAttention(block.attn)
    for name, layer in list(block.mlp.named_children()):
        if type(layer) is nn.Linear:
            setattr(block.mlp, name, PointwiseLinear(layer.weight, layer.bias))
