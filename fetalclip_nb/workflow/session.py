"""What a notebook starts with: checked parameters, seeds, models, and where results go."""

import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.data.kinds import CLASSIFIED, KINDS, kind_of, load_dataset
from fetalclip_nb.data.sources import data_folder
from fetalclip_nb.errors import DataError, ModelError, ParameterError, listing, refuse
from fetalclip_nb.files import lock, own_name, slug
from fetalclip_nb.memory import remember_in
from fetalclip_nb.models.blocks import BlockEncoder
from fetalclip_nb.models.model import Model, load_model, pick_device, pick_precision
from fetalclip_nb.models.names import model_name, parse_models
from fetalclip_nb.models.pixels import PixelEncoder
from fetalclip_nb.models.sources import published_as
from fetalclip_nb.models.tower import require_maps
from fetalclip_nb.paths import expanded, project_root
from fetalclip_nb.results import result_files
from fetalclip_nb.stats.answers import Answers, between
from fetalclip_nb.workflow.parameters import Parameter, check_parameters

NEEDS: dict[str, Callable[[Model], object]] = {
    "images": lambda model: None,
    "text": Model.require_text,
    "blocks": BlockEncoder.require,
    "maps": require_maps,
}
"""What a chapter needs of a model: raises a ModelError for one that lacks it."""

COMMON = ("profile", "models", "results_dir", "cache_dir", "device", "precision", "seed")
"""Parameters that every notebook has."""

_NAME = re.compile(r"[\w.-]+", re.ASCII)


@dataclass
class Session:
    """One run of a notebook.

    Attributes:
        notebook: Name without suffix.
        parameters: Name to value, as the notebook was run.
        cache_dir: Folder of cached embeddings.
        folder: Folder of this notebook's result files: NOTEBOOK.HOST-PID.tmp until `finish`, so
            that an interrupted run leaves the last whole results alone.
        models: Model names, the headline first.
        device: Resolved device.
        precision: Resolved precision.
    """

    notebook: str
    parameters: dict
    cache_dir: Path
    folder: Path
    models: list[str]
    device: str
    precision: str
    _started: float = field(default_factory=time.monotonic)
    _loaded: dict[str, dict] = field(default_factory=dict)
    _dataset: Dataset | None = None
    _saved: int = 0
    _first: dict[str, pd.DataFrame] = field(default_factory=dict)
    _unfit: dict[str, str] = field(default_factory=dict)

    @property
    def model_names(self) -> list[str]:
        """Names of the models in tables, the headline first; of those left out none."""
        return [n for n in map(model_name, self.models) if n not in self._unfit]

    def dataset(self, kind: str, name: str = "data") -> Dataset:
        """Load a data set of the notebook; the first one is what its results are about.

        Args:
            kind: A key of `data.kinds.KINDS`.
            name: Its folder is the notebook's parameter NAME_root.
        """
        root = data_folder(self.parameters[f"{name}_root"], demo=kind if name == "data" else name)
        loaded = load_dataset(kind, root)
        self._dataset = self._dataset or loaded
        return loaded

    def classified(self) -> Dataset:
        """Load the notebook's data set of labelled images: FETAL_PLANES_DB, or any manifest.

        Raises:
            DataError: The folder holds something else.
        """
        root = data_folder(self.parameters["data_root"], demo="fetal_planes")
        kind = kind_of(root)
        if root.exists() and kind not in CLASSIFIED:
            raise DataError(
                "No data set of labelled images",
                where=root,
                expected=listing(f"{KINDS[each].layout[0]} ({each})" for each in CLASSIFIED),
                found=kind or "a folder of an unknown layout",
                fix="name such a folder as data_root; your own images need a manifest.csv with "
                "the columns image, label and patient",
            )
        return self.dataset(kind or "fetal_planes")

    def folder_of(self, name: str) -> Path:
        """Folder that the parameter NAME_root names; phantoms of this name for the word "demo".

        It need not exist: the authors' files ("released") are shown where they are there.
        """
        return data_folder(self.parameters[f"{name}_root"], demo=name)

    @cached_property
    def headline(self) -> Model:
        """The first model; it stays in memory once it is asked for."""
        return self._load(self.models[0])

    def load_models(self, need: str = "images", *, part: bool = False) -> Iterator[Model]:
        """Load the models one after the other: two at most are in memory, at a change.

        Args:
            need: A key of `NEEDS`. A model that lacks it is left out, and a line says why; the
                summary says it, too.
            part: Only a part of the chapter needs it: the model has its row, and none may fit.

        Raises:
            ModelError: None of them fits the chapter.
        """
        none = not part
        for model in map(self._load, self.models):
            try:
                NEEDS[need](model)
            except ModelError as error:
                if model.name not in self._unfit:
                    print(f"Left out{' here' * part}: {model.name}. {error}")
                if not part:
                    self._unfit[model.name] = error.what[0].lower() + error.what[1:]
            else:
                none = False
                yield model
        if none:
            raise ModelError(
                "No model fits this chapter",
                where=self.notebook,
                found="; ".join(f"{name}: {why}" for name, why in self._unfit.items()),
                fix="leave the chapter out of the profile, or add a model that it can use",
            )

    def _load(self, spec: str) -> Model:
        model = load_model(spec, device=self.device, precision=self.precision)
        self._loaded[model.name] = {
            "source": _portable(model.source),
            "fingerprint": model.fingerprint,
            "parameters": model.parameters,
            "published": published_as(model.source),
        }
        return model

    def save(
        self,
        model: str,
        scores: result_files.Scores,
        *,
        subject: str = "",
        reader: str = "",
        kind: str = "model",
        released: str = "",
        dataset: Dataset | None = None,
        answers: Answers | None = None,
    ) -> None:
        """Write a result file; the first one saved is the chapter's headline.

        A row with answers for the same images as the first one that has the metric gets the
        paired difference from it.

        Args:
            model: A model's name, or that of a baseline or control. These have a space, which
                no model's name has.
            scores: Metric to unit ("patient", "image") to score.
            subject: What was measured, where a chapter measures several things ("heads", "CHD").
            reader: What reads the model's features, where that is not the chapter's own way
                ("logistic regression").
            kind: "model", "baseline", "control", "sentence" or "released".
            released: Registry entry of files that were scored in place of this run's images.
            dataset: What was scored, where it is not the notebook's first data set.
            answers: Metric to what was answered for each image; kept as predictions/KEY.parquet.
        """
        data = dataset or self._dataset
        origin = {
            "model": self._loaded.get(model, {}),
            "dataset": data.name if data else "",
            "dataset_fingerprint": data.fingerprint if data else "",
            "units": data.units if data else "",
            "device": _device_name(self.device),
            "precision": self.precision,
        }
        row = result_files.Row(
            model,
            scores,
            between(answers or {}, self._first),
            subject=subject,
            reader=reader,
            kind=kind,
            order=self._saved,
            synthetic=data is not None and data.synthetic and not released,
            parameters={key: _portable(value) for key, value in self.parameters.items()},
            provenance=result_files.provenance(
                **({"released": released, "hashes": "as registered"} if released else origin),
                seconds_since_start=round(time.monotonic() - self._started, 1),
            ),
        )
        result_files.save_row(self.folder, row)
        self._saved += 1
        self._first = {**(answers or {}), **self._first}
        if answers:
            whole = pd.concat(answers, names=["metric"]).reset_index("metric")
            texts = dict.fromkeys(whole.select_dtypes(object), "category")
            self.save_table(f"predictions/{row.key}", whole.astype(texts))

    def save_table(self, name: str, table: pd.DataFrame) -> None:
        """Write per-image predictions beside the scores, as parquet."""
        path = self.folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_parquet(path, index=False)

    def results(self) -> dict[str, result_files.Row]:
        """What was saved, by title, in table order."""
        return result_files.load_results(self.folder)

    def finish(self, facts: Mapping[str, object]) -> None:
        """Save the facts and leave every text that the prose may name in the notebook."""
        facts = {**facts, "device": _device_name(self.device), "unfit": self._unfit}
        result_files.write_json(self.folder / "facts.json", facts)
        texts = result_files.render_glue(self.folder)
        result_files.write_json(self.folder / "glue.json", texts)
        final = self.folder.with_name(self.notebook)
        with lock(final):
            shutil.rmtree(final, ignore_errors=True)
            self.folder = self.folder.rename(final)
        result_files.show_record(texts)


def start(notebook: str, namespace: Mapping[str, object]) -> Session:
    """Check a notebook's parameters and prepare its run.

    Args:
        notebook: Name without suffix.
        namespace: The notebook's ``globals()``: annotated names are its parameters.

    Raises:
        ParameterError: A parameter is missing, has the wrong type, or names a device, a
            precision or a folder that cannot be used; a negative seed.
    """
    parameters = checked_parameters(notebook, namespace)
    device = pick_device(parameters["device"])
    if parameters["seed"] < 0:
        raise ParameterError("Seed is negative", where="seed", found=parameters["seed"])
    # A folder a process: two runs of one notebook must not fill each other's tables.
    results = _made(parameters["results_dir"])
    folder = results / f"{own_name(results / notebook)}tmp"
    shutil.rmtree(folder, ignore_errors=True)
    models = parse_models(parameters["models"])
    _require_names([model_name(spec) for spec in models])
    session = Session(
        notebook,
        parameters,
        cache_dir=_made(parameters["cache_dir"], filled=False),
        folder=folder,
        models=models,
        device=device,
        precision=pick_precision(parameters["precision"], device),
    )
    remember_in(session.cache_dir)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(parameters["seed"])
    print(
        f"{notebook}, profile {parameters['profile']}: {_device_name(device)}, {session.precision}"
    )
    for name, why in result_files.left_out(results)["models"].items():
        print(f"Not run: {name}, because {why}")
    return session


def _require_names(names: list[str]) -> None:
    """Refuse names that would be taken for each other, for a baseline or for a title's parts."""
    slugs = [slug(name) for name in names]
    wrong = [
        name
        for name, short in zip(names, slugs, strict=True)
        if not _NAME.fullmatch(name) or name == PixelEncoder.name or slugs.count(short) > 1
    ]
    refuse(
        wrong,
        "Model names are repeated or cannot be used",
        error=ParameterError,
        where="models",
        expected="one distinct name a model, of letters, digits and the signs . _ - , and not "
        f"{PixelEncoder.name!r}",
        fix="choose names: NAME=MODEL, NAME2=MODEL2",
    )


def checked_parameters(notebook: str, namespace: Mapping[str, object]) -> dict:
    """The annotated names of a notebook and their values, checked against the annotations.

    Raises:
        ParameterError: All wrong types at once, or a common parameter that is missing.
    """
    missing = [name for name in COMMON if name not in namespace]
    refuse(missing, "Notebook lacks parameters", error=ParameterError, where=notebook)
    annotations = namespace.get("__annotations__", {})
    declared = {name: Parameter(kind.__name__) for name, kind in annotations.items()}
    check_parameters(notebook, declared, {name: namespace[name] for name in declared})
    return {name: namespace[name] for name in dict.fromkeys([*declared, *COMMON])}


def _made(folder: str, *, filled: bool = True) -> Path:
    """Folders that a notebook writes to; read-only where all may be in it that is to fill it."""
    path = project_root() / expanded(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        if filled:
            tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise ParameterError(
            "Folder cannot be written to",
            where="results_dir or cache_dir",
            expected="a folder that may be made and filled",
            found=f"{path}: {error.strerror}",
            fix="name another folder",
        ) from None
    return path


def _portable(value: object) -> object:
    """A parameter as it may be published: paths below the checkout without the machine's part."""
    if not isinstance(value, str):
        return value
    home = Path.home()
    value = value.replace(f"{project_root()}/", "")
    return value.replace(f"{home}/", "~/") if len(home.parts) > 1 else value


def _device_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device}, {threads} thread{'s' * (threads > 1)}"
