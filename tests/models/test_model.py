import contextlib
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fetalclip_nb.downloads.registry import RemoteFile, file_hash, registered
from fetalclip_nb.errors import FetalClipError, ModelError, ParameterError
from fetalclip_nb.models import names, sources
from fetalclip_nb.models.model import load_model, pick_device, pick_precision, trimmed_text
from fetalclip_nb.models.sources import read_config
from helpers import TINY_CONFIG, write_config

LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 1710766661\n"
SENTENCES = ["a head", "an ultrasound image of the fetal abdomen with the stomach", "femur"]


@pytest.fixture
def tiny(tmp_path):
    """A tiny config and checkpoint on disk: (config path, checkpoint path, state)."""
    config = write_config(tmp_path / "tiny_config.json")
    torch.manual_seed(1)
    network = open_clip.CLIP(**TINY_CONFIG)
    torch.save(network.state_dict(), tmp_path / "tiny.pt")
    return config, tmp_path / "tiny.pt", network.state_dict()


@pytest.fixture
def spec(tiny):
    """The tiny model as it is asked for."""
    return f"{tiny[0]}+{tiny[1]}"


def test_config_and_checkpoint(tiny):
    config, weights, state = tiny
    model = load_model(f"{config}+{weights}", device="cpu")
    assert (model.name, load_model(f"mine={config}+{weights}").name) == ("tiny", "mine")
    assert all(torch.equal(v, state[k]) for k, v in model.network.state_dict().items())
    assert model.parameters == sum(v.numel() for v in state.values())
    pixels = torch.stack([model.preprocess(Image.new("L", (50, 50), 128))])
    assert model.encode_images(pixels).shape == (1, 16)


def test_wrappers_prefixes_and_safetensors_give_the_same_model(tiny, tmp_path):
    config, weights, state = tiny
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "w.pt")
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "w.safetensors")
    prints = {
        load_model(f"{config}+{path}").fingerprint
        for path in (weights, tmp_path / "w.pt", tmp_path / "w.safetensors")
    }
    assert len(prints) == 1


def test_settings_without_weights_of_their_own_change_the_fingerprint(tiny, tmp_path):
    config, weights, _ = tiny
    heads = {**TINY_CONFIG["text_cfg"], "heads": 4}
    changed = [
        write_config(tmp_path / "quick.json", quick_gelu=True),
        write_config(tmp_path / "heads.json", text_cfg=heads),
    ]
    loaded = [load_model(f"{path}+{weights}") for path in (config, *changed)]
    assert len({model.fingerprint for model in loaded}) == 3
    vectors = [model.encode_text(SENTENCES) for model in loaded]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-4


def test_trimmed_text_equals_full_length(spec):
    model = load_model(spec)
    tokens = model.tokenizer(SENTENCES)
    with torch.inference_mode():
        full = model.network.encode_text(tokens)
        trimmed = trimmed_text(model.network, tokens)
    assert tokens.shape[1] == 40
    assert torch.allclose(full, trimmed, atol=1e-6)


def test_text_order_and_batches_do_not_matter(spec):
    model = load_model(spec)
    together = model.encode_text(SENTENCES)
    alone = np.concatenate([model.encode_text([s], batch_size=1) for s in SENTENCES])
    assert np.allclose(together, alone, atol=1e-6)
    assert np.allclose(model.encode_text(SENTENCES, batch_size=2), together, atol=1e-6)


def test_config_that_does_not_fit_names_what_differs(tiny, tmp_path):
    _, weights, _ = tiny
    other = {**TINY_CONFIG["vision_cfg"], "layers": 3, "patch_size": 16}
    config = write_config(tmp_path / "other.json", vision_cfg=other)
    with pytest.raises(ModelError, match=r"do not fit.*12 missing.*2 of another form") as caught:
        load_model(f"{config}+{weights}")
    assert "\n" not in str(caught.value)


def test_checkpoints_and_configs_that_cannot_be_read_are_refused(tiny, tmp_path):
    config, weights, _ = tiny
    (tmp_path / "pointer.pt").write_text(LFS_POINTER.format("9" * 64))
    (tmp_path / "cut.pt").write_bytes(weights.read_bytes()[:-5000])
    torch.save({"state_dict": Fraction(1, 2)}, tmp_path / "code.pt")
    for name, message in (
        ("pointer.pt", "LFS pointer.*1710766661 bytes.*What to do"),
        ("cut.pt", "cannot be read"),
        ("code.pt", "cannot be read"),
        ("none.pt", "checkpoint is missing"),
    ):
        with pytest.raises(FetalClipError, match=message):
            load_model(f"{config}+{tmp_path / name}")
    bad = tmp_path / "bad.json"
    for text in ('{"embed_dim": 3}', '{"model_cfg": 0.5}', "null"):
        bad.write_text(text)
        with pytest.raises(ModelError, match="lacks keys.*vision_cfg"):
            load_model(f"{bad}+{weights}")


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"embed_dim": "x"},
        {"vision_cfg": [1]},
        {"vision_cfg": {**TINY_CONFIG["vision_cfg"], "patch_size": 0}},
        {"vision_cfg": {**TINY_CONFIG["vision_cfg"], "head_width": 3}},
        {"vision_cfg": {"timm_model_name": "vit_of_nobody", "image_size": 32}},
        {"text_cfg": {**TINY_CONFIG["text_cfg"], "hf_tokenizer_name": "/nobody/no-tokenizer"}},
        {"text_cfg": {"hf_model_name": "/nobody/no-tower", "hf_tokenizer_name": "/nobody"}},
    ],
)
@pytest.mark.parametrize("in_folder", [False, True])
def test_configs_that_open_clip_refuses_are_named(change, in_folder, tmp_path, tiny):
    folder = tmp_path / "odd"
    folder.mkdir()
    config = write_config(folder / "open_clip_config.json", **change)
    if in_folder:
        save_file({"a": torch.ones(1)}, folder / "open_clip_model.safetensors")
    spec = f"local-dir:{folder}" if in_folder else f"{config}+{tiny[1]}"
    with pytest.raises(ModelError, match=r"cannot be built.*odd/open_clip_config\.json.*What to"):
        load_model(spec)


def test_longer_sentences_than_the_text_tower_reads_are_refused(spec):
    model = load_model(spec)
    fits = " ".join(["head"] * 38)  # 40 tokens with the first and the last
    assert model.encode_text([fits, "a"]).shape == (2, 16)
    message = (
        r"2 sentences are longer than the 40 tokens that tiny reads.*follows 'head .*head' would"
    )
    with pytest.raises(ParameterError, match=message):
        model.encode_text(["a", f"{fits} head", f"{fits}!"])


class Bert:
    """A tokenizer that pads with 1 and ends with 2, and that strips or appends a last token."""

    def __init__(self, last):
        self.last = last

    def __call__(self, texts, context_length=6):
        rows = torch.ones(len(texts), context_length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            ids = [*[0, *range(5, 5 + len(text.split()))][: context_length - 2], 2]
            row[: len(ids)] = torch.tensor(ids)
            row[-1] = self.last
        return rows


@pytest.mark.parametrize("last", [1, 3])
def test_other_tokenizers_are_asked_whether_they_cut(last, spec):
    model = replace(load_model(spec), tokenizer=Bert(last))
    model._require_whole(["a b c", ""])
    with pytest.raises(ParameterError, match=r"1 sentence is .* 6 tokens .*follows 'a b c' would"):
        model._require_whole(["a b c", "a b c d e"])


def test_published_scores_belong_to_known_weights_alone(tiny, tmp_path, monkeypatch):
    config, weights, _ = tiny
    files = {"FetalCLIP_config.json": config, "FetalCLIP_weights.pt": weights}
    remote = [RemoteFile(n, "", p.stat().st_size, file_hash(p)) for n, p in files.items()]
    entry = replace(registered("fetalclip"), files=tuple(remote))
    monkeypatch.setattr(sources, "registered", lambda name: entry)
    asked = sources.published_as.__wrapped__
    assert asked(f"{config}+{weights}") == "fetalclip"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")  # of the same size
    assert (
        asked(f"{config}+{weights}") == asked("phantomclip") == asked(f"{config}-untrained") == ""
    )
    assert [asked(name) for name in ("clip", "ViT-L-14-quickgelu/openai")] == ["clip", "clip"]
    assert asked("ViT-L-14/laion2b_s32b_b82k") == ""


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("phantomclop", "Unknown model.*phantomclip"),
        ("ViT-L-14/openai", "QuickGELU.*ViT-L-14-quickgelu/openai"),
        ("ViT-B-32/nobody", "no such weights.*Found: nobody"),
        ("local-dir:/none", "config is missing.*/none/open_clip_config.json"),
        ("fetalclip", "fetalclip-nb download fetalclip"),
    ],
)
def test_models_that_are_not_there(spec, message, tmp_path, monkeypatch):
    monkeypatch.setenv("FETALCLIP_NB_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=message):
        load_model(spec)


def test_folder_without_weights_is_refused_and_with_them_loads(tiny, tmp_path):
    config, _, state = tiny
    folder = tmp_path / "folder"
    folder.mkdir()
    content = json.loads(config.read_text())
    content["preprocess_cfg"]["mean"] = [0.5] * 3
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"checkpoint is missing.*open_clip_model\.safetensors"):
        load_model(f"local-dir:{folder}")
    weights = folder / "open_clip_model.safetensors"
    save_file({k: v.contiguous() for k, v in state.items()}, weights)
    model = load_model(f"local-dir:{folder}")
    assert all(torch.equal(v, state[k]) for k, v in model.network.state_dict().items())
    assert "mean=[0.5, 0.5, 0.5]" in repr(model.preprocess)
    weights.write_text(LFS_POINTER.format("9" * 64))
    with pytest.raises(FetalClipError, match="LFS pointer"):
        load_model(f"local-dir:{folder}")


@pytest.mark.parametrize("name", ["phantomclip", "tiny"])
def test_untrained_twin_is_reproducible_and_differs_from_the_trained_model(name, tiny):
    config, weights, _ = tiny
    own = name == "tiny"
    first, again = (
        load_model(f"twin={config}-untrained" if own else f"{name}-untrained") for _ in range(2)
    )
    trained = load_model(f"{config}+{weights}" if own else name)
    assert first.name == ("twin" if own else "phantomclip-untrained")
    assert first.fingerprint == again.fingerprint != trained.fingerprint
    shapes = [{k: v.shape for k, v in m.network.state_dict().items()} for m in (first, trained)]
    assert shapes[0] == shapes[1]
    assert repr(first.preprocess) == repr(trained.preprocess)


@pytest.mark.parametrize(
    ("device", "precision", "asked"),
    [
        ("cuda:1", "fp16", ("cuda", torch.float16, True)),
        ("cuda", "bf16", ("cuda", torch.bfloat16, True)),
        ("cuda", "tf32", ("cuda", None, False)),
        ("cpu", "fp32", ("cpu", None, False)),
    ],
)
def test_images_and_sentences_are_encoded_in_the_models_precision(
    tiny, monkeypatch, device, precision, asked
):
    model = load_model(f"{tiny[0]}+{tiny[1]}", device="cpu")
    calls = []

    def autocast(kind, dtype, *, enabled):
        calls.append((kind, dtype, enabled))
        return contextlib.nullcontext()

    monkeypatch.setattr(torch, "autocast", autocast)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_: self)
    model = replace(model, device=device, precision=precision)
    model.encode_images(torch.zeros(1, 3, 32, 32))
    model.encode_text(["a head"])
    assert calls == [asked, asked]


def test_device_and_precision_are_checked():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert pick_device("auto") == "cpu"
    assert pick_precision("auto", "cpu") == pick_precision("fp32", "cuda") == "fp32"
    assert pick_precision("auto", "cuda:1") == "tf32"
    chosen = [pick_precision("fp16", device) for device in ("cuda", "cuda:1", "cpu", "mps")]
    assert chosen == ["fp16", "fp16", "fp32", "fp32"]
    assert not torch.backends.cudnn.allow_tf32
    for function, values, message in (
        (pick_device, ("cuda",), "No such accelerator.*cuda"),
        (pick_device, ("gpu",), "Unknown device"),
        (pick_precision, ("fp64", "cpu"), "Unknown precision.*fp64"),
        (names.parse_models, (" , ",), "No model named"),
    ):
        with pytest.raises(ParameterError, match=message):
            function(*values)


def test_bf16_stays_close_to_fp32(spec):
    exact = load_model(spec).encode_text(SENTENCES)
    rough = load_model(spec, precision="bf16").encode_text(SENTENCES)
    assert 0 < np.abs(exact - rough).max() < 0.1


def test_fetalclip_architecture_loads_from_a_checkpoint_of_its_size(
    shared_data, tmp_path, monkeypatch
):
    """Random weights of the very architecture, 427.6 M parameters, through the real road."""
    folder = tmp_path / "fetalclip"
    folder.mkdir()
    config = shared_data / "fetalclip" / "FetalCLIP_config.json"
    (folder / "FetalCLIP_config.json").write_text(config.read_text())
    with torch.device("meta"):
        shapes = open_clip.CLIP(**read_config(config)["model_cfg"]).state_dict()
    assert sum(v.numel() for v in shapes.values()) == pytest.approx(427.6e6, rel=1e-3)
    state = {k: torch.full(v.shape, 0.01, dtype=torch.float16) for k, v in shapes.items()}
    state["ln_final.bias"] = torch.rand(768, generator=torch.manual_seed(0)).half()
    torch.save(state, folder / "FetalCLIP_weights.pt")
    monkeypatch.setenv("FETALCLIP_NB_MODELS", str(tmp_path))
    model = load_model("fetalclip", device="cpu")
    assert model.network.context_length == 117
    assert model.tokenizer(["a"]).shape == (1, 117)
    assert torch.equal(model.network.ln_final.bias, state["ln_final.bias"].float())
    assert model.preprocess(Image.new("L", (300, 300))).shape == (3, 224, 224)
