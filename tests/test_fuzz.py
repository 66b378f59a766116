"""Changed files of every kind: each is read, or refused by one error that names it.

`FETALCLIP_NB_FUZZ` multiplies the number of inputs, which are then other ones each time.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import re
import resource
import shutil
import signal
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import open_clip
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from nbformat.v4 import new_output
from PIL import Image
from safetensors.torch import save as safetensors

from fetalclip_nb.data import fass, images, mask_files, own_images, prompts, released
from fetalclip_nb.data.kinds import load_dataset
from fetalclip_nb.downloads import fetch
from fetalclip_nb.downloads.registry import Entry, RemoteFile
from fetalclip_nb.downloads.unpack import unpack
from fetalclip_nb.errors import FetalClipError
from fetalclip_nb.experiments.embeddings.export import export_embeddings, load_export
from fetalclip_nb.experiments.linear_probing import fit as probes
from fetalclip_nb.experiments.pretraining import pool as pools
from fetalclip_nb.experiments.pretraining.training import Trainer, train
from fetalclip_nb.experiments.segmentation import fit as decoders
from fetalclip_nb.experiments.segmentation import training
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe
from fetalclip_nb.models import embed, sources
from fetalclip_nb.models.store import Embeddings, stored_arrays
from fetalclip_nb.phantoms.writer import publish
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.results import result_files
from fetalclip_nb.stats.scores import Score
from fetalclip_nb.tasks.official_splits import official_folds
from fetalclip_nb.workflow import gate, runner
from fetalclip_nb.workflow.parameters import declared_parameters
from helpers import (
    images_of,
    write_african,
    write_fass,
    write_focus,
    write_heads,
    write_image,
    write_planes,
)
from mutations import changed_bytes, changed_table, changed_tree
from tiny import notebook

pydicom = pytest.importorskip("pydicom")
from pydicom import uid  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402

FACTOR = float(os.environ.get("FETALCLIP_NB_FUZZ", "1"))
ROOM = 1 << 30
"""Bytes of memory that a reader may fill; it may ask for five times as much, as pydicom does
where a file says that 4 GB follow."""
SECONDS = 10
"""Of the processor that an input may take."""


@dataclass
class Reader:
    """A file that is written again and again, and what reads it.

    Attributes:
        path: The file.
        inputs: Its contents.
        call: Reads it.
        right: Whether what was read may come from a changed file.
    """

    path: Path
    inputs: st.SearchStrategy[bytes]
    call: Callable[[], object]
    right: Callable[[object], bool] = lambda value: True


READERS: dict[str, tuple[Callable[..., Reader], int]] = {}


def reader(share: int, *variants: str):
    """Register what makes a reader, and its share of 20,000 inputs (of each variant)."""

    def register(make):
        for variant in variants:
            READERS[f"{make.__name__}-{variant}"] = functools.partial(make, variant=variant), share
        if not variants:
            READERS[make.__name__] = make, share
        return make

    return register


class Hang(BaseException):
    """An input has taken too long; no reader may swallow it."""


@pytest.fixture
def bounds():
    """At most so much memory for a reader and so much of the processor for an input."""

    def hang(*_):
        raise Hang

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + 5 * ROOM
    filled = peak()
    old = signal.signal(signal.SIGPROF, hang)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    signal.signal(signal.SIGPROF, old)
    assert peak() < filled + ROOM


def peak() -> int:
    """Bytes of memory that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def require_clear(error: FetalClipError, path: Path, folder: Path) -> None:
    """One paragraph that names the file and a way out; memory has not run out before."""
    text = str(error)
    assert str(folder) in text or path.name in text, f"names no file: {text}"
    assert re.search("Expected: |What to do: ", text), f"no way out: {text}"
    assert "\n" not in text, text
    assert not isinstance(error.__context__, MemoryError), f"too much memory: {text}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused_by_its_name(
    name, tmp_path, tmp_path_factory, monkeypatch, bounds
):
    set_hypothesis_home_dir(tmp_path_factory.getbasetemp())  # nothing is left in the checkout
    make, share = READERS[name]
    made = make(tmp_path, monkeypatch)

    @settings(
        max_examples=math.ceil(share * FACTOR),
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,  # of wall time: a busy machine is no fault of a reader
        suppress_health_check=[*HealthCheck],
    )
    @given(made.inputs)
    def holds(content):
        made.path.write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            value = made.call()
        except FetalClipError as error:
            require_clear(error, made.path, tmp_path)
        else:
            assert made.right(value), value
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    holds()


def test_there_are_20_000_inputs():
    assert sum(share for _, share in READERS.values()) >= 20_000


# Pictures


def saved(form: str, mode: str = "L", *, frames: int = 1, **options) -> bytes:
    """A picture of 12 x 9 pixels as a file."""
    values = np.add.outer(np.arange(9), np.arange(12)) * 9
    kinds = {"I;16": np.uint16, "F": np.float32}
    if mode in kinds:
        image = Image.fromarray((values * 200).astype(kinds[mode]))
    else:
        bands = [values, values[::-1], 255 - values]
        image = Image.fromarray(np.stack(bands, 2).astype(np.uint8)).convert(mode)
    if frames > 1:
        options |= {"save_all": True, "append_images": [image.rotate(180)] * (frames - 1)}
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@functools.cache
def pictures() -> list[bytes]:
    """One of each form, and what else lies under the names of images."""
    turned = Image.Exif()
    turned[274] = 6
    modes = {
        "png": ("L", "1", "P", "RGB", "RGBA", "LA", "I;16"),
        "jpeg": ("L", "RGB", "CMYK"),
        "tiff": ("L", "1", "RGB", "I;16", "F", "CMYK"),
        "bmp": ("L", "RGB", "1"),
    }
    others = ("webp", "gif", "ppm", "tga", "pcx", "sgi", "dds", "ico", "jpeg2000", "eps")
    strips = []
    for size in ((1, 60_000), (30_000, 1), (1, 1)):
        file = io.BytesIO()
        Image.new("L", size).save(file, "png")
        strips.append(file.getvalue())
    return [
        *(saved(form, mode) for form, each in modes.items() for mode in each),
        *(saved(form, "RGB") for form in others),
        *(saved("tiff", "RGB", compression=how) for how in ("tiff_lzw", "jpeg", "packbits")),
        *(saved(form, "RGB", frames=2) for form in ("tiff", "gif", "webp", "png")),
        *(saved(form, "RGB", exif=turned) for form in ("png", "jpeg", "tiff", "webp")),
        saved("jpeg", "RGB", progressive=True),
        saved("webp", "RGB", lossless=True),
        *strips,
        *(b"", b"<!doctype html>", b"version https://git-lfs.github.com/spec/v1\nsize 1\n"),
    ]


def is_image(image: Image.Image) -> bool:
    """Whether it is what models are given."""
    return image.mode in ("L", "RGB") and min(image.size) > 0


@reader(1800)
def read_square(folder, patch):
    path = folder / "a.png"
    return Reader(path, changed_bytes(pictures()), lambda: images.read_square(path), is_image)


@reader(1200)
def verify_image(folder, patch):
    path = folder / "a.png"
    return Reader(path, changed_bytes(pictures()), lambda: own_images.whole_images([path]))


@reader(1200)
def image_size(folder, patch):
    path = folder / "a.png"
    return Reader(path, changed_bytes(pictures()), lambda: images.image_size(path), is_size)


def is_size(size: tuple[int, int]) -> bool:
    """Whether something has this size."""
    return min(size) > 0


def dicom(syntax: str = uid.ExplicitVRLittleEndian, pixels: bytes | None = None, **values) -> bytes:
    """A DICOM file of 6 x 4 pixels; values may be as wrong as they like, None for absent."""
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = uid.UltrasoundImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    usual = {"Rows": 4, "Columns": 6, "SamplesPerPixel": 1, "BitsAllocated": 8, "BitsStored": 8}
    usual |= {"HighBit": 7, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2"}
    for name, value in (usual | values).items():
        if value is not None:
            setattr(found, name, value)
    sizes = ("SamplesPerPixel", "BitsAllocated", "NumberOfFrames")
    count = 3 * math.prod(min(int(found.get(name) or 1), 99) for name in sizes)
    found.PixelData = pixels or (bytes(range(256)) * 99)[:count]
    found["PixelData"].VR = "OB" if pixels else "OW"
    file = io.BytesIO()
    form = {
        "implicit_vr": syntax == uid.ImplicitVRLittleEndian,
        "little_endian": syntax != uid.ExplicitVRBigEndian,
    }
    pydicom.dcmwrite(file, found, **form, enforce_file_format=True)
    return file.getvalue()


ODD_VALUES = {
    "Rows": (0, 1, 65535, None),
    "Columns": (0, 65535, None),
    "SamplesPerPixel": (0, 2, 3, 4, None),
    "BitsAllocated": (0, 1, 12, 32, 64, None),
    "BitsStored": (0, 1, 16, None),
    "HighBit": (0, 15, None),
    "PixelRepresentation": (1, 7, None),
    "PhotometricInterpretation": ("", "RGB", "YBR_FULL_422", "PALETTE COLOR", "HSV", None),
    "NumberOfFrames": (0, 2, 10**9, -1),
    "RescaleSlope": (0, -1, 1e308, 2),
    "WindowWidth": (0, -1, 1),
    "WindowCenter": (0, 1e300),
    "VOILUTFunction": ("SIGMOID", "LINEAR_EXACT", "ODD"),
}


@functools.cache
def dicoms() -> list[bytes]:
    """Files of several transfer syntaxes, and files with one odd value each."""
    usual = {"RescaleIntercept": 0, "RescaleSlope": 1, "WindowCenter": 9, "WindowWidth": 9}
    colour = {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    ybr = colour | {"PhotometricInterpretation": "YBR_FULL_422"}
    palette = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = bytes(6)
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [4, 0, 12], [0, 1, 2, 3]
    item["LUTData"].VR = "US"
    size, deep = {"Rows": 9, "Columns": 12}, {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
    packed = pydicom.dcmread(io.BytesIO(dicom()))
    packed.compress(uid.RLELossless)
    rle = io.BytesIO()
    packed.save_as(rle)
    with pydicom.config.disable_value_validation():
        odd = [dicom(**usual | {name: v}) for name, values in ODD_VALUES.items() for v in values]
    return [
        *odd,
        *(dicom(syntax) for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)),
        dicom(uid.DeflatedExplicitVRLittleEndian),
        *(dicom(**values) for values in (colour, ybr, palette, deep | usual)),
        dicom(**deep, WindowCenter=[9, 9], WindowWidth=[8, 3]),
        *(
            dicom(NumberOfFrames=3, **{f"{name}LUTSequence": [item]})
            for name in ("VOI", "Modality")
        ),
        dicom()[132:],
        dicom(uid.JPEGBaseline8Bit, encapsulate([saved("jpeg")]), **size),
        dicom(uid.JPEGBaseline8Bit, encapsulate([saved("jpeg", "RGB")]), **size | ybr),
        dicom(uid.JPEG2000Lossless, encapsulate([saved("jpeg2000")]), **size),
        rle.getvalue(),
    ]


@reader(900)
def read_dicom(folder, patch):
    path = folder / "a.dcm"
    return Reader(path, changed_bytes(dicoms()), lambda: images.read_image(path), is_image)


@reader(700)
def dicom_size(folder, patch):
    path = folder / "a.dcm"
    return Reader(path, changed_bytes(dicoms()), lambda: images.image_size(path), is_size)


# Masks


def is_mask(value: object) -> bool:
    """Whether it is a region of the size asked for, or what is wrong with it."""
    return isinstance(value, mask_files.Flaw) or (value.dtype == bool and value.shape == (9, 12))


@reader(400, "image", "bright", "outline")
def mask(folder, patch, variant):
    path = folder / "a.png"
    decode = getattr(mask_files, f"decode_{variant}")

    def call():
        (found,) = decode(path.read_bytes(), ("head",))
        return mask_files.region_of(found, (12, 9))

    return Reader(path, changed_bytes(pictures()), call, is_mask)


@reader(800)
def fass_arrays(folder, patch):
    path, seeds = folder / "a.npy", []
    array, region = np.empty((), object), np.eye(9, 12, dtype=np.uint8)
    regions = (region, region > 0, np.asfortranarray(region), 1.0 * region)
    array[()] = {"structures": dict(zip(fass.STRUCTURES, regions, strict=True))}
    for protocol in (2, 3, 4, 5):
        file = io.BytesIO()
        form = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(file, form)
        body = pickle.dumps(array, protocol=protocol)
        # Where an object is noted for later: its number is as large as four bytes allow.
        seeds += [file.getvalue() + b for b in (body, body.replace(b"q\0", b"r\0\0\0\0", 1))]

    def call():
        found = fass.decode_arrays(path.read_bytes(), fass.STRUCTURES)
        return [mask_files.region_of(each, (12, 9)) for each in found]

    return Reader(path, changed_bytes(seeds), call, lambda found: all(map(is_mask, found)))


# Tables


def data_set(kind: str, folder: Path, table: str, separator: str = ",") -> Reader:
    """A whole folder whose table changes."""
    path = folder / table
    inputs = changed_table(path.read_text(), separator)
    return Reader(path, inputs, lambda: load_dataset(kind, folder), lambda found: len(found) > 0)


@reader(500)
def fetal_planes(folder, patch):
    write_planes(folder)
    return data_set("fetal_planes", folder, "FETAL_PLANES_DB_data.csv", ";")


@reader(500)
def african_planes(folder, patch):
    write_african(folder)
    return data_set("african_planes", folder, "African_planes_database.csv")


@reader(500)
def hc18(folder, patch):
    write_heads(folder, 3)
    return data_set("hc18", folder, "training_set_pixel_size_and_HC.csv")


@reader(500)
def manifest(folder, patch):
    lines = ["image,label,patient,split,mask_head,pixel_mm,hc_mm"]
    for name, split in {"a": "train", "b": "test", "c": ""}.items():
        write_image(folder / "images" / f"{name}.png", seed=ord(name))
        lines.append(f"images/{name}.png,x,{name},{split},images/a.png,0.1,200")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return data_set("manifest", folder, "manifest.csv")


@reader(100, "fass", "focus")
def images_alone(folder, patch, variant):
    places = {"fass": "IMAGES/P01_IMG1.png", "focus": "training/images/001.png"}
    {"fass": write_fass, "focus": write_focus}[variant](folder)
    inputs = changed_bytes(pictures())
    return Reader(folder / places[variant], inputs, lambda: load_dataset(variant, folder))


@reader(200)
def words(folder, patch):
    write_image(folder / "in [1]" / "a.png")
    path = folder / "words"
    seeds = [b"in [1]", b"in [1]/*.png", b"**/a.png", b"in ?1]/[!b].png", b"~"]

    def call():
        text = os.fsdecode(path.read_bytes()).replace("\n", " ").replace(",", " ")
        return own_images.open_images(f"{folder}/{text}")

    return Reader(path, changed_bytes(seeds), call)


# Sentences, profiles, released files


@reader(700)
def prompt_file(folder, patch):
    path = folder / "prompts.json"
    inputs = changed_tree([{"brain": ["a brain", "the fetal head"], "femur": ["a femur"]}])

    def right(found):
        return all(isinstance(text, str) for sentences in found.values() for text in sentences)

    return Reader(path, inputs, lambda: prompts.load_prompts(path), right)


@reader(700)
def age_templates(folder, patch):
    path = folder / "ages.json"
    frame = "{weeks} weeks {days} days, {spacing} mm"
    inputs = changed_tree([{"templates": [frame], "unseen": [frame, f"At {frame}"]}])

    def call():
        frames = itertools.chain(*prompts.load_age_templates(path).values())
        return [prompts.age_sentence(each, 150, "0.1") for each in frames]

    return Reader(path, inputs, call)


@reader(500)
def profile(folder, patch):
    path = folder / "own.yaml"
    source = {"kind": "hc18", "root": "data/hc18", "phantoms": {"patients": 3, "seed": 1}}
    notebooks = {"one": {"data": "heads", "count": 3}, "two": None}
    seed = {"name": "own", "description": "Mine.", "device": "cpu", "data": {"heads": source}}
    seed |= {"models": ["phantomclip"], "notebooks": notebooks}

    def call():
        found = load_profile(path)
        assert isinstance(found.folder, Path) and found.synthetic in (True, False)
        return [runner.notebook_parameters(found, name) for name in found.notebooks]

    return Reader(path, changed_tree([seed], yaml=True), call)


@reader(50, "prediction", "folds", "scores")
def released_file(folder, patch, variant):
    place, call = {
        "prediction": (
            "zero_shot_planes_db/test_five_planes_prediction.json",
            lambda: released.released_predictions(folder, "five_planes"),
        ),
        "folds": (
            "probing/segmentation_hc/train_val_split.json",
            lambda: official_folds(folder, "head"),
        ),
        "scores": (
            "zero_shot_hc18/FetalCLIP_dot_prods_map.pt",
            lambda: released.released_age_scores(folder),
        ),
    }[variant]
    (folder / place).parent.mkdir(parents=True)
    return Reader(folder / place, changed_tree([[[["001"], ["002"]]]]), call, lambda _: False)


# Models

CONFIG = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {
            "image_size": 16,
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"},
}


@reader(600)
def config(folder, patch):
    path = folder / "a.json"
    inputs = changed_tree([CONFIG, CONFIG["model_cfg"]])
    return Reader(path, inputs, lambda: sources.read_config(path))


def use_one_tokenizer(patch) -> None:
    """Reading a vocabulary takes longer than making a small model."""
    made = open_clip.get_tokenizer("ViT-B-32")
    patch.setattr(open_clip, "get_tokenizer", lambda *_, **__: made)


@reader(200)
def untrained(folder, patch):
    use_one_tokenizer(patch)
    path = folder / "a.json"
    return Reader(path, changed_tree([CONFIG]), lambda: sources.create(f"{path}-untrained"))


def saved_state(content: object, *, new: bool = True) -> bytes:
    """What torch writes, also in its old form."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


@functools.cache
def checkpoints() -> list[object]:
    """Weights of a small layer, wrapped as trainers wrap them, and other things."""
    state = dict(torch.nn.Linear(3, 2).state_dict())
    prefixed = {f"module.{name}": value for name, value in state.items()}
    wrapped = [{key: state, "epoch": 3} for key in ("state_dict", "model", "model_state_dict")]
    shape, kinds = (2, 3), (torch.int8, torch.complex64, torch.bfloat16)
    odd = [3, None, "a", [1.0], {}, np.float64(1), torch.zeros(()), torch.full(shape, math.nan)]
    odd += [torch.eye(2, 3).to_sparse(), torch.zeros(shape, device="meta")]
    odd += [torch.zeros(shape, dtype=kind) for kind in kinds]
    values = [{**state, "weight": value} for value in odd]
    empty = [{"state_dict": value} for value in (None, 3, {}, [])]
    return [state, prefixed, *wrapped, *values, *empty, {1: state}, [], 7, state["bias"]]


@reader(500, "new.pt", "old.pt", "a.safetensors")
def checkpoint(folder, patch, variant):
    path, network = folder / variant, torch.nn.Linear(3, 2)
    state = network.state_dict()
    seeds = [safetensors(state), safetensors({"weight": state["bias"]})]
    if variant != "a.safetensors":
        seeds = [saved_state(each, new=variant == "new.pt") for each in checkpoints()]
    return Reader(path, changed_bytes(seeds), lambda: sources.load_weights(network, path, path))


@reader(70, "open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
def local_dir(folder, patch, variant):
    use_one_tokenizer(patch)
    state = open_clip.CLIP(**CONFIG["model_cfg"]).state_dict()
    contents = {"open_clip_model.safetensors": safetensors(state)}
    contents["open_clip_pytorch_model.bin"] = saved_state(state)
    inputs = changed_tree([CONFIG])
    if variant.endswith(".json"):
        (folder / "open_clip_model.safetensors").write_bytes(safetensors(state))
    else:
        (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
        inputs = changed_bytes([contents[variant]])
    return Reader(folder / variant, inputs, lambda: sources.create(f"local-dir:{folder}"))


# Results and notebooks


def save_row(folder: Path) -> Path:
    """Store a row of results as a notebook does."""
    score = Score(0.8, 0.7, 0.9, 0.8, n=10, groups=5)
    scores = {"vpr": {"patient": score, "image": score}, "error": {"image": score.in_unit("days")}}
    return result_files.save_row(folder, result_files.Row("clip", scores, reader="probe"))


def are_texts(found: dict) -> bool:
    """Whether all values are texts."""
    return all(isinstance(text, str) for text in found.values())


@reader(800, "row", "facts")
def result_file(folder, patch, variant):
    path = save_row(folder / "one")
    seed = json.loads(path.read_text())
    if variant == "facts":
        path, seed = folder / "one" / "facts.json", {"n": 3, "share": 0.5, "text": "a", "yes": True}
    call = functools.partial(result_files.render_glue, folder / "one")
    return Reader(path, changed_tree([seed]), call, are_texts)


def executed(built: Path) -> dict:
    """A notebook as a run leaves it, with its result files."""
    texts = result_files.render_glue(save_row(built / "results" / "one").parent)
    done = notebook("plot()", "print(1)")
    for count, cell in enumerate(done.cells[1:], 1):
        cell.execution_count = count
    picture = {"image/png": "aGVsbG8=", "text/plain": "<Figure>"}
    record = {result_files.RECORD: texts, "text/plain": ""}
    done.cells[2].metadata["mystnb"] = {"image": {"alt": "a curve"}}
    done.cells[2].outputs = [new_output("display_data", data=picture)]
    text = new_output("stream", name="stdout", text="1\n")
    done.cells[3].outputs = [text, new_output("display_data", data=record)]
    done.metadata["papermill"] = {"exception": None}
    done = nbformat.reads(nbformat.writes(done), as_version=4)
    left = gate.made(done, built / "results" / "one")
    done.metadata[gate.MARK] = {"fingerprint": "0" * 16, "made": left}
    return json.loads(nbformat.writes(done))


def notebooks(folder: Path) -> tuple[Path, Path, dict, st.SearchStrategy[bytes]]:
    """Source, executed copy, its content, and that content changed."""
    source, target = (root / "notebooks" / "one.ipynb" for root in (folder, folder / "built"))
    for path in (source, target):
        path.parent.mkdir(parents=True)
    nbformat.write(notebook("plot()", "print(1)"), source)
    whole = executed(folder / "built")
    # A word after which nbformat's own search for better words finds no end.
    odd = json.loads(json.dumps(whole).replace('"stream"', '"output"'))
    return source, target, whole, changed_tree([whole, odd])


@reader(400)
def published(folder, patch):
    _, path, whole, inputs = notebooks(folder)
    check = functools.partial(gate.check_notebooks, repository=folder, built=folder / "built")

    def unchanged(_):
        # A text may be split into lines, which changes nothing.
        now, then = (nbformat.reads(text, 4) for text in (path.read_text(), json.dumps(whole)))
        return now["cells"] == then["cells"] and now["metadata"] == then["metadata"]

    return Reader(path, inputs, lambda: check(["one"]), unchanged)


def run(folder: Path, source: Path, target: Path) -> runner.Outcome:
    """Run a notebook whose results lie beside it."""
    return runner.run_notebook(source, target, {"results_dir": str(folder)}, data={})


@reader(200)
def mark(folder, patch):
    source, path, _, inputs = notebooks(folder)

    def again(*_):
        raise RuntimeError("executed again")

    patch.setattr(runner, "_execute", again)
    call = functools.partial(run, folder / "built" / "results", source, path)
    return Reader(path, inputs, call, lambda outcome: "executed again" in outcome.error)


@reader(200)
def partial_copy(folder, patch):
    source, target, _, inputs = notebooks(folder)
    path = folder / "partial"

    def broken(source, partial, *_, **__):
        shutil.copy(path, partial)
        raise RuntimeError("disk is full")

    patch.setattr(runner.papermill, "execute_notebook", broken)
    call = functools.partial(run, folder / "built" / "results", source, target)
    return Reader(path, inputs, call, lambda outcome: "disk is full" in outcome.error)


@reader(300)
def parameters(folder, patch):
    path, *_ = notebooks(folder)
    inputs = changed_tree([json.loads(path.read_text())])
    return Reader(path, inputs, lambda: declared_parameters(path))


# What earlier runs have kept


def of_file(path: Path) -> st.SearchStrategy[bytes]:
    """Changes of a file as it is now."""
    data = path.read_bytes()
    return changed_tree([json.loads(data)]) if path.suffix == ".json" else changed_bytes([data])


def same(first: dict, second: dict) -> bool:
    """Whether arrays are equal."""
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name], equal_nan=True) for name in first
    )


def numbers(rows: range) -> dict[str, np.ndarray]:
    """Arrays of some rows."""
    values = np.asarray(rows, dtype=np.float32)
    return {"vectors": values[:, None] * np.ones(3, np.float32), "masks": values.astype(np.uint8)}


def store(folder: Path, compute=numbers) -> dict[str, np.ndarray]:
    """Arrays as they are stored, or computed and stored."""
    return stored_arrays(folder, "blocks", {"model": "a", "task": "b"}, 5, compute, chunk=2).arrays


@reader(300, "journal.json", "vectors.npy")
def stored(folder, patch, variant):
    store(folder)
    path = next((folder / "blocks").glob(f"*/{variant}"))
    return Reader(path, of_file(path), lambda: store(folder), lambda a: same(a, numbers(range(5))))


@reader(60, "journal.json", "vectors.npy")
def half_stored(folder, patch, variant):
    def cut(rows):
        if rows.start == 4:
            raise KeyboardInterrupt
        return numbers(rows)

    with contextlib.suppress(KeyboardInterrupt):
        store(folder, cut)
    (parts,) = (folder / "blocks").glob("*.partial")
    left = shutil.copytree(parts, folder / "left")

    def call():
        shutil.rmtree(folder / "blocks")
        shutil.copytree(left, parts)
        return store(folder)

    inputs = of_file(left / variant)
    return Reader(left / variant, inputs, call, lambda found: same(found, numbers(range(5))))


@reader(300, "text", "probes", "decoders", "pool")
def kept(folder, patch, variant):
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    trained = probes.LinearProbes(vectors, vectors[0], np.array([1]), vectors)
    fields, drawn = dict.fromkeys(decoders.FIELDS, vectors), pools.Pool(*[vectors] * 7)
    patch.setattr(probes, "train_probes", lambda *_: trained)
    patch.setattr(probes, "problem_key", lambda *_: "key")
    patch.setattr(decoders, "_computed", lambda _: fields)
    patch.setattr(pools, "draw_pool", lambda *_: drawn)
    model = SimpleNamespace(name="a", fingerprint="b", precision="fp32")
    model.encode_text = lambda _: vectors
    size = SimpleNamespace(heads=1, others=1, hearts=1, seed=1)
    call, expected = {
        "text": (
            lambda: {"text": embed.text_embeddings(model, ["a", "b"], cache_dir=folder)},
            {"text": vectors},
        ),
        "probes": (lambda: vars(probes.cached_probes(None, cache_dir=folder)), vars(trained)),
        "decoders": (lambda: decoders.finished(SimpleNamespace(path=folder / "a.npz")), fields),
        "pool": (lambda: vars(pools.cached_pool(folder, size, 1)), vars(drawn)),
    }[variant]
    call()
    (path,) = folder.rglob("*.np?")
    return Reader(path, of_file(path), call, lambda found: same(found, expected))


class Small(Trainer):
    """A trainer of one layer that has nothing left to do."""

    def __init__(self, weight: float) -> None:
        self.model = torch.nn.Linear(2, 1)
        for parameter in self.model.parameters():
            torch.nn.init.constant_(parameter, weight)
        self.optimizers = [torch.optim.AdamW(self.model.parameters())]
        self.recipe, self.done, self.seconds = SimpleNamespace(steps=0), 0, 0.0

    def state(self) -> str:
        """All that decides what comes next."""
        optimizer = self.optimizers[0].state_dict()
        return str([self.done, self.seconds, self.model.state_dict(), optimizer])


@reader(500)
def pretraining(folder, patch):
    path, finished = folder / "run-0.pt", Small(0.5)
    finished.model(torch.ones(1, 2)).sum().backward()
    finished.optimizers[0].step()
    finished.done, finished.seconds = 7, 1.5
    finished.save(path)
    known = (finished.state(), Small(0.0).state())

    def call():
        trainer = Small(0.0)
        train(trainer, path)
        return trainer.state()

    return Reader(path, of_file(path), call, lambda state: state in known)


class BeganAgain(Exception):
    """A training has not gone on."""


@reader(60)
def decoder(folder, patch):
    def batch(pairs):
        sizes = ((4, 4, 1, 1), (3, 16, 16), (1, 16, 16))
        return tuple(torch.ones(len(pairs), *size) for size in sizes)

    def begin(run):
        raise BeganAgain

    setup = training.Setup(batch, DecoderRecipe(2, batch_size=2, epochs=1, side=16), (4, 1))
    rows = np.array([0, 1])
    job = DecoderJob(np.stack([rows, rows], 1), rows, seed=1)
    path, run = folder / "a.part", training._Run(setup, job)
    run.epoch()
    run.save(path)
    patch.setattr(training._Run, "epoch", begin)
    expected = {"losses": run.losses, **run.best}

    def call():
        with contextlib.suppress(BeganAgain):
            found = training.train_decoder(setup, job, checkpoint=path)
            return {"losses": found.losses, **found.weights}
        return expected

    return Reader(path, of_file(path), call, lambda found: same(found, expected))


@reader(150, "parquet", "npz")
def export(folder, patch, variant):
    table = images_of(["1", "2"], ["a", "b"], path=["a.png", "b.png"])
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    export_embeddings(folder / "e", Embeddings(vectors, ("i0", "i1"), {"model": "a"}), table)
    path = folder / f"e.{variant}"
    return Reader(path, of_file(path), lambda: load_export(path))


@reader(300)
def phantom_record(folder, patch):
    root = folder / "drawn"
    draw = functools.partial(publish, root, lambda draft: 1, kind="heads", seed=1, patients=3)
    draw()
    return Reader(root / "phantom.json", of_file(root / "phantom.json"), draw)


# Archives and servers

NAMES = ("a.png", "b/c.png", "../out", "/out", "a/../../out", ".", "C:\\out", "..\\out", "é", "QQ")
"""Of members. Two letters become a zero byte and a letter, which zip takes for no name."""


def archives(kind: str) -> list[bytes]:
    """Archives of a usual member and a less usual one."""
    files = []
    for n, name in enumerate((*NAMES, "x" * 200)):
        file = io.BytesIO()
        if kind == "zip":
            with zipfile.ZipFile(file, "w", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[n % 2]) as z:
                z.writestr("first.png", b"first" * 9)
                z.writestr(name, b"second" * 9)
        else:
            with tarfile.open(None, f"w:{kind.partition('.')[2]}", file, format=n % 3) as tar:
                for each, link in (("first.png", b"0"), (name, (b"0", b"1", b"2", b"5")[n % 4])):
                    member = tarfile.TarInfo(each)
                    member.type, member.linkname = link, "first.png"
                    member.size = 5 if link == b"0" else 0
                    tar.addfile(member, io.BytesIO(b"first"))
        files.append(file.getvalue().replace(b"QQ", b"\0Q"))
    return files


@reader(250, "zip", "tar", "tar.gz", "tar.xz")
def archive(folder, patch, variant):
    path, out = folder / f"a.{variant}", folder / "in" / "out"

    def call():
        shutil.rmtree(out, ignore_errors=True)
        unpack(path, out)
        return {found for found in folder.rglob("*") if not found.is_relative_to(out)}

    inputs = changed_bytes(archives(variant))
    return Reader(path, inputs, call, lambda outside: outside == {path, out.parent})


@reader(150)
def server(folder, patch):
    content, path, target = b"twelve bytes", folder / "file.bin", folder / "download"
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/file.bin"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    entry = Entry("own", *[""] * 6, (RemoteFile("file.bin", url, len(content), digest),))
    patch.setattr(fetch, "registered", lambda _: entry)
    patch.setenv("NO_PROXY", "127.0.0.1")

    def serve():
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(path.read_bytes())

    threading.Thread(target=serve, daemon=True).start()

    def call():
        shutil.rmtree(target, ignore_errors=True)
        return fetch.fetch("own", target).read_bytes()

    head = b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n"
    chunks = b"Transfer-Encoding: chunked\r\n\r\nc\r\n"
    seeds = [
        head + b"Content-Length: 12\r\n\r\n" + content,
        head + chunks + content + b"\r\n0\r\n\r\n",
        head + b"Content-Encoding: gzip\r\n\r\n" + content,
        head + b"Content-Length: 200000\r\n\r\n" + content * 10_000,
        b"HTTP/1.0 404 Not Found\r\n\r\n",
    ]
    return Reader(path, changed_bytes(seeds), call, lambda found: found == content)
