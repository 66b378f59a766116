"""Encoders without text: each door opens, gives finite vectors, and tells what is wrong."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fetalclip_nb.errors import ModelError
from fetalclip_nb.models.blocks import BlockEncoder
from fetalclip_nb.models.model import load_model
from fetalclip_nb.models.names import model_files, model_name, parse_models
from fetalclip_nb.models.sources import published_as
from fetalclip_nb.models.tower import vision_tower
from layouts import NETWORKS, write_layout

TINY = {
    "test_vit": {"patch_size": 16, "img_size": 64, "depth": 4},
    "test_convnext": {},
    "test_resnet": {},
}


def write_timm(folder, name, seed=1):
    """A folder as timm writes it, with random weights."""
    torch.manual_seed(seed)
    network = timm.create_model(name, num_classes=0, **TINY[name])
    timm.models.save_for_hf(network, folder, model_args=TINY[name])
    return f"local-dir:{folder}"


def write_vit(folder, *, pooler=True):
    """A folder as transformers writes it, of an image tower with or without a trained pooler."""
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = transformers.ViTConfig(**sizes, intermediate_size=64, image_size=64, patch_size=16)
    torch.manual_seed(0)
    network = transformers.ViTModel(config, add_pooling_layer=pooler).eval()
    network.save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.ViTImageProcessor(size=size, image_mean=[0.2] * 3).save_pretrained(folder)
    return network


def random_pixels(model, count=2):
    side = model.image_side
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", TINY)
def test_networks_of_timm_from_a_folder(name, tmp_path):
    model = load_model(write_timm(tmp_path / "a", name), device="cpu")
    again = load_model(f"local-dir:{tmp_path / 'a'}", device="cpu")
    other = load_model(write_timm(tmp_path / "b", name, seed=2), device="cpu")
    twin = load_model(f"local-dir:{tmp_path / 'a'}-untrained", device="cpu")
    torch.manual_seed(99)
    twice = load_model(f"local-dir:{tmp_path / 'a'}-untrained", device="cpu")
    assert twin.fingerprint == twice.fingerprint
    files = {path.name for path in model_files(model.source)}
    assert files == {"config.json", "pytorch_model.bin"}
    assert model.fingerprint == again.fingerprint
    assert len({each.fingerprint for each in (model, other, twin)}) == 3
    assert twin.parameters == model.parameters
    pixels = random_pixels(model)
    norms = np.linalg.norm(model.encode_images(pixels), axis=1)
    assert np.isfinite(norms).all() and (norms > 0).all()
    features = BlockEncoder(model, "even", grid=4)
    assert features.blocks == (1, 2, 3, 4)
    assert features.encode_images(pixels).shape == (2, 4, 4, 4, features.width)
    grid = {"test_vit": 4, "test_convnext": 5, "test_resnet": 5}[name]
    assert vision_tower(model).grid == grid
    assert not model.reads_text
    assert published_as(model.source) == ""
    with pytest.raises(ModelError, match=r"reads no text.*chapters without sentences"):
        model.encode_text(["a head"])


def test_pixels_are_normalised_as_timm_says_and_nothing_is_cut_off():
    model = load_model("timm:test_vit-untrained", device="cpu")
    data = timm.data.resolve_model_data_config(timm.create_model("test_vit"))
    image = Image.new("L", (300, 300), 0)
    image.paste(255, (0, 0, 20, 300))  # at the edge, where timm's own preparation would crop
    pixels = model.preprocess(image)
    assert pixels.shape == (3, *data["input_size"][1:])
    for band, (mean, std) in enumerate(zip(data["mean"], data["std"], strict=True)):
        assert pixels[band].min() == pytest.approx((0 - mean) / std, abs=0.05)
        assert pixels[band, :, 0].min() == pytest.approx((1 - mean) / std, abs=0.05)


def test_a_checkpoint_for_a_network_of_timm_loses_its_classifier(tmp_path):
    torch.manual_seed(3)
    network = timm.create_model("test_vit", num_classes=5).eval()
    path = tmp_path / "a,b.pth"
    torch.save({"state_dict": network.state_dict()}, path)
    spec = f"timm:test_vit+{path}"
    model = load_model(spec, device="cpu")
    pixels = random_pixels(model)
    network.reset_classifier(0)
    with torch.inference_mode():
        assert np.allclose(model.encode_images(pixels), network(pixels), atol=1e-6)
    assert (model.name, model_files(spec)) == ("a-b", [path])
    assert parse_models(f"clip,{spec}, phantomclip") == ["clip", spec, "phantomclip"]
    state = network.state_dict()
    state.pop("blocks.2.norm1.weight")
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"1 missing \(blocks\.2\.norm1\.weight\)"):
        load_model(spec, device="cpu")


@pytest.mark.parametrize("pooler", [True, False])
def test_a_vision_model_of_transformers(pooler, tmp_path):
    network = write_vit(tmp_path, pooler=pooler)
    model = load_model(f"local-dir:{tmp_path}", device="cpu")
    assert model.fingerprint == load_model(f"local-dir:{tmp_path}", device="cpu").fingerprint
    assert model.preprocess(Image.new("L", (9, 9)))[0, 0, 0] == pytest.approx(-0.2 / 0.5)
    pixels = random_pixels(model)
    with torch.inference_mode():
        made = network(pixels, output_hidden_states=True)
    wanted = made.pooler_output if pooler else made.last_hidden_state[:, 0]
    assert np.allclose(model.encode_images(pixels), wanted, atol=1e-6)
    assert model.parameters == sum(each.numel() for each in network.parameters())
    maps = BlockEncoder(model).encode_images(pixels)
    last = made.hidden_states[-1][:, 1:].reshape(2, 4, 4, 32)
    assert np.allclose(maps[:, -1], last, atol=2e-3)
    with pytest.raises(ModelError, match="no plain vision transformer"):
        vision_tower(model)
    network.half().save_pretrained(tmp_path)  # as many hubs keep them
    again = load_model(f"local-dir:{tmp_path}", device="cpu")
    assert np.allclose(again.encode_images(pixels), wanted, atol=0.02)
    assert {each.dtype for each in again.network.parameters()} == {torch.float32}


def test_the_vision_tower_of_two_and_none_that_hides_patches(tmp_path):
    import transformers

    network = write_vit(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**sizes, "intermediate_size": 64, "image_size": 64, "patch_size": 16}
    network = transformers.SiglipModel(
        transformers.SiglipConfig(text_config=sizes, vision_config=vision)
    ).eval()
    network.save_pretrained(tmp_path)
    model = load_model(f"local-dir:{tmp_path}", device="cpu")
    pixels = random_pixels(model)
    with torch.inference_mode():
        wanted = network.vision_model(pixels).pooler_output
    assert np.allclose(model.encode_images(pixels), wanted, atol=1e-6)
    transformers.ViTMAEModel(transformers.ViTMAEConfig(**vision)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"hidden at random.*Found: vit_mae"):
        load_model(f"local-dir:{tmp_path}", device="cpu")


@pytest.mark.parametrize("name", NETWORKS)
def test_published_layouts_are_the_networks_of_timm(name, tmp_path):
    network = write_layout(name, tmp_path / "weights.pth")
    model = load_model(f"local-dir:{tmp_path}", device="cpu")
    pixels = random_pixels(model)
    with torch.inference_mode():
        assert np.allclose(model.encode_images(pixels), network(pixels), atol=1e-6)
    assert BlockEncoder(model).blocks == (1, 2, 3, 6)
    assert vision_tower(model).grid == model.image_side // network.patch_embed.patch_size[0]
    twin = load_model(f"local-dir:{tmp_path}-untrained", device="cpu")
    assert (twin.parameters, twin.name) == (model.parameters, f"{model.name}-untrained")
    assert twin.fingerprint != model.fingerprint
    assert model_files(f"local-dir:{tmp_path}-untrained") == [tmp_path / "weights.pth"]


@pytest.mark.parametrize("name", ["dinov2", "dinov3", "mae", "usfm"])
def test_what_a_layout_lacks_or_has_beside_is_named(name, tmp_path):
    path = tmp_path / "weights.pth"
    write_layout(name, path, depth=1)
    content = torch.load(path)
    state = content.get("model", content)
    norm = state.pop("blocks.0.norm2.bias")
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"1 missing \(blocks\.0\.norm2\.bias\), 0 unexpected"):
        load_model(f"local-dir:{tmp_path}", device="cpu")
    state |= {"blocks.0.norm2.bias": norm, "neck.weight": norm}
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"0 missing \(\), 1 unexpected \(neck\.weight\)"):
        load_model(f"local-dir:{tmp_path}", device="cpu")


@pytest.mark.parametrize(
    ("name", "key", "shape", "message"),
    [
        ("mae", "pos_embed", None, "KeyError 'pos_embed'"),
        ("dinov3", "rope_embed.periods", (7,), "layout"),
        ("dinov2", "patch_embed.proj.weight", (128, 3), "not enough values"),
    ],
)
def test_other_shapes_than_a_layout_has_are_one_error(name, key, shape, message, tmp_path):
    path = tmp_path / "weights.pth"
    write_layout(name, path, depth=1)
    content = torch.load(path)
    state = content.get("model", content)
    state.pop(key)
    if shape:
        state[key] = torch.ones(shape)
    torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        load_model(f"local-dir:{tmp_path}", device="cpu")


def test_a_training_checkpoint_with_split_blocks_is_read_at_its_teacher(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    network = write_layout("dinov2", path, depth=2)
    state = torch.load(path)
    split = {key.replace("blocks.", "blocks.0."): each for key, each in state.items()}
    noise = {f"student.backbone.{key}": torch.randn_like(each) for key, each in split.items()}
    torch.save({**noise, **{f"teacher.backbone.{key}": each for key, each in split.items()}}, path)
    model = load_model(f"local-dir:{tmp_path}", device="cpu")
    pixels = random_pixels(model)
    with torch.inference_mode():
        assert np.allclose(model.encode_images(pixels), network(pixels), atol=1e-6)
    assert "'teacher.backbone.' is read" in capsys.readouterr().err


def test_keys_with_a_bias_are_no_dinov3(tmp_path):
    path = tmp_path / "weights.pth"
    write_layout("dinov3", path, depth=1)
    state = {key: each for key, each in torch.load(path).items() if "bias_mask" not in key}
    load = lambda: load_model(f"local-dir:{tmp_path}", device="cpu")  # noqa: E731
    torch.save(state, path)
    load()
    state["blocks.0.attn.qkv.bias"][128] = 1
    torch.save(state, path)
    with pytest.raises(ModelError, match=r"Keys have a bias.*qkv\.bias"):
        load()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no model that is known.*exactly one checkpoint.*Found: no checkpoint"),
        ({"a.weight": torch.ones(1)}, r"no layout that is known.*Found: a\.weight"),
    ],
)
def test_folders_of_something_else(content, message, tmp_path):
    if content:
        torch.save(content, tmp_path / "w.bin")
    with pytest.raises(ModelError, match=message):
        load_model(f"local-dir:{tmp_path}", device="cpu")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("timm:vit_of_nobody", "cannot be loaded.*Unknown model.*local-dir:FOLDER"),
        ("timm:resnet18", "cannot be loaded.*Where: timm:resnet18.*network.*local-dir:FOLDER"),
        ("hf:nobody/nothing", r"cannot be loaded.*nobody/nothing.*network.*transformers"),
    ],
)
def test_without_a_network_the_error_says_what_would_do(spec, message, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=message):
        load_model(spec, device="cpu")


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "def colours(images):\n    return images.flatten(2).mean(2) + 1"
    (tmp_path / "mine.py").write_text(code)
    model = load_model("mine.py:colours", device="cpu")
    assert model.encode_images(torch.zeros(4, 3, 224, 224)).tolist() == [[1.0] * 3] * 4
    white = model.preprocess(Image.new("L", (50, 50), 255))
    assert white.shape == (3, 224, 224) and white.unique().tolist() == [1.0]
    assert (model.name, model_files("mine.py:colours")) == ("colours", [tmp_path / "mine.py"])
    assert load_model("mine:colours", device="cpu").encode_images(white[None]).tolist() == [[2] * 3]
    for other in (f"{code}  # the same", f"{code} + 1"):
        (tmp_path / "mine.py").write_text(other)
        assert load_model("mine.py:colours", device="cpu").fingerprint != model.fingerprint
    with pytest.raises(ModelError, match="no features of its blocks"):
        BlockEncoder(model)
    with pytest.raises(ModelError, match="no plain vision transformer"):
        vision_tower(model)


CLASS = """
import numpy as np
class Encoder:
    def preprocess(self, image):
        import torch
        return torch.from_numpy(np.asarray(image.convert("L").resize((4, 4)), "float32"))[None] / 8
    def __call__(self, images):
        return np.asarray(images).reshape(len(images), -1) + 0.5
"""


def test_a_class_of_ones_own_with_its_preparation(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CLASS)
    model = load_model(f"ours={path}:Encoder", device="cpu")
    assert (model.name, model.image_side) == ("ours", 4)
    assert model.fingerprint == load_model(f"{path}:Encoder", device="cpu").fingerprint
    image = model.preprocess(Image.new("L", (9, 9), 8))[None]
    assert model.encode_images(image).tolist() == [[1.5] * 16]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("encode = 3", "is no function.*Found: int"),
        ("other = 3", "cannot be loaded.*encode"),
        ("1 / 0", "cannot be loaded.*division by zero"),
        ("def encode(x): raise ValueError('too bad')", "function fails.*too bad.*N, 3, 224, 224"),
        ("def encode(x): return x.mean((1, 2, 3))", r"another shape.*\(2, D\).*Found: \(2,\)"),
        ("def encode(x): return x.mean((2, 3))[:1]", r"another shape.*Found: \(1, 3\)"),
        ("def encode(x): return x", r"another shape.*Found: \(2, 3, 224, 224\)"),
        ("def encode(x): return 'a'", "function fails"),
        ("def encode(x): return x.mean((2, 3)) / 0", "without direction.*NaN or infinity"),
        ("def encode(x): return x.mean((2, 3)) * 0", "without direction.*zeros"),
        ("def encode(x): return x.mean((2, 3)) - x.mean() / 2", "in another batch"),
        ("def encode(x): return x.mean((2, 3)) * __import__('torch').rand(1)", "another answer"),
    ],
)
def test_a_function_that_does_not_keep_the_contract_is_one_error(body, message, tmp_path):
    (tmp_path / "mine.py").write_text(body)
    with pytest.raises(ModelError, match=message) as error:
        load_model(f"{tmp_path / 'mine.py'}:encode", device="cpu")
    assert len(str(error.value).splitlines()) == 1


def test_modules_and_files_that_are_not_there():
    for spec in ("nobodys_module:encode", "/nobody/mine.py:encode"):
        with pytest.raises(ModelError, match=r"cannot be loaded.*(nobodys|/nobody)"):
            load_model(spec, device="cpu")
    assert model_name("timm:vit_small_patch14_dinov2.lvd142m") == "vit-small-patch14-dinov2.lvd142m"
    assert model_name("hf:facebook/dinov2-base") == "facebook-dinov2-base"
