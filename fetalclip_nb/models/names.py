"""How a model is named: specs as a user writes them, their local files, the untrained twin."""

import contextlib
import re
from pathlib import Path, PureWindowsPath

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.files import slug
from fetalclip_nb.paths import SHIPPED, models_folder, resolve

UNTRAINED = "-untrained"
"""Ending of a name that asks for seeded random weights."""

IN_FOLDER = "local-dir:"

_FUNCTION = re.compile(r"[^:]*\.py:[A-Za-z_]\w*|[A-Za-z_][\w.]*:[A-Za-z_]\w*")

FETALCLIP = ("FetalCLIP_config.json", "FetalCLIP_weights.pt")

CONFIG = "open_clip_config.json"

_CONFIGS = Path(__file__).parent / "configs"  # of models that are published without one

_PUBLISHED = {
    "fetalclip": FETALCLIP[1],
    "unimed-clip": "unimed-clip-vit-b16.pt",
    "mobilefetalclip": "mobile_fetal_clip_weights.pt",
}

NAMES = ("phantomclip", "clip", "biomedclip", *_PUBLISHED)
"""Models that a name alone chooses."""

_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def parse_models(text: str) -> list[str]:
    """Split a comma-separated list of model names, as notebooks take it.

    A comma in the path of files that are there separates nothing.

    >>> parse_models("phantomclip, phantomclip-untrained")
    ['phantomclip', 'phantomclip-untrained']
    """
    pieces, names = text.split(","), []
    while pieces:
        joined = {n: ",".join(pieces[:n]).strip() for n in range(len(pieces), 0, -1)}
        count = next((n for n, spec in joined.items() if _is_there(split_spec(spec)[1])), 1)
        names += filter(None, [joined[count]])
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
    if not equals or re.search(r"[/\\+:,]", name) or _is_there(spec.strip()):
        return "", spec.strip()
    return name, source


def model_name(spec: str) -> str:
    """The name of a model in tables and files: that chosen by NAME=, else made of the source.

    >>> model_name("ours=a.json+b.pt"), model_name("ViT-B-32/laion2b"), model_name("a.json+B.pt")
    ('ours', 'vit-b-32-laion2b', 'b')
    """
    name, source = split_spec(spec)
    weights = parts(source)[1] if "+" in source and door(source) in ("", "timm") else None
    return name or slug(PureWindowsPath(weights).stem if weights else source.split(":")[-1])


def parts(source: str) -> tuple[Path | None, Path | None]:
    """Config and checkpoint that a source names, there or not; None for none.

    An untrained twin has no checkpoint. The paper's models lie in folders of their names below
    `models_folder`; a config of open_clip there comes before the published one, and brings
    ``clip`` and ``biomedclip``, which open_clip fetches otherwise.
    """
    base = source.removesuffix(UNTRAINED)
    if source != base and (base in NAMES or base.lower().endswith(".json")):
        return parts(base)[0], None
    if kind := door(source):
        return None, _image_file(kind, source)
    own = models_folder() / source / CONFIG
    if source in ("clip", "biomedclip") and own.is_file():
        return parts(f"{IN_FOLDER}{own.parent}")
    if source in _PUBLISHED:
        known = (
            own.with_name(FETALCLIP[0]) if source == "fetalclip" else _CONFIGS / f"{source}.json"
        )
        return own if own.is_file() else known, own.with_name(_PUBLISHED[source])
    if source == "phantomclip" or source.startswith(IN_FOLDER):
        folder = SHIPPED if source == "phantomclip" else folder_of(source)
        if source.endswith(UNTRAINED) and not source.endswith(folder.name):
            return folder / CONFIG, None
        weights = [folder / name for name in _WEIGHTS]
        return folder / CONFIG, next(filter(Path.is_file, weights), weights[0])
    cuts = [found.end() for found in re.finditer(r"\.json\+", source, re.IGNORECASE)]
    pairs = [(resolve(source[: cut - 1]), resolve(source[cut:])) for cut in cuts]
    if pairs:  # a folder may be called x.json+y
        return next((pair for pair in pairs if pair[0].is_file()), pairs[0])
    return (resolve(source) if source.lower().endswith(".json") else None), None


def door(source: str) -> str:
    """Through which door an encoder without text comes, or "" for models with text.

    >>> [door(each) for each in ("timm:resnet18", "hf:a/b", "my.py:Encoder", "hf-hub:a/b", "clip")]
    ['timm', 'hf', 'function', '', '']
    """
    if source.startswith(("timm:", "hf:")):
        return source.partition(":")[0]
    if source.startswith(IN_FOLDER):
        folder = folder_of(source)
        return "folder" if folder.is_dir() and not (folder / CONFIG).is_file() else ""
    return "function" if _FUNCTION.fullmatch(source) else ""


def folder_of(source: str) -> Path:
    """The folder of ``local-dir:FOLDER`` or of its untrained twin."""
    named = source.removeprefix(IN_FOLDER)
    folder = resolve(named)
    return folder if folder.is_dir() else resolve(named.removesuffix(UNTRAINED))


def _image_file(kind: str, source: str) -> Path | None:
    """The file, if a file is named, that an encoder without text is made of."""
    place = source.rpartition(":")[0]
    if kind == "timm":
        return resolve(source.partition("+")[2]) if "+" in source else None
    if kind == "function":
        path = place if place.endswith(".py") else f"{place.replace('.', '/')}.py"
        found = resolve(path)
        return found if found.is_file() or path == place else None
    files = _beside(folder_of(source)) if kind == "folder" else []
    return next((path for path in files if path.name == "config.json"), next(iter(files), None))


def _beside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_file())


def model_files(spec: str) -> list[Path]:
    """Config and weights behind a model, there or not, and what else its folder holds.

    None for models that open_clip, timm or transformers fetch, and for functions of packages.
    """
    source = split_spec(spec)[1]
    named = {path for path in parts(source) if path}
    beside = [path for each in named if each.name == CONFIG for path in each.parent.glob("*")]
    own = {each.parent for each in named if each.parent.parent == models_folder()}
    beside += _beside(folder_of(source)) if door(source) == "folder" else []
    beside += [path for folder in own for path in folder.glob("[!.]*/*")]  # a text tower's
    return sorted(named.union(filter(Path.is_file, beside)))


def is_fetched(spec: str) -> bool:
    """Whether a library fetches a model's weights.

    >>> [is_fetched(spec) for spec in ("clip", "timm:resnet18", "timm:resnet18-untrained", "a:b")]
    [True, True, False, False]
    """
    source = split_spec(spec)[1]
    here = door(source) == "function" or (door(source) and source.endswith(UNTRAINED))
    return not here and not model_files(spec)


def _is_there(source: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a text that can be no path
        named = list(filter(None, parts(source)))
        return bool(named) and all(map(Path.is_file, named))
    return False
