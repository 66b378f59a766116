"""Profiles: which data, models, sizes and notebook parameters belong together."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from fetalclip_nb.errors import ProfileError, listing, reading, refuse
from fetalclip_nb.paths import project_root, resolve

if TYPE_CHECKING:
    import jsonschema

PACKAGED = Path(__file__).parent / "_profiles"
"""Copies of ``profiles/`` in an installed package, for use without a checkout."""

_SHIPPED = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1] / "profiles"

SCHEMA = "profile.schema.json"
"""Beside the profiles: their form, from which editors complete too."""

_ALIASES = 20  # at most: aliases of aliases make small files that fill a machine

DEMO = "demo"
"""Name of the profile whose phantoms stand in for a data set, and the word for them in place
of a folder: they are drawn when they are missing."""


@dataclass(frozen=True)
class DataSource:
    """Where a data set lies and how it comes there.

    Attributes:
        kind: Reader, or "released" for the authors' files.
        root: Folder, absolute.
        phantoms: {"patients": n, "seed": s} when it is drawn, else None; a manifest's "view"
            says what of.
        download: Name in the registry when it is fetched, else None.
        embed: False where no chapter reads embeddings of it (segmentation takes features of
            several blocks instead): the workflow then makes none.
    """

    kind: str
    root: Path
    phantoms: dict | None = None
    download: str | None = None
    embed: bool = True


@dataclass(frozen=True)
class Profile:
    """A checked profile file.

    Attributes:
        name: Name of the build folder.
        path: The file.
        description: One sentence for the book.
        device: "auto", "cpu", "cuda", ...
        precision: "auto", "fp32", ...
        data: Data sources by name.
        models: Model names as `models.load_model` takes them.
        notebooks: Parameters of each notebook, by its name; ``data`` names its data set, or
            maps parameters to data sets.
        leaves_out: Whether chapters without their data, and models that cannot be had, are left
            out with a reason (``missing: leave out``); else they are errors.
    """

    name: str
    path: Path
    description: str
    device: str
    precision: str
    data: dict[str, DataSource]
    models: list[str]
    notebooks: dict[str, dict] = field(default_factory=dict)
    leaves_out: bool = False

    @property
    def folder(self) -> Path:
        """What this profile makes: build/NAME."""
        return project_root() / "build" / self.name

    @property
    def synthetic(self) -> bool:
        """Whether all images are phantoms."""
        sources = [source for source in self.data.values() if source.kind != "released"]
        return bool(sources) and all(source.phantoms for source in sources)


def load_profile(name: str | Path) -> Profile:
    """Read and check a profile.

    Args:
        name: A name in ``profiles/`` ("demo") or a path to a YAML file.

    Raises:
        ProfileError: Missing file, no YAML, all that is not of the form in `SCHEMA`, or a notebook
            that names data which the profile does not have.
    """
    path = _find(name)
    fix = "write it in UTF-8, as demo.yaml is"
    with reading(path, "Profile is no YAML that can be used", error=ProfileError, fix=fix):
        content = yaml.load(path.read_bytes(), _Loader)
        _require_form(content, path)
    notebooks = {key: dict(value or {}) for key, value in content["notebooks"].items()}
    for notebook, values in notebooks.items():
        _require_data(notebook, values, content["data"], path)
    sources = {
        key: DataSource(**{**value, "root": resolve(value["root"])})
        for key, value in content["data"].items()
    }
    return Profile(
        name=content["name"],
        path=path,
        description=content.get("description", ""),
        device=content.get("device", "auto"),
        precision=content.get("precision", "auto"),
        data=sources,
        models=content["models"],
        notebooks=notebooks,
        leaves_out=content.get("missing") == "leave out",
    )


def _find(name: str | Path) -> Path:
    folder = project_root() / "profiles"
    if not folder.is_dir():
        folder = _SHIPPED
    path = Path(name).expanduser() if str(name).endswith((".yaml", ".yml")) else None
    path = path or folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in folder.glob("*.yaml"))
        raise ProfileError(
            "Profile is missing", where=path, expected=f"one of {listing(known)}, or a YAML file"
        )
    return path.resolve()


class _Loader(yaml.SafeLoader):
    """Plain YAML in which no key stands twice: the last one would win in silence."""

    aliases = depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        self.aliases += self.check_event(yaml.AliasEvent)
        self.depth += 1  # the parser's time rises with the square of it
        if max(self.aliases, self.depth) > _ALIASES:
            raise ValueError(f"more than {_ALIASES} aliases, or lists in each other")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [(key.tag, str(key.value)) for key, _ in node.value if key.value != "<<"]
        if twice := [name for _, name in Counter(keys) - Counter({*keys})]:
            mark = {str(key.value): key.start_mark for key, _ in node.value}[twice[0]]
            raise yaml.MarkedYAMLError(f"stands twice: {listing(twice)}", mark)
        return node


def _require_form(content: object, path: Path) -> None:
    """Refuse what is not of the schema's form, all at once."""
    import jsonschema  # takes a tenth of a second, which `--help` need not wait for

    schema = json.loads((_SHIPPED / SCHEMA).read_text("utf-8"))
    errors = jsonschema.Draft202012Validator(schema).iter_errors(content)
    problems = [_problem(error) for error in sorted(errors, key=lambda error: error.json_path)]
    if problems:
        raise ProfileError(
            "Profile has another form",
            where=path,
            found="; ".join(problems),
            fix=f"correct these settings; {SCHEMA} beside the profiles has all of them",
        )


def _problem(error: "jsonschema.ValidationError") -> str:
    """Where in the file, what is wrong, what would be right."""
    place = " ".join(map(str, error.absolute_path)) or "file"
    known = ", ".join(error.schema.get("properties", {}))
    right = known or error.schema.get("description", "")
    return f"{place}: {error.message}" + (f" ({right})" if right else "")


def _require_data(notebook: str, values: dict, sources: dict, path: Path) -> None:
    """The data sets that a notebook names must be among the profile's."""
    unknown = [n for n in named_data(values.get("data", {})).values() if n not in [*sources]]
    refuse(
        map(repr, unknown),
        "Notebook names data that the profile does not have",
        error=ProfileError,
        where=f"{path}, notebooks {notebook}, key data",
        expected=listing(sources) or "data sets under the key data",
    )


def named_data(given: object) -> dict[str, object]:
    """Parameter to data set: one name alone is the notebook's ``data_root``.

    >>> named_data("hc18"), named_data({"chd_root": "chd"})
    ({'data_root': 'hc18'}, {'chd_root': 'chd'})
    """
    return dict(given) if isinstance(given, dict) else {"data_root": given}
