"""Profiles: which data, models, sizes and notebook parameters belong together."""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from fetalclip_nb.errors import ProfileError, listing
from fetalclip_nb.paths import project_root, resolve

PACKAGED = Path(__file__).parent / "_profiles"
"""Copies of ``profiles/`` in an installed package, for use without a checkout."""

_KEYS = ("name", "description", "device", "precision", "data", "models", "notebooks")

_SOURCE_KEYS = ("kind", "root", "phantoms", "download", "embed")

_KINDS = ("fetal_planes", "hc18", "manifest", "fass", "focus", "released")

DEMO = "demo"
"""Name of the profile whose phantoms stand in for a data set, and the word for them in place
of a folder: they are drawn when they are missing."""

_PHANTOM_KEYS = ("patients", "seed")

VIEWS = ("chd", "abdomen", "four_chamber")
"""What a manifest of phantoms may show; the first one where a profile does not say."""


@dataclass(frozen=True)
class DataSource:
    """Where a data set lies and how it comes there.

    Attributes:
        kind: Reader, or "released" for the authors' files.
        root: Folder, absolute.
        phantoms: {"patients": n, "seed": s} when it is drawn, else None; a manifest's "view"
            says what of ("chd" where it is not given).
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
    """

    name: str
    path: Path
    description: str
    device: str
    precision: str
    data: dict[str, DataSource]
    models: list[str]
    notebooks: dict[str, dict] = field(default_factory=dict)

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
        ProfileError: Missing file, no YAML, an unknown or missing key, a wrong type.
    """
    path = _find(name)
    content = _read(path)
    _require_keys(content, _KEYS, required=("name", "data", "models", "notebooks"), where=path)
    _require_types(content, path)
    for name, values in content["notebooks"].items():
        _require_data(name, values or {}, content["data"], path)
    return Profile(
        name=content["name"],
        path=path,
        description=content.get("description", ""),
        device=content.get("device", "auto"),
        precision=content.get("precision", "auto"),
        data={key: _source(key, value, path) for key, value in content["data"].items()},
        models=list(content["models"]),
        notebooks={key: dict(value or {}) for key, value in content["notebooks"].items()},
    )


def _find(name: str | Path) -> Path:
    folder = project_root() / "profiles"
    if not folder.is_dir():
        folder = PACKAGED
    path = Path(name).expanduser() if str(name).endswith((".yaml", ".yml")) else None
    path = path or folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(found.stem for found in folder.glob("*.yaml"))
        raise ProfileError(
            "Profile is missing", where=path, expected=f"one of {listing(known)}, or a YAML file"
        )
    return path.resolve()


def _read(path: Path) -> dict:
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ProfileError("Profile is no YAML", where=path, found=reason) from None
    if not isinstance(content, dict):
        raise ProfileError("Profile is no mapping", where=path, expected=", ".join(_KEYS))
    return content


def _require_keys(content: dict, known: tuple, *, required: tuple, where: object) -> None:
    unknown = [key for key in content if key not in known]
    missing = [key for key in required if key not in content]
    if unknown or missing:
        found = [f"unknown {listing(unknown)}"] if unknown else []
        found += [f"no {listing(missing)}"] if missing else []
        raise ProfileError(
            "Profile has wrong keys", where=where, expected=", ".join(known), found="; ".join(found)
        )


def _require_types(content: dict, path: Path) -> None:
    kinds = {"name": str, "description": str, "device": str, "precision": str}
    kinds |= {"data": dict, "models": list, "notebooks": dict}
    for key, kind in kinds.items():
        if key in content and not isinstance(content[key], kind):
            raise ProfileError(
                "Profile setting has a wrong type",
                where=f"{path}, key {key}",
                expected=kind.__name__,
                found=repr(content[key]),
            )
    if not content["name"].replace("-", "").replace("_", "").isalnum():
        raise ProfileError(
            "Profile name is no folder name",
            where=f"{path}, key name",
            expected="letters, digits, - and _",
            found=repr(content["name"]),
        )


def _require_data(notebook: str, values: dict, sources: dict, path: Path) -> None:
    """The data sets that a notebook names must be among the profile's."""
    unknown = [n for n in named_data(values.get("data", {})).values() if n not in sources]
    if unknown:
        raise ProfileError(
            "Notebook names data that the profile does not have",
            where=f"{path}, notebooks {notebook}, key data",
            expected=listing(sources),
            found=listing(map(repr, unknown)),
        )


def named_data(given: object) -> dict[str, object]:
    """Parameter to data set: one name alone is the notebook's ``data_root``.

    >>> named_data("hc18"), named_data({"chd_root": "chd"})
    ({'data_root': 'hc18'}, {'chd_root': 'chd'})
    """
    return dict(given) if isinstance(given, dict) else {"data_root": given}


def _source(name: str, content: object, path: Path) -> DataSource:
    where = f"{path}, data {name}"
    if not isinstance(content, dict):
        raise ProfileError(
            "Data source is no mapping", where=where, expected=", ".join(_SOURCE_KEYS)
        )
    _require_keys(content, _SOURCE_KEYS, required=("kind", "root"), where=where)
    if content["kind"] not in _KINDS:
        raise ProfileError(
            "Unknown kind of data", where=where, expected=", ".join(_KINDS), found=content["kind"]
        )
    phantoms = content.get("phantoms")
    if phantoms is not None:
        _require_phantoms(phantoms, content["kind"], f"{where}, phantoms")
    embed = content.get("embed", True)
    if not isinstance(embed, bool):
        raise ProfileError(
            "Profile setting has a wrong type",
            where=f"{where}, key embed",
            expected="true or false",
            found=repr(embed),
        )
    root = resolve(content["root"])
    return DataSource(content["kind"], root, phantoms, content.get("download"), embed)


def _require_phantoms(phantoms: object, kind: str, where: str) -> None:
    known = (*_PHANTOM_KEYS, "view") if kind == "manifest" else _PHANTOM_KEYS
    if not isinstance(phantoms, dict):
        raise ProfileError("Phantoms are no mapping", where=where, expected=", ".join(known))
    _require_keys(phantoms, known, required=_PHANTOM_KEYS, where=where)
    if phantoms.get("view", VIEWS[0]) not in VIEWS:
        raise ProfileError(
            "Unknown view of phantoms",
            where=f"{where}, key view",
            expected=", ".join(VIEWS),
            found=repr(phantoms["view"]),
        )
