"""Search: the images nearest to an image, and the images nearest to a sentence."""

import argparse
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.datasets import fass, fetal_planes, focus, hc18
from fetalclip_nb.datasets.table import Dataset, build, require_root
from fetalclip_nb.embedding_cache import Embeddings
from fetalclip_nb.errors import ParameterError, ShapeError
from fetalclip_nb.paths import project_root, resolve
from fetalclip_nb.zero_shot import normalise

FORMATS = ("table", "json", "csv")
_LABELS = ("label", "plane")
_LAYOUTS = {
    "fetal_planes": (fetal_planes.TABLE,),
    "hc18": (hc18.TABLE,),
    "manifest": ("manifest.csv",),
    "fass": (fass.IMAGES, fass.ARRAYS),
    "focus": tuple(f"{split}/{focus.IMAGES}" for split in focus.SPLITS),
}
"""What a folder of each kind holds."""


def nearest_images(
    embedded: Embeddings, query: np.ndarray, k: int, *, exclude: Collection[str] = ()
) -> pd.DataFrame:
    """The images whose embeddings point most nearly where a query points.

    Args:
        embedded: Embeddings of N images.
        query: Embedding of an image or of a sentence by the same model, of shape (D,); its
            length does not matter.
        k: Images wanted.
        exclude: Ids that are left out: the query's own, or those of its patient.

    Returns:
        Columns rank (from 1), id and similarity (cosine, -1 to 1), k rows, the most similar
        first; equal ones in the order of ``embedded``.

    Raises:
        ShapeError: If the query has another width than the embeddings.
        ParameterError: If k is below 1 or more than there are images left.
    """
    if np.shape(query) != embedded.vectors.shape[1:]:
        raise ShapeError(
            "Query and embeddings differ in width",
            where="query",
            expected=embedded.vectors.shape[1:],
            found=np.shape(query),
            fix="encode both with one model",
        )
    kept = np.flatnonzero(~pd.Index(embedded.ids).isin(list(exclude)))
    if not 1 <= k <= len(kept):
        raise ParameterError(
            "Cannot answer with that many images",
            where="k",
            expected=f"1 to {len(kept)}: what there is beside what is left out",
            found=k,
        )
    similarity = normalise(embedded.vectors[kept]) @ normalise(query)
    order = np.argsort(-similarity, kind="stable")[:k]
    return pd.DataFrame(
        {
            "rank": np.arange(1, k + 1),
            "id": [embedded.ids[row] for row in kept[order]],
            "similarity": similarity[order],
        }
    )


def search_images(
    model,
    dataset: Dataset,
    *,
    image: Path | str | None = None,
    text: str | None = None,
    cache_dir: Path,
    k: int = 9,
    other_patients: bool = False,
) -> pd.DataFrame:
    """Search a data set for what is most like an image, or fits a sentence best.

    An image that is itself in the data set is left out of its own answers.

    Args:
        model: Encoder of images and text (`fetalclip_nb.models.Model`).
        dataset: A whole data set; its embeddings are computed once and kept.
        image: Image file; this or ``text``.
        text: Sentence; this or ``image``.
        cache_dir: Folder that all notebooks share.
        k: Images wanted.
        other_patients: Whether all images of the query's patient are left out, where the query
            is in the data set.

    Returns:
        Columns rank, similarity (cosine, -1 to 1), id, label ("" where the data set has none),
        patient and path (relative to the data set), k rows, the most similar first.

    Raises:
        ParameterError: If both or none of image and text are given, or k is out of range.
        ImageError: If the image is missing or cannot be decoded.
    """
    from fetalclip_nb.embeddings import image_embeddings, prepared_embedding, text_embeddings
    from fetalclip_nb.images import read_square

    _require_one(image, text)
    own = []
    if image is not None:
        query = prepared_embedding(model, [read_square(Path(image))])[0]
        own = own_ids(dataset, image, whole_patient=other_patients)
    else:
        query = text_embeddings(model, [text], cache_dir=cache_dir)[0]
    embedded = image_embeddings(model, dataset, cache_dir=cache_dir)
    found = nearest_images(embedded, query, k, exclude=own)
    table = dataset.table.set_index("id").loc[found["id"]].reset_index()
    label = next((name for name in _LABELS if name in table), None)
    return pd.DataFrame(
        {
            "rank": found["rank"],
            "similarity": found["similarity"],
            "id": found["id"],
            "label": table[label] if label else "",
            "patient": table["patient"],
            "path": table["path"],
        }
    )


def own_ids(dataset: Dataset, image: Path | str, *, whole_patient: bool = False) -> list[str]:
    """Ids of a file in a data set: none, one, or those of its patient."""
    file = Path(image).resolve()
    rows = [path.resolve() == file for path in dataset.paths]
    own = dataset.table[rows]
    if whole_patient:
        own = dataset.table[dataset.table["patient"].isin(own["patient"])]
    return own["id"].tolist()


def open_folder(folder: Path | str) -> Dataset:
    """A data set in any layout that is known, or a plain folder of images.

    Args:
        folder: FETAL_PLANES_DB, HC18, FASS, FOCUS, a folder with a ``manifest.csv``, or one of
            images alone, each of which then counts as a patient of its own.

    Raises:
        DataError: If the folder is missing or holds no image, or whatever its reader finds
            wrong.
    """
    from fetalclip_nb.datasets import load_dataset

    root = require_root(folder, "FETAL_PLANES_DB, HC18, FASS, FOCUS or manifest")
    kind = next((k for k, parts in _LAYOUTS.items() if all((root / p).exists() for p in parts)), "")
    return load_dataset(kind, root) if kind else _plain(root)


def _plain(root: Path) -> Dataset:
    from fetalclip_nb.inputs import image_files

    names = [path.relative_to(root).as_posix() for path in image_files([str(root)])]
    table = pd.DataFrame({"id": names, "path": names, "patient": names, "label": ""})
    return build("folder", root, table)


def _require_one(image: object, text: str | None) -> None:
    if (image is None) == (text is None) or (text is not None and not text.strip()):
        raise ParameterError(
            "Search needs one thing to look for",
            where="image, text",
            expected="an image file, or a sentence",
            found="both" if image is not None and text is not None else "none",
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb search``."""
    parser.add_argument("folder", metavar="FOLDER", help="data set, or a folder of images")
    parser.add_argument("--text", metavar="SENTENCE", help="what the images should show")
    parser.add_argument("--image", metavar="FILE", help="image whose like is looked for")
    parser.add_argument("--model", default="phantomclip", help="encoder (default: phantomclip)")
    parser.add_argument("--k", type=int, default=9, help="images wanted (default: 9)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="the images, as a picture")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, fp32, tf32 or bf16")


def main(options: argparse.Namespace) -> int:
    """Search a folder; the answer goes to standard output, remarks to standard error."""
    _require_one(options.image, options.text)
    dataset = open_folder(resolve(options.folder))
    from fetalclip_nb.models import load_model

    model = load_model(options.model, device=options.device, precision=options.precision)
    found = search_images(
        model,
        dataset,
        image=options.image and resolve(options.image),
        text=options.text,
        cache_dir=project_root() / "build" / "cache",
        k=options.k,
    )
    print(as_text(found, options.format))
    return 0


def as_text(found: pd.DataFrame, form: str) -> str:
    """Answers as a table for the eye, as JSON or as CSV."""
    rounded = found.round({"similarity": 4})
    if form == "json":
        return rounded.to_json(orient="records", indent=1, force_ascii=False)
    if form == "csv":
        return rounded.to_csv(index=False).rstrip("\n")
    return rounded.to_string(index=False)
