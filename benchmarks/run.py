"""Time what the book spends its time on, beside the naive way of doing it."""

import argparse
import os
import platform
import tempfile
from pathlib import Path

import cams
import numpy as np
import probes
import segmentation
import segmentation_gpu
import torch
from sklearn.metrics import f1_score
from timing import Measure, median_seconds

from fetalclip_nb import growth, phantoms
from fetalclip_nb.data import prompts
from fetalclip_nb.data.hc18 import read_hc18
from fetalclip_nb.data.images import read_image, read_square
from fetalclip_nb.models.model import load_model, trimmed_text
from fetalclip_nb.results import result_files
from fetalclip_nb.stats import classification

OUTPUT = Path("build/benchmarks.json")


def bootstrap() -> dict[str, float]:
    """10,000 resamples of 11,000 predictions of eight classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 8, 11_000)
    guesses = np.where(rng.random(11_000) < 0.87, labels, rng.integers(0, 8, 11_000))
    patients = rng.integers(0, 1_792, 11_000)
    answers = classification.Predictions(tuple("abcdefgh"), labels, guesses[:, None], patients)

    def naive() -> None:
        for _ in range(20):
            rows = rng.integers(0, 11_000, 11_000)
            f1_score(labels[rows], guesses[rows], average="macro")

    return {
        "images, 10,000 resamples": median_seconds(
            lambda: classification.scores(answers, by_patient=False)
        ),
        "patients, 10,000 resamples": median_seconds(
            lambda: classification.scores(answers, by_patient=True)
        ),
        "naive, scaled from 20 to 10,000 resamples": 500 * median_seconds(naive, runs=1),
    }


def text() -> dict[str, float]:
    """All ages in five templates at one spacing."""
    model = load_model("phantomclip", device="cpu")
    frames = prompts.load_age_templates()["templates"]
    sentences = [prompts.age_sentence(f, a, "0.47") for f in frames for a in growth.AGES_DAYS]
    tokens = model.tokenizer(sentences)
    with torch.inference_mode():
        return {
            "tokenizer": median_seconds(lambda: model.tokenizer(sentences)),
            "cut at the longest": median_seconds(lambda: trimmed_text(model.network, tokens)),
            "full context": median_seconds(lambda: model.network.encode_text(tokens), runs=3),
        }


def drawing() -> dict[str, float]:
    """One image of each plane at its native size."""
    rng = np.random.default_rng(0)
    planes = ("abdomen", "brain", "femur", "thorax", "cervix", "other")
    return {p: median_seconds(lambda p=p: phantoms.draw(p, rng), runs=15) for p in planes}


def images() -> dict[str, float]:
    """Embedding 200 phantom heads."""
    model = load_model("phantomclip", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        phantoms.write_hc18(Path(folder) / "heads", patients=150, seed=0)
        paths = read_hc18(Path(folder) / "heads").paths[:200]

        def read() -> torch.Tensor:
            return torch.stack([model.preprocess(read_square(path)) for path in paths])

        pixels = read()
        return {
            "read and prepare 200": median_seconds(read),
            "encode 200 in one batch": median_seconds(lambda: model.encode_images(pixels)),
            "encode 200 one by one": median_seconds(
                lambda: [model.encode_images(p[None]) for p in pixels], runs=3
            ),
        }


def dataset() -> dict[str, float]:
    """Opening a folder: checksums against decoding."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "heads"
        phantoms.write_hc18(root, patients=150, seed=0)
        paths = read_hc18(root).paths
        return {
            f"open and verify {len(paths)}": median_seconds(lambda: read_hc18(root)),
            f"decode {len(paths)}": median_seconds(lambda: [read_image(p) for p in paths]),
        }


BENCHMARKS = {
    "bootstrap": bootstrap,
    "text": text,
    "phantoms": drawing,
    "images": images,
    "dataset": dataset,
    "probes": probes.probes,
    "few_probes": probes.few_probes,
    "rivals": probes.rivals,
    "cams": cams.cams,
    "segmentation": segmentation.segmentation,
    "segmentation_gpu": segmentation_gpu.segmentation_gpu,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME")
    names = parser.parse_args().names or list(BENCHMARKS)
    seconds: dict[str, dict[str, float]] = {}
    measures: dict[str, dict[str, Measure]] = {}
    for name in names:
        for label, figure in BENCHMARKS[name]().items():
            kept, shown = (
                (measures, figure)
                if isinstance(figure, Measure)
                else (seconds, Measure(1000 * figure, "ms"))
            )
            kept.setdefault(name, {})[label] = figure
            print(f"{name:16}  {label:58}  {shown.value:12.1f} {shown.unit}", flush=True)
    content = {"seconds": seconds, "measures": measures, "machine": machine()}
    result_files.write_json(OUTPUT, {**content, **result_files.provenance()})


def machine() -> dict[str, object]:
    """What the figures depend on besides the code."""
    return {
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


if __name__ == "__main__":
    main()
