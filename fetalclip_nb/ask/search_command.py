"""``fetalclip-nb search``: the images of a folder that fit a sentence, or resemble an image.

Torch is imported only when the words of the command have been checked.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fetalclip_nb.ask import answers
from fetalclip_nb.errors import listing
from fetalclip_nb.memory import add_verify, remember_in
from fetalclip_nb.paths import project_root, resolve, shown

if TYPE_CHECKING:
    import pandas as pd

_SAME = 0.9999  # cosine from which two files are taken to hold one picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb search``."""
    parser.add_argument("folder", metavar="FOLDER", help="a data set, or a folder of images")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="SENTENCE", help="what the images should show")
    query.add_argument("--image", metavar="FILE", help="image whose like is looked for")
    parser.add_argument("--k", type=int, help="images to find (default: 9, or all of fewer)")
    add_verify(parser)
    answers.add_options(parser, shown="the images, too")


def main(options: argparse.Namespace) -> int:
    """Search a folder whose embeddings are computed once and kept.

    Standard output carries the answer and nothing else; notes go to standard error. A query
    image that lies in the folder is left out of the answer.
    """
    from fetalclip_nb.ask import search
    from fetalclip_nb.data.images import read_image
    from fetalclip_nb.data.own_images import open_folder

    search.require_one(options.image, options.text)
    image = resolve(options.image) if options.image is not None else None
    if image is not None:
        read_image(image)
    cache = project_root() / "build" / "cache"
    remember_in(cache, verify=options.verify)
    dataset = open_folder(resolve(options.folder))
    if options.picture:
        answers.require_picture(
            options.picture, "--picture", inputs=[*dataset.paths, image or Path()]
        )
    own = search.own_ids(dataset, image)
    k = search.wanted(options.k, len(dataset) - len(own), where="--k")

    model = answers.asked_model(options)
    query = {"image": image, "text": options.text}
    nearest = search.search_images(model, dataset, **query, cache_dir=cache, k=k)
    paths = [shown(dataset.root / path, Path.cwd()) for path in nearest["path"]]
    sys.stdout.write(formatted(nearest.assign(path=paths), options.format or "table"))
    if options.picture:
        draw = partial(search.picture, nearest, dataset.root, **query)
        answers.save_picture(options.picture, draw)
    near = zip(paths, nearest["similarity"], strict=True) if image is not None else ()
    same = [path for path, similarity in near if similarity >= _SAME]
    answers.note(
        model.source,
        f"Left out, as it is the query itself: {listing(own)}." if own else "",
        f"Similarity of at least {_SAME}: the same picture? {listing(same)}" if same else "",
    )
    return 0


def formatted(nearest: "pd.DataFrame", form: str) -> str:
    """Answers of `search_images` as a "table" to read, "json" (a list of objects) or "csv"."""
    if form == "csv":
        return nearest.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    if form == "json":
        records = nearest.assign(similarity=nearest["similarity"].astype(float).round(4))
        return json.dumps(records.to_dict("records"), indent=1, ensure_ascii=False) + "\n"
    said = [name for name in nearest if name not in ("id", "patient")]
    filled = [name for name in said if nearest[name].astype(str).str.strip().any()]
    return nearest[filled].to_string(index=False, float_format="%.4f".__mod__) + "\n"
