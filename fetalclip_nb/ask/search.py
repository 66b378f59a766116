"""Search: the images nearest to an image, and the images nearest to a sentence."""

import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fetalclip_nb.data.dataset import LABEL_COLUMNS, PLAIN, Dataset
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.models.similarity import normalise
from fetalclip_nb.models.store import Embeddings

ANSWERS = 9
"""Images found where no number is asked for and there are as many."""


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
    """
    rows = np.flatnonzero(~pd.Index(embedded.ids).isin(list(exclude)))
    similarity = normalise(embedded.vectors[rows]) @ normalise(query)
    order = np.argsort(-similarity, kind="stable")[:k]
    return pd.DataFrame(
        {
            "rank": np.arange(1, k + 1),
            "id": [embedded.ids[row] for row in rows[order]],
            "similarity": similarity[order],
        }
    )


def search_each(
    model, dataset: Dataset, sentences: Sequence[str], *, cache_dir: Path, k: int
) -> pd.DataFrame:
    """The answers of `search_images` to several sentences, one after the other, with file."""
    answers = pd.concat(
        search_images(model, dataset, text=text, cache_dir=cache_dir, k=k) for text in sentences
    )
    return answers.assign(file=[dataset.root / path for path in answers["path"]])


def search_images(
    model,
    dataset: Dataset,
    *,
    image: Path | str | None = None,
    text: str | None = None,
    cache_dir: Path,
    k: int | None = None,
    other_patients: bool = False,
) -> pd.DataFrame:
    """Search a data set for what is most like an image, or fits a sentence best.

    An image that is itself in the data set is left out of its own answers.

    Args:
        model: Encoder of images and text (`fetalclip_nb.models.model.Model`).
        dataset: A whole data set; its embeddings are computed once and kept.
        image: Image file; this or ``text``.
        text: Sentence; this or ``image``.
        cache_dir: Folder that all notebooks share.
        k: Images wanted; None for `ANSWERS`, or for all where there are fewer.
        other_patients: Whether all images of the query's patient are left out, where the query
            is in the data set.

    Returns:
        Columns rank, similarity (cosine, -1 to 1), id, label (with the brain sub-plane where
        there is one; "" where the data set has none), patient ("" for plain files) and path
        (relative to the data set), k rows, the most similar first.

    Raises:
        ParameterError: If both or none of image and text are given, or k is out of range.
        ImageError: If the image is missing or cannot be decoded.
    """
    from fetalclip_nb.data.images import read_square
    from fetalclip_nb.models.embed import image_embeddings, prepared_embedding, text_embeddings

    require_one(image, text)
    own = own_ids(dataset, image, whole_patient=other_patients)
    k = wanted(k, len(dataset) - len(own))
    if image is None:
        query = text_embeddings(model, [text], cache_dir=cache_dir)[0]
    else:
        query = prepared_embedding(model, [read_square(Path(image))])[0]
    embedded = image_embeddings(model, dataset, cache_dir=cache_dir)
    found = nearest_images(embedded, query, k, exclude=own)
    table = dataset.table.set_index("id").loc[found["id"]].reset_index()
    return found[["rank", "similarity", "id"]].assign(
        label=_label_texts(table),
        # Of plain files nobody has said whose they are.
        patient="" if dataset.name in PLAIN else table["patient"],
        path=table["path"],
    )


def own_ids(
    dataset: Dataset, image: Path | str | None, *, whole_patient: bool = False
) -> list[str]:
    """Ids of a file (or of no file) in a data set: none, one, or those of its patient."""
    file = image and Path(image).resolve()
    own = dataset.table[[path.resolve() == file for path in dataset.paths]]
    if whole_patient:
        own = dataset.table[dataset.table["patient"].isin(own["patient"])]
    return own["id"].tolist()


def _label_texts(table: pd.DataFrame) -> list[str]:
    columns = [name for name in LABEL_COLUMNS if name in table]
    return [", ".join(filter(None, row)) for row in table[columns].itertuples(index=False)]


def picture(
    found: pd.DataFrame,
    root: Path,
    *,
    image: Path | str | None = None,
    text: str | None = None,
    columns: int = 5,
):
    """A figure of the answers in their order, with label and similarity, after a query image.

    Args:
        found: As given by `search_images`.
        root: Folder of the data set.
        image: The image that was looked for, if it was one.
        text: The sentence that was looked for, if it was one; it becomes the title.
        columns: Images in a row.
    """
    from fetalclip_nb.results import figures

    figures.use_style()
    files = [Path(root) / path for path in found["path"]]
    titles = [f"{row.label}\n{row.similarity:.2f}".strip() for row in found.itertuples()]
    if image is not None:
        files, titles = [Path(image), *files], ["looked for", *titles]
    figure = figures.image_grid(files, titles, columns=min(columns, len(files)))
    if text is not None:
        figure.suptitle("\n".join(textwrap.wrap(text, 70)), y=1.0, va="bottom", fontsize=10)
    return figure


def require_one(image: object, text: str | None) -> None:
    """Refuse a search for nothing, for an empty sentence, or for two things at once."""
    (text or "").encode()  # bytes that are no letters would find something, too
    both = image is not None and text is not None
    if both or (image is None and not (text or "").strip()):
        found = "both" if both else "none" if text is None else "an empty sentence"
        raise ParameterError("Search needs one thing: an image file or a sentence", found=found)


def wanted(k: int | None, available: int, *, where: str = "k") -> int:
    """How many images to find.

    Args:
        k: What was asked for; None for `ANSWERS`, or for all where there are fewer.
        available: Images that can be found.
        where: Name of the parameter, for the message.

    Raises:
        ParameterError: k is below 1 or above what is there, or nothing is there.

    >>> wanted(None, 4), wanted(None, 400), wanted(2, 4)
    (4, 9, 2)
    """
    if available < 1:
        raise ParameterError("There is no image to find beside the query itself", where=where)
    if k is not None and not 1 <= k <= available:
        raise ParameterError(
            "Cannot find that many images", where=where, expected=f"1 to {available}", found=k
        )
    return k or min(ANSWERS, available)
