"""The paper's models with random weights at reduced depth, in the layouts of their publishers.

`write("biomedclip", folder)` makes folder/biomedclip. With $FETALCLIP_NB_MODELS set to the folder
a profile names the five as ever (``models: [fetalclip, clip, biomedclip, unimed-clip,
mobilefetalclip]``) and they are shown under these names: where a folder of a model's name has an
``open_clip_config.json`` (``FetalCLIP_config.json`` for FetalCLIP), it is built from that.

Image towers keep patches of the publisher's size on a square grid, and are narrow. Those of timm
have the depth that their name fixes: BiomedCLIP gets timm's smallest, MobileFetalCLIP its own.

"dinov2" and "usfm" are image encoders alone: a profile names them ``local-dir:FOLDER/dinov2``.
"""

import json
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors.torch import save_file

from fetalclip_nb.models import sources
from layouts import write_layout

IMAGE_ONLY = {"dinov2": 14, "usfm": 16}  # pixels a patch
NAMES = ("fetalclip", "clip", "biomedclip", "unimed-clip", "mobilefetalclip")
BERT = "BiomedNLP-BiomedBERT-base-uncased-abstract"
CONFIG = "open_clip_config.json"
OPENAI = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def write(name: str, folder: Path, *, depth: int = 6, width: int = 64, side: int = 0) -> Path:
    """Write one of the five, or of `IMAGE_ONLY`; its folder.

    Args:
        name: One of `NAMES` or `IMAGE_ONLY`.
        folder: Where models lie ($FETALCLIP_NB_MODELS, build/models).
        depth: Blocks of both towers, at least 6 for the features of four blocks.
        width: Numbers a token, a multiple of 64.
        side: Pixels along an image's side in place of the publisher's; MobileFetalCLIP's tower is
            the slow one, and takes any multiple of 32.
    """
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    if name in IMAGE_ONLY:
        side = (side or 224) // IMAGE_ONLY[name] * IMAGE_ONLY[name]
        sizes = {"embed_dim": width, "depth": depth, "num_heads": width // 64, "img_size": side}
        write_layout(name, place / "weights.pth", **sizes)
        return place
    config = _config(name, depth, width)
    config["vision_cfg"]["image_size"] = side or config["vision_cfg"]["image_size"]
    if "hf_model_name" in config["text_cfg"]:
        write_bert(place / BERT, depth, width)
    torch.manual_seed(1 + NAMES.index(name))  # 0 is the untrained twin's
    state = _network(config, place).state_dict()
    stated = IMAGENET if name == "mobilefetalclip" else OPENAI
    if name == "fetalclip":  # a bare config: the preparation is told in its publisher's words
        (place / "FetalCLIP_config.json").write_text(json.dumps(config))
    else:
        content = {"model_cfg": config, "preprocess_cfg": stated}
        (place / CONFIG).write_text(json.dumps(content))
    _SAVE[name](state, place)
    return place


def _config(name: str, depth: int, width: int) -> dict:
    """A model's config in open_clip's form."""
    vision = {"image_size": 224, "layers": depth, "width": width, "patch_size": 14}
    text = {"context_length": 117, "vocab_size": 49408, "width": width, "layers": depth}
    text["heads"] = width // 64
    if name == "clip":
        return {**_towers(768, vision, text | {"context_length": 77}), "quick_gelu": True}
    if name == "fetalclip":
        return _towers(768, vision, text)
    if name == "mobilefetalclip":
        trunk = {"timm_model_name": "fastvit_mci0", "timm_model_pretrained": False}
        trunk |= {"timm_pool": "avg", "timm_proj": None, "image_size": 256}
        return {**_towers(512, trunk, text | {"no_causal_mask": True}), "custom_text": True}
    bert = {
        "hf_model_name": f"microsoft/{BERT}",
        "hf_tokenizer_name": f"microsoft/{BERT}",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 256,
    }
    if name == "unimed-clip":
        return {**_towers(512, vision | {"patch_size": 16}, bert), "quick_gelu": True}
    trunk = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": ""}
    return _towers(512, trunk | {"timm_proj": "linear", "image_size": 160}, bert)


def _towers(size: int, vision: dict, text: dict) -> dict:
    return {"embed_dim": size, "vision_cfg": vision, "text_cfg": text}


def _network(config: dict, place: Path) -> torch.nn.Module:
    """The network of a config, with random weights."""
    local = sources._with_local_text(config, place)
    bert = "hf_model_name" in local["text_cfg"]
    local["text_cfg"] |= {"hf_model_pretrained": False} if bert else {}
    custom = local.pop("custom_text", bert)
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**local)


def write_bert(place: Path, depth: int, width: int) -> None:
    """What transformers builds a BERT and its tokenizer from: letters and digits are its words."""
    place.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,:;()-%/'", *letters]
    words += [f"##{letter}" for letter in letters]
    (place / "vocab.txt").write_text("\n".join(words) + "\n")
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth}
    sizes |= {"num_attention_heads": width // 64, "vocab_size": len(words), "pad_token_id": 0}
    (place / "config.json").write_text(json.dumps({"model_type": "bert", **sizes}))
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (place / "tokenizer_config.json").write_text(json.dumps(settings))


def _positions(state: dict, tower: str) -> dict:
    """Weights as transformers before 4.31 kept them, with the numbers of all positions."""
    return {**state, f"{tower}.transformer.embeddings.position_ids": torch.arange(512)[None]}


def _save_unimed(state: dict, place: Path) -> None:
    """As a trainer on several GPUs keeps it, with a score of numpy beside the weights."""
    named = {key.replace("text.", "text_encoder.", 1): value for key, value in state.items()}
    named = {f"module.{k}": v for k, v in _positions(named, "text_encoder").items()}
    content = {"epoch": 10, "name": "unimed", "loss": np.float64(0.5), "state_dict": named}
    torch.save(content, place / "unimed-clip-vit-b16.pt")


_SAVE = {
    "fetalclip": lambda state, place: torch.save(state, place / "FetalCLIP_weights.pt"),
    "clip": lambda state, place: save_file(state, place / "open_clip_model.safetensors"),
    "biomedclip": lambda state, place: torch.save(
        _positions(state, "text"), place / "open_clip_pytorch_model.bin"
    ),
    "unimed-clip": _save_unimed,
    "mobilefetalclip": lambda state, place: torch.save(
        {"epoch": 20, "model": {f"module.{key}": value for key, value in state.items()}},
        place / "mobile_fetal_clip_weights.pt",
    ),
}
