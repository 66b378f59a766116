"""Class activation maps: against the library driven the authors' way, and against arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from pytorch_grad_cam import GradCAM, LayerCAM, ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.special import softmax
from torch import nn

from fetalclip_nb.data.prompts import load_prompts
from fetalclip_nb.errors import ModelError, ParameterError
from fetalclip_nb.experiments.cam import maps, probabilities
from fetalclip_nb.experiments.cam.images import pixels_of
from fetalclip_nb.experiments.cam.score_cam import masks
from fetalclip_nb.models import similarity, tower
from fetalclip_nb.models.model import load_model
from helpers import TINY_CONFIG, write_config
from towers import model_of, timm_visual

PROMPTS = {name: sentences[:2] for name, sentences in load_prompts("brain").items()}


@pytest.fixture(scope="module")
def model():
    return load_model("phantomclip", device="cpu")


@pytest.fixture(scope="module")
def classes(model):
    return similarity.class_embeddings(model.encode_text, PROMPTS)


@pytest.fixture(scope="module")
def pixels():
    """Two smooth pictures as phantomclip is given them."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 1, 6, 6, generator=generator)
    grey = nn.functional.interpolate(coarse, size=64, mode="bicubic").clamp(0, 1)
    return ((grey - 0.16) / 0.16).repeat(1, 3, 1, 1)


class EncodesTextAgain(nn.Module):
    """The authors' way: sentences go through the text tower in every forward pass."""

    def __init__(self, model):
        super().__init__()
        self.model, self.network = model, model.network

    def forward(self, pixels):
        images = nn.functional.normalize(self.network.encode_image(pixels), dim=-1)
        rows = []
        for sentences in PROMPTS.values():
            text = self.network.encode_text(self.model.tokenizer(sentences))
            text = nn.functional.normalize(text, dim=-1).mean(0)
            rows.append(nn.functional.normalize(text, dim=-1))
        return (100 * images @ torch.stack(rows).T).softmax(-1)


def on_grid(tokens):
    """Without the class token, on phantomclip's 8 x 8 patches."""
    return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, 8, 8)


@pytest.mark.parametrize("method", maps.TITLES)
def test_the_librarys_maps_when_driven_the_authors_way(model, classes, pixels, method):
    kind = {"scorecam": ScoreCAM, "gradcam": GradCAM, "layercam": LayerCAM}[method]
    layer = model.network.visual.transformer.resblocks[-1].ln_1
    targets = [1, 2]
    asked = [ClassifierOutputTarget(target) for target in targets]
    library = kind(EncodesTextAgain(model), [layer], on_grid)
    expected = library(pixels.clone().requires_grad_(method != "scorecam"), asked)
    library.activations_and_grads.release()

    found = maps.cam_maps(model, pixels, classes, targets, method=method)
    assert found.maps.shape == (2, 64, 64)
    np.testing.assert_allclose(found.maps, expected, atol=1e-4)
    # The test would pass with maps of nothing.
    assert found.maps.std() > 0.05
    vectors = similarity.normalise(model.encode_images(pixels))
    known = softmax(similarity.zero_shot_logits(vectors, classes), axis=-1)
    for chances in (found.probabilities, probabilities.scorer(model, classes)(pixels)):
        np.testing.assert_allclose(chances, known, atol=1e-4)


def test_scorecam_is_its_formula(model, classes, pixels):
    """Written out channel by channel: mask, probability, softmax over channels, weighted sum."""
    caught = []
    layer = model.network.visual.transformer.resblocks[-1].ln_1
    hook = layer.register_forward_hook(lambda *words: caught.append(words[2]))
    model.encode_images(pixels[:1])
    hook.remove()
    channels = on_grid(caught[0])[0]
    left = []
    for channel in channels:
        large = nn.functional.interpolate(
            channel[None, None], size=(64, 64), mode="bilinear", align_corners=True
        )
        mask = (large - large.min()) / (large.max() - large.min())
        vector = similarity.normalise(model.encode_images(pixels[:1] * mask))
        left.append(softmax(similarity.zero_shot_logits(vector, classes), axis=-1)[0, 2])
    weights = softmax(np.array(left), axis=-1)
    coarse = np.maximum((weights[:, None, None] * channels.numpy()).sum(0), 0)

    found = maps.cam_maps(model, pixels[:1], classes, [2], batch_size=7).maps[0]
    large = nn.functional.interpolate(
        torch.tensor(coarse)[None, None], size=(64, 64), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    # The largest value of an enlarged map lies below that of the map itself.
    large = (large - large.min()) / (large.max() - large.min())
    np.testing.assert_allclose(found, large, atol=1e-3)


def test_batches_and_groups_do_not_change_maps(model, classes, pixels, monkeypatch):
    one = maps.cam_maps(model, pixels, classes, [0, 1])
    other = maps.cam_maps(model, pixels, classes, [0, 1], batch_size=50)
    monkeypatch.setattr(maps, "_IMAGES", 1)
    alone = maps.cam_maps(model, pixels, classes, [0, 1])
    np.testing.assert_allclose(one.maps, other.maps, atol=1e-4)
    np.testing.assert_allclose(one.maps, alone.maps, atol=1e-4)
    np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-5)


def test_no_hook_stays(model, classes, pixels):
    layer = model.network.visual.transformer.resblocks[-1].ln_1
    for method in maps.TITLES:
        maps.cam_maps(model, pixels[:1], classes, [0], method=method)
    with pytest.raises(RuntimeError):
        maps.cam_maps(model, pixels[:1, :, :50], classes, [0])
    assert not layer._forward_hooks
    assert not pixels.requires_grad


def test_a_mask_goes_from_0_to_1():
    found = masks(torch.tensor([[[2.0, 4.0], [4.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]]), (3, 3))
    expected = [[0, 0.25, 0.5], [0.25, 0.5, 0.75], [0.5, 0.75, 1]]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)
    assert not found[1].any()  # a channel without contrast shows nothing


@pytest.mark.parametrize("method", maps.TITLES)
def test_trunks_of_timm(method):
    model = model_of(timm_visual(reg_tokens=4))
    rng = np.random.default_rng(0)
    classes = similarity.normalise(rng.normal(size=(3, 16)))
    pixels = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    found = maps.cam_maps(model, pixels, classes, [1], method=method)
    assert found.maps.shape == (1, 160, 160)
    assert np.isfinite(found.maps).all()
    assert found.maps.max() > 0.9


def test_gradcam_of_convolutions_is_its_formula():
    """Of the mean over places, every place of a channel has the same gradient."""
    model = load_model("timm:test_resnet-untrained", device="cpu")
    pixels = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    classes = similarity.normalise(np.random.default_rng(0).normal(size=(3, 96)))
    last = model.network.visual.trunk.forward_features(pixels)[0].detach()
    mean = last.mean((1, 2)).requires_grad_()
    logits = 100 * nn.functional.normalize(mean, dim=0) @ torch.tensor(classes).float().T
    (logits[1] - logits[[0, 2]].logsumexp(0)).backward()
    coarse = (mean.grad[:, None, None] * last).sum(0).clamp(min=0)
    large = nn.functional.interpolate(
        coarse[None, None], size=(160, 160), mode="bilinear", align_corners=False
    )[0, 0].numpy()
    large = (large - large.min()) / (large.max() - large.min())
    found = maps.cam_maps(model, pixels, classes, [1], method="gradcam").maps[0]
    np.testing.assert_allclose(found, large, atol=1e-3)
    assert found.std() > 0.05


def test_open_clips_resnet_gives_maps(tmp_path):
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32, "head_width": 16}
    path = write_config(tmp_path / "resnet.json", vision_cfg=vision)
    model = load_model(f"{path}-untrained", device="cpu")
    classes = similarity.normalise(np.eye(2, TINY_CONFIG["embed_dim"]))
    found = maps.cam_maps(model, torch.randn(1, 3, 64, 64), classes, [0], method="gradcam")
    assert found.maps.shape == (1, 64, 64)
    assert tower.vision_tower(model).grid == 2


def test_a_tower_without_patches_is_refused(tmp_path):
    vision = {"timm_model_name": "test_efficientnet", "image_size": 32}
    path = write_config(tmp_path / "stages.json", vision_cfg=vision)
    model = load_model(f"{path}-untrained", device="cpu")
    classes = similarity.normalise(np.ones((2, TINY_CONFIG["embed_dim"])))
    with pytest.raises(ModelError, match="plain vision transformer"):
        maps.cam_maps(model, torch.zeros(1, 3, 32, 32), classes, [0])


def test_a_block_without_input_norm_is_refused():
    visual = timm_visual()
    del visual.trunk.blocks[-1].norm1
    with pytest.raises(ModelError, match="Expected: ln_1 or norm1"):
        tower.input_norm(tower.vision_tower(model_of(visual)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "magic"}, "scorecam, gradcam, layercam"),
        ({"batch_size": 0}, "Batch size is below 1"),
    ],
    ids=str,
)
def test_what_cannot_be_mapped(model, classes, pixels, options, words):
    with pytest.raises(ParameterError, match=words):
        maps.cam_maps(model, pixels, classes, [0, 1], **options)


@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_a_map_does_not_vanish_when_the_model_is_certain(model, pixels, method):
    """Classes so far apart that the probability is 1 in float32, where its gradient is 0."""
    vector = similarity.normalise(model.encode_images(pixels[:1]))
    classes = np.concatenate([vector, -vector])
    found = maps.cam_maps(model, pixels[:1], classes, [0], method=method)
    assert found.probabilities[0, 0] == 1
    assert found.maps.max() > 0.9


def test_a_tower_that_gives_its_tokens_too():
    """CoCa's gives a pair, of which the first is the embedding."""
    visual = VisionTransformer(32, 8, 32, 2, 2, 4.0, output_dim=16, output_tokens=True)
    classes = similarity.normalise(np.random.default_rng(0).normal(size=(3, 16)))
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = maps.cam_maps(model_of(visual), pixels, classes, [1])
    visual.output_tokens = False
    alone = maps.cam_maps(model_of(visual), pixels, classes, [1])
    np.testing.assert_array_equal(found.maps, alone.maps)


def test_maps_are_computed_once(model, classes, heads, tmp_path, monkeypatch):
    few = heads.dataset.where(np.arange(len(heads.dataset)) < 2)
    options = {"cache_dir": tmp_path, "method": "gradcam"}
    first = maps.class_maps(model, few, classes, [0, 1], **options)
    direct = maps.cam_maps(model, pixels_of(model, few), classes, [0, 1], method="gradcam")
    np.testing.assert_allclose(first.maps, direct.maps, atol=1e-4)

    def fail(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(maps, "cam_maps", fail)
    again = maps.class_maps(model, few, classes, [0, 1], **options)
    np.testing.assert_array_equal(again.maps, first.maps)
    others = [
        (few, classes, [1, 0], options),
        (few, classes[::-1], [0, 1], options),
        (few, classes, [0, 1], options | {"method": "layercam"}),
        (heads.dataset.where(np.arange(len(heads.dataset)) > 0), classes, None, options),
    ]
    for images, vectors, targets, chosen in others:
        targets = targets or [0] * len(images)
        with pytest.raises(AssertionError, match="computed again"):
            maps.class_maps(model, images, vectors, targets, **chosen)
    with pytest.raises(AssertionError, match="computed again"):
        maps.class_maps(replace(model, fingerprint="f" * 16), few, classes, [0, 1], **options)


@pytest.mark.parametrize(
    ("texts", "found"), [(("", " , "), "nothing"), (("scorecam", "magic, x"), "magic, x")]
)
def test_unknown_methods_are_named(texts, found):
    with pytest.raises(ParameterError, match=f"scorecam, gradcam, layercam.*Found: {found}"):
        maps.parse_methods(*texts)
