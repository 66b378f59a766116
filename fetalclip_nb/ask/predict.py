"""Images and sentences in, probabilities out: zero-shot prediction of any image files."""

import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.special import softmax

from fetalclip_nb.ask.answers import shortened
from fetalclip_nb.data.dataset import Dataset, kind_of_images, unprompted_sentence
from fetalclip_nb.data.images import read_square
from fetalclip_nb.data.own_images import whole_images
from fetalclip_nb.data.prompts import COLUMNS, require_choice
from fetalclip_nb.errors import ModelError, ParameterError
from fetalclip_nb.models import similarity
from fetalclip_nb.models.embed import prepared_embedding
from fetalclip_nb.models.model import Model
from fetalclip_nb.models.tower import require_maps
from fetalclip_nb.paths import as_text

PICTURED = 6
"""Images of a picture, unless told otherwise."""

SHOWN_CLASSES = 10
"""Bars beside an image; of more classes, those with the highest probabilities."""

_CHANNELS = "it weighs each channel of what enters the last block of the image encoder"

_HOW = {
    "scorecam": f"{_CHANNELS} by how probable the class stays if the image is seen through it",
    "gradcam": f"{_CHANNELS} by how strongly the probability of the class depends on it",
    "layercam": f"{_CHANNELS}, patch by patch, by how strongly the probability depends on it there",
}
"""What the methods of `experiments.cam.maps.TITLES` do."""

_SIDE = 400  # pixels of a shown image: more cannot be seen


@dataclass(frozen=True)
class Prediction:
    """What a model says of images, and what of them a picture shows.

    Attributes:
        table: One row an image, in the order of the files: image (its path), prediction (a
            class) and, in the order of the classes, one column each with its probability.
        squares: The first images, padded to squares.
        vectors: The classes' sentences, unit-norm float32 of shape (C, D).
    """

    table: pd.DataFrame
    squares: list[Image.Image]
    vectors: np.ndarray

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return list(self.table.columns[len(COLUMNS) :])

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, shape (N,)."""
        return self.table[self.classes].max(axis=1).to_numpy()


def predict(
    model: Model,
    files: Sequence[Path | str],
    prompts: Mapping[str, Sequence[str]],
    *,
    batch_size: int = 64,
    skip_bad: bool = False,
    pictured: int = PICTURED,
) -> Prediction:
    """Choose between classes by how near an image lies to their sentences.

    The probabilities compare the given classes with each other and with nothing else: they add
    up to 1 for any image, also for one that shows none of them.

    Args:
        model: Encoder.
        files: Image files.
        prompts: Sentences of each class.
        batch_size: Images a forward pass; the result does not depend on it.
        skip_bad: Leave images that cannot be read out instead of refusing all.
        pictured: Images that `picture` may show.

    Raises:
        ParameterError: Fewer than two classes, or a class named "image" or "prediction".
        ImageError: If images cannot be read: all are named, before one is encoded.
        DataError: If there are DICOM files and no pydicom.

    Source: CLIP (arXiv 2103.00020), section 3.1.2; the protocol of the paper's zero-shot planes.
    """
    require_choice(prompts)
    files = whole_images([Path(file) for file in files], skip_bad=skip_bad)
    vectors = similarity.class_embeddings(model.encode_text, dict(prompts))
    parts, first = [], []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), batch_size):
            squares = list(pool.map(read_square, files[start : start + batch_size]))
            first += squares[: max(0, pictured - start)]
            embedded = similarity.normalise(prepared_embedding(model, squares))
            parts.append(softmax(similarity.zero_shot_logits(embedded, vectors), axis=-1))
    table = pd.DataFrame(np.concatenate(parts), columns=list(prompts))
    prediction = np.array(list(prompts))[table.to_numpy().argmax(1)]
    table.insert(0, "image", [as_text(file) for file in files])
    table.insert(1, "prediction", prediction)
    return Prediction(table, first, vectors)


def choices(
    model: Model, file: Path, offers: Mapping[str, Mapping[str, Sequence[str]]]
) -> pd.DataFrame:
    """What is chosen for one image from several sets of classes.

    Args:
        model: Encoder.
        file: Image file.
        offers: Title to sentences of each class; a set of one class offers no choice.

    Returns:
        Columns prediction and probability, one row a title.
    """
    rows = {}
    for title, prompts in offers.items():
        if len(prompts) > 1:
            answer = predict(model, [file], prompts)
            rows[title] = [answer.table["prediction"][0], answer.confidence[0]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["prediction", "probability"])


def facts(
    answers: Prediction, chosen: pd.DataFrame, library: Dataset, few: Dataset, method: str
) -> dict[str, object]:
    """What the quick start's prose says.

    Args:
        answers: For the images looked at.
        chosen: As given by `choices`, with a row "only nonsense".
        library: All images.
        few: The images looked at.
        method: As for `picture`.
    """
    return {
        "images": len(few),
        "found": len(library),
        "images_are": kind_of_images(library),
        "classes": len(answers.classes),
        "map_sentence": map_sentence(method),
        "unprompted_sentence": unprompted_sentence(few.table, answers.classes),
        "prediction": answers.table["prediction"].iloc[0],
        "probability": float(answers.confidence[0]),
        "nonsense": chosen["prediction"]["only nonsense"],
        "nonsense_probability": float(chosen["probability"]["only nonsense"]),
    }


def picture(model: Model, answers: Prediction, *, method: str = "gradcam"):
    """Image, map and probabilities of the first images, one image a row: a matplotlib figure.

    The map shows where in the image the probability of the predicted class comes from.

    Args:
        model: The encoder that predicted.
        answers: As given by `predict`.
        method: "gradcam" (a second for the first image), "layercam", "scorecam" (as published,
            several seconds an image) or "none" for no map.

    Raises:
        ParameterError: Unknown method, or no image to show.
        ModelError: If a map is asked for that the model cannot give, see `require_map`.
    """
    import matplotlib.pyplot as plt

    from fetalclip_nb.results import figures

    if not answers.squares:
        raise ParameterError("No image to show", where="picture", expected="at least one image")
    require_map(model, method)
    figures.use_style()
    table = answers.table.head(len(answers.squares))
    greys = [square.convert("L") for square in answers.squares]
    columns = [[grey.resize((min(grey.width, _SIDE),) * 2) for grey in greys]]
    if method != "none":
        columns.append(_mapped(model, answers, table["prediction"], method))
    figure, axes = plt.subplots(
        len(table),
        len(columns) + 1,
        figsize=(figures.WIDTH, len(table) * _height(answers.classes)),
        width_ratios=[1.0] * len(columns) + [1.2],
        squeeze=False,
        layout="constrained",
    )
    for row, record in enumerate(table.to_dict("records")):
        for axis, images in zip(axes[row], columns, strict=False):
            axis.imshow(images[row], cmap="gray", vmin=0, vmax=255)
            axis.axis("off")
        axes[row, 0].set_title(shortened(Path(record["image"]).name, 30), fontsize=8)
        if len(columns) > 1:
            axes[row, 1].set_title(f"where: {shortened(record['prediction'], 22)}", fontsize=8)
        _bars(axes[row, -1], record, figures.COLOURS)
    return figure


def require_map(model: Model, method: str) -> None:
    """Refuse a map by a method of `picture` that a model cannot give, before anything is computed.

    Raises:
        ModelError: If `vision_tower` knows no maps of the image tower; it names what is possible.
    """
    if method == "none":
        return
    try:
        require_maps(model)
    except ModelError as error:
        raise ModelError(
            "Model gives no map",
            where=model.name,
            found=error.what,
            fix="ask for a picture without maps (method `none`, on the command line --map none)",
        ) from error


def map_sentence(method: str) -> str:
    """What the map of a `picture` by a method is, or that there is none.

    >>> map_sentence("none")
    'This run drew no map.'
    """
    if method == "none":
        return "This run drew no map."
    from fetalclip_nb.experiments.cam.maps import TITLES

    return f"The map is made by {TITLES[method]}: {_HOW[method]}."


def _mapped(
    model: Model, answers: Prediction, predictions: Sequence[str], method: str
) -> list[np.ndarray]:
    """Images under the map of the class that was predicted, at the side the encoder sees."""
    from fetalclip_nb.experiments.cam.maps import cam_maps
    from fetalclip_nb.experiments.cam.overlays import grey_square, overlay

    pixels = torch.stack([model.preprocess(square) for square in answers.squares])
    targets = [answers.classes.index(name) for name in predictions]
    maps = cam_maps(model, pixels, answers.vectors, targets, method=method).maps
    return [
        overlay(grey_square(square, len(seen)), seen)
        for square, seen in zip(answers.squares, maps, strict=True)
    ]


def _bars(axis, record: Mapping, colours: Sequence) -> None:
    """Probabilities of one image, its prediction in another colour."""
    chances = pd.Series(record).drop([*COLUMNS]).astype(float)
    highest = chances.nlargest(SHOWN_CLASSES).index
    names = [name for name in chances.index if name in highest]
    tints = [colours[name == record["prediction"]] for name in names]
    bars = axis.barh(range(len(names)), 100 * chances[names], color=tints)
    axis.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    labels = ["\n".join(textwrap.wrap(name, 30)) for name in names]
    axis.set_yticks(range(len(names)), labels, fontsize=8)
    axis.set_xticks((0, 50, 100), ("0", "50", "100"), fontsize=8)
    axis.set_xlim(0, 120)  # the number beside a bar of 100 has to find room
    axis.spines[["top", "right"]].set_visible(False)
    axis.invert_yaxis()
    axis.grid(visible=False)
    few = f", {len(names)} of {len(chances)} classes" if len(names) < len(chances) else ""
    axis.set_xlabel(f"probability (%){few}", fontsize=8)


def _height(classes: Sequence[str]) -> float:
    """Inches a row needs for its bars and their labels."""
    lines = sorted(len(textwrap.wrap(name, 30)) for name in classes)[-SHOWN_CLASSES:]
    return max(2.2, 0.7 + 0.17 * sum(lines))
