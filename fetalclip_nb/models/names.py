"""How a model is named: specs as a user writes them, names in tables, the untrained twin."""

from pathlib import Path

from fetalclip_nb.errors import ParameterError
from fetalclip_nb.files import slug


def parse_models(text: str) -> list[str]:
    """Split a comma-separated list of model names, as notebooks take it.

    >>> parse_models("phantomclip, phantomclip-untrained")
    ['phantomclip', 'phantomclip-untrained']
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise ParameterError("No model named", where="models", expected="at least one name")
    return names


def model_name(spec: str) -> str:
    """The name of a model in tables and files: what precedes "=", else made of the source.

    >>> model_name("ours=a.json+b.pt"), model_name("ViT-B-32/laion2b"), model_name("a.json+B.pt")
    ('ours', 'vit-b-32-laion2b', 'b')
    """
    name, _, source = (part.strip() for part in spec.rpartition("="))
    if name:
        return name
    tail = source.split("+")[-1] if "+" in source else source
    tail = Path(tail).stem if "+" in source else tail.split(":")[-1]
    return slug(tail)


UNTRAINED = "-untrained"
"""Ending of a name that asks for seeded random weights."""
