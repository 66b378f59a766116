"""How a model is named: specs as a user writes them, their local files, the untrained twin."""

import contextlib
import re
from pathlib import Path, PureWindowsPath

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.files import slug
from fetalclip_nb.paths import SHIPPED, models_folder, resolve

UNTRAINED = "-untrained"
"""Ending of a name that asks for seeded random weights."""

_FETALCLIP = ("FetalCLIP_config.json", "FetalCLIP_weights.pt")

_NO_NAME = re.compile(r"[/\\+:,]")


def parse_models(text: str) -> list[str]:
    """Split a comma-separated list of model names, as notebooks take it.

    A comma in the path of files that are there separates nothing.

    >>> parse_models("phantomclip, phantomclip-untrained")
    ['phantomclip', 'phantomclip-untrained']
    """
    pieces, names = text.split(","), []
    while pieces:
        joined = ((n, ",".join(pieces[:n]).strip()) for n in range(len(pieces), 1, -1))
        count, name = next(
            filter(lambda one: _is_there(split_spec(one[1])[1]), joined), (1, pieces[0].strip())
        )
        names += [name] if name else []
        pieces = pieces[count:]
    if not names:
        raise ParameterError("No model named", where="models", expected="at least one name")
    return names


def split_spec(spec: str) -> tuple[str, str]:
    """The name that a spec chooses ("" for none), and its source.

    >>> split_spec("ours=a.json+epoch=3.ckpt"), split_spec("a.json+epoch=3.ckpt")
    (('ours', 'a.json+epoch=3.ckpt'), ('', 'a.json+epoch=3.ckpt'))
    """
    name, equals, source = (part.strip() for part in spec.partition("="))
    # lr=0.1/a.json+b.pt begins with no name: such paths have signs that names lack, or exist.
    if not equals or _NO_NAME.search(name) or _is_there(spec.strip()):
        return "", spec.strip()
    return name, source


def model_name(spec: str) -> str:
    """The name of a model in tables and files: that chosen by NAME=, else made of the source.

    >>> model_name("ours=a.json+b.pt"), model_name("ViT-B-32/laion2b"), model_name("a.json+B.pt")
    ('ours', 'vit-b-32-laion2b', 'b')
    """
    name, source = split_spec(spec)
    if name:
        return name
    weights = parts(source)[1] if "+" in source else None
    return slug(PureWindowsPath(weights).stem if weights else source.split(":")[-1])


def parts(source: str) -> tuple[Path | None, Path | None]:
    """Config and checkpoint that a source names, whether they are there or not; None for none.

    Args:
        source: A source as `models.load_model` takes it, without NAME= and without "-untrained".
    """
    if source == "fetalclip":
        config, weights = (models_folder() / source / name for name in _FETALCLIP)
        return config, weights
    if source == "phantomclip":
        return SHIPPED / "open_clip_config.json", None
    cuts = [found.end() for found in re.finditer(r"\.json\+", source, re.IGNORECASE)]
    pairs = [(resolve(source[: cut - 1]), resolve(source[cut:])) for cut in cuts]
    if pairs:  # a folder may be called x.json+y
        return next((pair for pair in pairs if pair[0].is_file()), pairs[0])
    return (resolve(source) if source.lower().endswith(".json") else None), None


def model_files(spec: str) -> list[Path]:
    """The local files behind a model: config and weights, or what its folder holds.

    Args:
        spec: A model as `models.load_model` takes it.

    Returns:
        Paths, whether they are there or not; none for models that open_clip fetches.
    """
    return _files(split_spec(spec)[1])


def _files(source: str) -> list[Path]:
    if source == "phantomclip" or source.startswith("local-dir:"):
        folder = SHIPPED if source == "phantomclip" else resolve(source.partition(":")[2])
        return sorted(path for path in folder.glob("*") if path.is_file())
    config, weights = parts(source.removesuffix(UNTRAINED))
    return [path for path in (config, None if source.endswith(UNTRAINED) else weights) if path]


def _is_there(source: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a text that can be no path
        files = _files(source)
        return bool(files) and all(path.is_file() for path in files)
    return False
