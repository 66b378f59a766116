"""The long steps in small, and a process that does one of them until something goes wrong.

A step fills a folder, gives the arrays that it would give an uninterrupted user, and notes each
part that it computes (and does not read).
"""

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pandas as pd
import torch

from fetalclip_nb.data.dataset import Dataset
from fetalclip_nb.experiments.embeddings.export import export_embeddings, load_export
from fetalclip_nb.experiments.linear_probing import fit as probing
from fetalclip_nb.experiments.linear_probing.recipe import ProbeRecipe, ProbeRows, Problem
from fetalclip_nb.experiments.pretraining import pool as pools
from fetalclip_nb.experiments.pretraining.recipe import Recipe, Stage
from fetalclip_nb.experiments.pretraining.run import new_model
from fetalclip_nb.experiments.pretraining.training import Trainer, train
from fetalclip_nb.experiments.segmentation import fit as segmentation
from fetalclip_nb.experiments.segmentation import training
from fetalclip_nb.experiments.segmentation.recipe import DecoderJob, DecoderRecipe, as_they_are
from fetalclip_nb.files import key
from fetalclip_nb.models.embed import text_embeddings
from fetalclip_nb.models.store import Embeddings, stored_arrays
from fetalclip_nb.paths import SHIPPED
from fetalclip_nb.phantoms import cohorts, write_hc18
from fetalclip_nb.stats.scores import Score
from fetalclip_nb.workflow import session
from helpers import TINY_CONFIG

Note = Callable[[str], None]
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(48, 6)).astype(np.float32)
TABLE = pd.DataFrame({"id": list("abc"), "path": list("def"), "patient": ["p", "p", "q"]})
TRAINING = Recipe(stages=(Stage(4),), plane_batch=4, age_batch=2, extra_ages=2, age_from_step=2)
CLIP = TINY_CONFIG | {"text_cfg": TINY_CONFIG["text_cfg"] | {"context_length": 117}}
BLOCKS = torch.from_numpy(RANDOM.normal(size=(20, 4, 4, 1, 1))).float()
IMAGES = torch.from_numpy(RANDOM.random(size=(20, 3, 16, 16))).float()


def phantoms(folder: Path, note: Note) -> list[np.ndarray]:
    """A cohort of heads: a picture is a part, the whole cohort appears at once."""
    draw = cohorts.write_png

    def noted(path: Path, image: np.ndarray) -> None:
        note(path.name)
        draw(path, image)

    cohorts.write_png = noted
    try:
        write_hc18(folder / "heads", patients=2, seed=1, workers=1)
    finally:
        cohorts.write_png = draw
    files = sorted(path for path in (folder / "heads").rglob("*") if path.is_file())
    return [np.frombuffer(path.read_bytes(), np.uint8) for path in files]


def embeddings(folder: Path, note: Note) -> list[np.ndarray]:
    """Two stored arrays of seven rows, two rows at a time."""

    def compute(rows: range) -> dict[str, np.ndarray]:
        note(f"rows from {rows.start}")
        numbers = np.asarray(rows, np.float32)[:, None]
        return {"vectors": numbers * np.ones(40, np.float32), "masks": numbers.astype(np.uint8)}

    made = stored_arrays(folder, "embeddings", {"model": "m", "side": 3}, 7, compute, chunk=2)
    return [np.array(array) for array in made.arrays.values()]


def texts(folder: Path, note: Note) -> list[np.ndarray]:
    """Vectors of two sentences."""

    def encode(sentences: list[str]) -> np.ndarray:
        note("sentences")
        return VECTORS[: len(sentences)]

    model = SimpleNamespace(name="m", fingerprint="0", precision="fp32", encode_text=encode)
    return [text_embeddings(model, ["a head", "a heart"], cache_dir=folder)]


def probes(folder: Path, note: Note) -> list[np.ndarray]:
    """Two linear probes of two classes."""
    groups = [ProbeRows(np.arange(32), np.arange(32, 48), (1, 2))]
    recipe = ProbeRecipe(learning_rate=0.01, batch_size=8, epochs=3)
    problem = Problem(VECTORS, (VECTORS[:, 0] > 0).astype(np.int64), groups, 2, recipe)
    trained = probing.train_probes

    def noted(*arguments: object) -> probing.LinearProbes:
        note("probes")
        return trained(*arguments)

    probing.train_probes = noted
    try:
        return [*vars(probing.cached_probes(problem, cache_dir=folder)).values()]
    finally:
        probing.train_probes = trained


def decoder(folder: Path, note: Note) -> list[np.ndarray]:
    """A decoder of three epochs, saved after each."""
    masks = (IMAGES[:, :2] > 0.5).float()

    def batch(pairs: np.ndarray, device: str) -> tuple[torch.Tensor, ...]:
        if pairs[0, 1] == 12:  # an epoch ends with the rows that validate it
            note("epoch")
        return tuple(tensor[pairs[:, 1]] for tensor in (BLOCKS, IMAGES, masks))

    material = SimpleNamespace(
        key="toy",
        shape=(4, 2),
        batch=batch,
        task=SimpleNamespace(structures=("one", "two")),
        masks=lambda rows: masks[rows].bool().numpy(),
        square_pixel_mm=np.ones(20),
    )
    recipe = DecoderRecipe(filters=2, learning_rate=0.01, batch_size=4, epochs=3)
    job = DecoderJob(as_they_are(np.arange(12)), np.arange(12, 16), seed=3)
    training.SAVE_EVERY = -1.0
    work = (material, job, np.arange(16, 20), recipe, "cpu", "fp32", folder)
    made = segmentation.finished(segmentation.DecoderFit(*work))
    return [made[name] for name in segmentation.FIELDS]


def pool(folder: Path, note: Note) -> list[np.ndarray]:
    """Pictures for pretraining."""
    draw = pools.draw_pool

    def noted(*arguments: object) -> pools.Pool:
        note("pool")
        return draw(*arguments)

    pools.draw_pool = noted
    try:
        recipe = Recipe(heads=1, others=1, hearts=1)
        return [*vars(pools.cached_pool(folder, recipe, workers=1)).values()]
    finally:
        pools.draw_pool = draw


def pretraining(folder: Path, note: Note) -> list[np.ndarray]:
    """Four steps of a tiny model, saved after each."""
    n = 8
    heads = np.arange(n) < n // 2
    drawn = pools.Pool(
        images=np.random.default_rng(1).integers(0, 255, (n, 128, 128), np.uint8),
        plane=np.where(heads, pools.BRAIN, (pools.BRAIN + 1) % len(pools.PLANES)),
        part=np.full(n, -1),
        clip=np.zeros(n, bool),
        age_days=np.full(n, 150),
        hc_mm=np.where(heads, 180.0, np.nan),
        spacing_mm=np.full(n, 0.5),
    )
    tokenizer = open_clip.get_tokenizer(f"local-dir:{SHIPPED}")
    model = new_model({"model_cfg": CLIP}, seed=0)
    trainer = Trainer(model, tokenizer, {"mean": [0.2], "std": [0.2]}, drawn, TRAINING)
    step = trainer.step

    def noted() -> dict[str, float]:
        note("step")
        return step()

    trainer.step = noted
    train(trainer, folder / "run-0.pt", every=1)
    return [value.numpy() for value in model.state_dict().values()]


def results(folder: Path, note: Note) -> list[np.ndarray]:
    """A notebook's run that saves two scores, a table and facts."""
    settings = dict.fromkeys(session.COMMON, "") | {"models": "m", "seed": 0}
    settings |= {"device": "cpu", "precision": "fp32"}
    settings |= {"results_dir": str(folder / "results"), "cache_dir": str(folder / "cache")}
    kinds = {name: type(value) for name, value in settings.items()}
    run = session.start("02", {"__annotations__": kinds, **settings})
    for name in ("m", "control of it"):
        note(name)
        run.save(name, {"vpr": {"image": Score(0.5, 0.4, 0.6, 0.5, 6, 6)}})
    run.save_table("answers", TABLE)
    run.finish({"images": 6})
    files = [folder / "results" / "02" / name for name in ("glue.json", "answers.parquet")]
    return [np.frombuffer(path.read_bytes(), np.uint8) for path in files]


def export(folder: Path, note: Note) -> list[np.ndarray]:
    """Embeddings in both formats for other programs: read, and written where they are not."""
    dataset = Dataset("hc18", folder, TABLE, True, "0")
    embedded = Embeddings(VECTORS[:3], tuple("abc"), {"model": "m", "rows": 3})
    stem, found = folder / "m", []
    if not all(stem.with_suffix(end).exists() for end in (".npz", ".parquet")):
        note("export")
        export_embeddings(stem, embedded, dataset)
    for suffix in (".npz", ".parquet"):
        made = load_export(f"{stem}{suffix}")
        words = np.array(
            [*made.table, *made.table.to_numpy().ravel(), *map(str, made.meta.items())]
        )
        found += [made.vectors, words]
    return found


STEPS = {
    step.__name__: step
    for step in (phantoms, embeddings, texts, probes, decoder, pool, pretraining, results, export)
}


def outcome(name: str, folder: Path, note: Note) -> str:
    """Do a step; a text that stands for all that it gives."""
    with torch.random.fork_rng(devices=[]):
        return key(name, *STEPS[name](Path(folder), note))


def child(
    pipe: Connection,
    name: str,
    folder: Path,
    *,
    kill_at: int = 0,
    limit: int = 0,
    bound: bool = False,
) -> None:
    """Do a step in a process of its own and say what is computed, and in the end the outcome.

    Args:
        pipe: Gets pairs: ("part", its name), ("done", outcome) or ("failed", message), and
            ("marks", places where it could have been killed).
        name: Of the step.
        folder: Where it works.
        kill_at: Number of the place where the process is killed: before a part is computed,
            before a file is flushed to the disk, and before it is renamed.
        limit: Size in bytes beyond which no file can grow, as on a full disk.
        bound: Whether permissions bind the process, whoever runs it.
    """
    marks = 0

    def mark() -> None:
        nonlocal marks
        marks += 1
        if marks == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def marked(function: Callable) -> Callable:
        return lambda *arguments, **options: mark() or function(*arguments, **options)

    def note(part: str) -> None:
        mark()
        pipe.send(("part", part))

    for function in ("fsync", "replace", "rename"):
        setattr(os, function, marked(getattr(os, function)))
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if bound:
        without_privileges()
    try:
        pipe.send(("done", outcome(name, folder, note)))
    except Exception as error:
        pipe.send(("failed", f"{type(error).__name__}: {error}"))
    pipe.send(("marks", marks))


def without_privileges() -> None:
    """Take from a process of root's what lets it write to read-only places."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")
