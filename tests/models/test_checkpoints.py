import argparse

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from fetalclip_nb.errors import ModelError
from fetalclip_nb.models.model import load_model
from helpers import TINY_CONFIG, write_config


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return open_clip.CLIP(**TINY_CONFIG).state_dict()


@pytest.fixture
def loaded(tmp_path):
    """Writes what a trainer saved, and loads it with the tiny config."""

    def load(content, **options):
        torch.save(content, tmp_path / "w.pt", **options)
        return load_model(f"{write_config(tmp_path / 'c.json')}+{tmp_path / 'w.pt'}")

    return load


def named(state, start):
    return {f"{start}{name}": value for name, value in state.items()}


NUMBERS = {
    "loss": np.float32(0.5),
    "step": np.int64(3),
    "best": np.bool_(True),
    "f1": np.float64(1),
}

WRAPPED = {
    "prefix": lambda s: named(s, "module._orig_mod.model.clip."),
    "Lightning": lambda s: {"state_dict": named(s, "model."), "hyper_parameters": {"lr": 0.1}},
    "with its loss": lambda s: {"state_dict": {**named(s, "model."), "loss.w": torch.ones(2)}},
    "nested": lambda s: {"epoch": 3, "checkpoint": {"net": {"model_state_dict": s}}},
    "averaged": lambda s: {"ema": named(s, "module."), "step": 7},
    "numbers of numpy": lambda s: {"model": s, **NUMBERS},
    "derived entries": lambda s: {**s, "vocab_size": torch.tensor(9), "context_length": 4},
    "shape of one number": lambda s: {**s, "logit_scale": s["logit_scale"].reshape(1)},
    "double": lambda s: {name: value.double() for name, value in s.items()},
    "optimizer beside": lambda s: {"model": s, "optimizer": {"state": {0: {"m": torch.ones(2)}}}},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", WRAPPED)
def test_wrapped_weights_are_the_same_model(kind, legacy, state, loaded, capsys):
    model = loaded(WRAPPED[kind](state), _use_new_zipfile_serialization=not legacy)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert capsys.readouterr().err == ""


def test_of_two_sets_the_one_that_is_no_average_is_read_and_named(state, loaded, capsys):
    other = {name: value + 1 for name, value in state.items()}
    model = loaded({"state_dict_ema": other, "state_dict": state})
    assert torch.equal(model.network.ln_final.bias, state["ln_final.bias"])
    assert "state_dict., state_dict_ema.: state_dict. are read" in capsys.readouterr().err


def changed(state, make):
    return {**state, "visual.proj": make(state["visual.proj"])}


REFUSED = {
    "whole numbers": (lambda s: {k: (9 * v).to(torch.int8) for k, v in s.items()}, "int8.*floats"),
    "complex": (lambda s: changed(s, lambda v: v.to(torch.complex64)), "complex64"),
    "sparse": (lambda s: changed(s, lambda v: v.to_sparse()), "visual.proj no plain tensor"),
    "meta": (lambda s: changed(s, lambda v: v.to("meta")), "visual.proj no plain tensor"),
    "no tensor": (lambda s: changed(s, lambda v: v.tolist()), "visual.proj no plain tensor .list"),
    "surplus": (lambda s: named(s | {"more": torch.ones(2)}, "module."), "0 missing.*more"),
    "not finite": (lambda s: changed(s, lambda v: v * torch.nan), "not finite.*visual.proj"),
    "zeros": (lambda s: {k: v * 0 for k, v in s.items()}, "without direction.*image, sentence"),
    "class": (lambda s: {"model": s, "args": argparse.Namespace(a=1)}, "argparse.Namespace"),
    "module": (lambda s: torch.nn.Linear(2, 2), "class torch.nn.modules.linear.Linear"),
    "nothing": (lambda s: {}, "do not fit.*missing"),
    "list": (lambda s: [1, 2], "do not fit.*missing"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_be_cast_dropped_or_useless_is_refused(kind, state, loaded):
    make, message = REFUSED[kind]
    with pytest.raises(ModelError, match=rf"{message}(?s:.*)What to do: (?!download)") as caught:
        loaded(make(state))
    assert "w.pt" in str(caught.value) and "\x1b" not in str(caught.value)


def test_the_content_tells_what_kind_of_file_it_is(state, tmp_path):
    config = write_config(tmp_path / "c.json")
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "a.pt")
    model = load_model(f"{config}+{tmp_path / 'a.pt'}")
    assert torch.equal(model.network.ln_final.bias, state["ln_final.bias"])
    (tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"cannot be read.*a\.pt"):
        load_model(f"{config}+{tmp_path / 'a.pt'}")
