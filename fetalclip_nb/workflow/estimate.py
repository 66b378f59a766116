"""What a profile's chapters have to do, counted before they run, and what they lack.

Counts follow from parameters and numbers of images, as if nothing were kept of earlier runs; those
of the demo are within a fifth of what its notebooks then do. Nothing is downloaded or written.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from fetalclip_nb.data.kinds import KINDS, kind_of
from fetalclip_nb.downloads.registry import registry
from fetalclip_nb.models.names import UNTRAINED, is_fetched, parse_models, split_spec
from fetalclip_nb.paths import resolve
from fetalclip_nb.profiles import Profile, named_data
from fetalclip_nb.workflow.absent import absent_data, absent_models
from fetalclip_nb.workflow.parameters import declared_parameters
from fetalclip_nb.workflow.runner import notebook_parameters, plan, source_of

IMAGES = {"fetal_planes": 12400, "african_planes": 450, "hc18": 999, "fass": 1588, "focus": 300}
"""Images of the registry's data sets, for those that are not here yet."""

PLANES, OUTLINES = 0.6, 0.8
"""Share of the images that is trained on."""

PER_PATIENT = {"fetal_planes": 7, "african_planes": 3.6, "hc18": 1.2, "manifest": 5}
"""Images of a patient, of manifests with outlines 1.2."""


class Work(NamedTuple):
    """What a chapter has to do with one model."""

    images: float = 0  # that pass the encoder, each changed copy for itself
    sentences: float = 0  # that pass it
    maps: float = 0  # by ScoreCAM: each takes as many passes as the encoder has channels
    steps: float = 0  # of the training of decoders
    kept: float = 0  # images whose block features are kept on disk


def works(profile: Profile, names: Iterable[str] = ()) -> Iterator[tuple[str, str, dict, Work]]:
    """Notebook, model, parameters and work, in the order of the profile."""
    sources = {name: source_of(profile, name) for name in names or profile.notebooks}
    for name in [name for name in sources if name in _CHAPTERS]:
        declared = declared_parameters(sources[name])
        values = {key: entry.default for key, entry in declared.items()}
        values |= notebook_parameters(profile, name)
        count = {key: _images(profile, name, key, values) for key in values if "_root" in key}
        for place, spec in enumerate(parse_models(str(values["models"]))):
            yield name, spec, values, _CHAPTERS[name](values, count, place == 0)


def _images(profile: Profile, name: str, parameter: str, values: Mapping[str, object]) -> float:
    """How many images a folder has or will have; 0 for none."""
    source = profile.data.get(named_data(profile.notebooks[name].get("data", {})).get(parameter))
    root = source.root if source else resolve(str(values[parameter] or os.devnull))
    kind = source.kind if source else kind_of(root)
    layout = KINDS[kind].layout[0] if kind in KINDS else ""
    if layout.endswith(".csv") and (root / layout).is_file():
        return len((root / layout).read_bytes().splitlines()) - 1
    if layout and (root / layout).is_dir():
        return sum(1 for _ in root.rglob("*.png"))
    if source and source.phantoms:
        of_patient = 1.2 if "view" in source.phantoms else PER_PATIENT[kind]
        return source.phantoms["patients"] * of_patient
    return IMAGES.get(source.download or "", 0) if source else 0


def _zero_shot(p: Mapping, n: Mapping, first: bool) -> Work:
    return Work(n["data_root"] + n.get("external_root", 0), 60)


def _ages(p: Mapping, n: Mapping, first: bool) -> Work:
    spacings = min(80, n["data_root"])  # two decimals leave no more
    return Work(n["data_root"], 5 * 175 * spacings * (1 + first))


def _probing(p: Mapping, n: Mapping, first: bool) -> Work:
    trained = (n["data_root"] + n["chd_root"]) * (1 + PLANES * p["copies"])
    return Work(trained + n.get("external_root", 0))


def _segmentation(p: Mapping, n: Mapping, first: bool) -> Work:
    organs = n["abdomen_root"] + n["heart_root"]
    images = (n["data_root"] + organs) * (1 + OUTLINES * p["copies"])
    heads = n["data_root"] * p["head_folds"] * (1 + (first and p["image_only"]))
    an_epoch = OUTLINES**2 * max(1, p["copies"]) / p["decoder_batch"]
    steps = (heads + organs * p["organ_folds"]) * p["runs"] * p["epochs"] * an_epoch
    return Work(images, steps=steps, kept=images)


def _few_data(p: Mapping, n: Mapping, first: bool) -> Work:
    planes, heads = (
        sets * of_patient * sum(map(int, sizes.split(",")))
        for sets, of_patient, sizes in (
            (p["sets"], PER_PATIENT["fetal_planes"], p["plane_sizes"]),
            (p["head_sets"], PER_PATIENT["hc18"], p["head_sizes"]),
        )
    )
    # Sets share images where there are few; validation sets are not changed.
    copied = min(PLANES * n["data_root"], planes), min(OUTLINES * n["hc18_root"], heads)
    kept = copied[1] * p["head_copies"] + n["hc18_root"]
    steps = heads * p["head_copies"] / p["decoder_batch"] * p["head_epochs"] * p["head_runs"]
    steps = steps if n["hc18_root"] else 0
    return Work(n["data_root"] + copied[0] * p["copies"] + kept, steps=steps, kept=kept)


def _cam(p: Mapping, n: Mapping, first: bool) -> Work:
    methods = [p["method"], *filter(None, map(str.strip, p["compare"].split(",")))]
    outlined = sum(n[root] > 0 for root in ("hc18_root", "abdomen_root", "heart_root"))
    kinds = len(methods) + len(parse_models(p["models"])) + p["random_draws"]
    curves = 5 * p["per_class"] * p["steps"] * (3 * kinds if first else 2)
    maps = p["per_class"] * (8 + 5 * first) + outlined * p["region_images"]
    return Work(curves, maps=maps * ("scorecam" in methods))


_CHAPTERS: dict[str, Callable[[Mapping, Mapping, bool], Work]] = {
    "01_zero_shot": _zero_shot,
    "02_gestational_age": _ages,
    "03_linear_probing": _probing,
    "04_segmentation": _segmentation,
    "05_few_data": _few_data,
    "06_cam": _cam,
}
"""The others take minutes: they look at a few images, or at what these have left."""


def lacking(profile: Profile) -> list[str]:
    """A line for each data set and model that is not here, and one for the chapters it stops."""
    profile = replace(profile, leaves_out=True)
    data, models = absent_data(profile), absent_models(profile)
    entries = {name: profile.data[name].download for name in data}
    entries |= {spec: split_spec(spec)[1].removesuffix(UNTRAINED) for spec in models}
    lines = [f"{name}: {why}{_download_gb(entries[name])}" for name, why in (data | models).items()]
    stopped = [name for name in profile.notebooks if plan(profile, name)[-1]]
    return lines + [f"so these cannot run: {', '.join(stopped)}"] * bool(stopped)


def _download_gb(name: str | None) -> str:
    sizes = [file.bytes for file in registry()[name].files] if name in registry() else []
    if None in sizes:
        return ", of a size that nobody has published"
    return f", {sum(sizes) / 1e9:.2f} GB" if sizes else ""


def without(profile: Profile) -> list[str]:
    """What chapters run without, most of it private in the paper, and what comes from a hub."""
    given = ((n, k) for n, p in profile.notebooks.items() for k, v in p.items() if v == "")
    lines = [f"{n}: no {key} is given, so its scores are not in it" for n, key in given]
    hubs = [spec for spec in profile.models if is_fetched(spec)]
    return lines + [f"from a hub, when first loaded: {', '.join(hubs)}"] * bool(hubs)
