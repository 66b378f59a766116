"""``fetalclip-nb search``: the images of a folder that fit a sentence, or resemble an image.

Torch is imported only when the words of the command have been checked.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fetalclip_nb.ask.answers import FORMATS, caveats, require_picture, shown_path
from fetalclip_nb.errors import listing
from fetalclip_nb.paths import project_root, resolve

if TYPE_CHECKING:
    import pandas as pd

_SAME = 0.9999  # cosine from which two files are taken to hold one picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fetalclip-nb search``."""
    parser.add_argument("folder", metavar="FOLDER", help="a data set, or a folder of images")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar="SENTENCE", help="what the images should show")
    query.add_argument("--image", metavar="FILE", help="image whose like is looked for")
    parser.add_argument("--model", default="phantomclip", help="(default: phantomclip)")
    parser.add_argument("--k", type=int, help="images to find (default: 9, or all of fewer)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="(default: table)")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="write the images, too (.png, .pdf)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", help="auto, fp32, tf32 or bf16")


def main(options: argparse.Namespace) -> int:
    """Search a folder whose embeddings are computed once and kept.

    Standard output carries the answer and nothing else; notes go to standard error. A query
    image that lies in the folder is left out of the answer.

    Raises:
        ParameterError: Nothing or two things to look for, more images asked for than there are,
            a picture that cannot be written.
        DataError: A folder that is missing, empty or no whole data set.
        ImageError: Images that are missing or damaged.
        ModelError: A model that cannot be loaded.
    """
    from fetalclip_nb.ask import search
    from fetalclip_nb.data.images import read_image
    from fetalclip_nb.data.own_images import open_folder

    search.require_one(options.image, options.text)
    if options.picture:
        require_picture(options.picture, "--picture")
    image = resolve(options.image) if options.image is not None else None
    if image is not None:
        read_image(image)
    dataset = open_folder(resolve(options.folder))
    if options.picture:
        require_picture(options.picture, "--picture", inputs=[*dataset.paths, image or Path()])
    own = search.own_ids(dataset, image) if image is not None else []
    k = search.wanted(options.k, len(dataset) - len(own), where="--k")

    from fetalclip_nb.models.model import load_model

    model = load_model(options.model, device=options.device, precision=options.precision)
    cache = project_root() / "build" / "cache"
    query = {"image": image, "text": options.text}
    found = search.search_images(model, dataset, **query, cache_dir=cache, k=k)
    paths = [shown_path(dataset.root / path) for path in found["path"]]
    sys.stdout.write(formatted(found.assign(path=paths), options.format))
    if options.picture:
        import matplotlib as mpl

        mpl.use("Agg")  # a file is written: no window, on machines without a display too
        search.picture(found, dataset.root, **query).savefig(options.picture)
    same = found["similarity"] >= _SAME if image is not None else [False] * len(found)
    _note(model.source, own, [path for path, equal in zip(paths, same, strict=True) if equal])
    return 0


def formatted(found: "pd.DataFrame", form: str) -> str:
    """Answers as text.

    Args:
        found: As given by `search.search_images`.
        form: "table" (to read), "json" (a list of objects) or "csv".

    Returns:
        Text that ends with a newline; similarities with four decimals.
    """
    if form == "csv":
        return found.to_csv(index=False, float_format="%.4f", lineterminator="\n")
    if form == "json":
        records = found.assign(similarity=found["similarity"].astype(float).round(4))
        return json.dumps(records.to_dict("records"), indent=1, ensure_ascii=False) + "\n"
    said = [name for name in found if name not in ("id", "patient")]
    filled = [name for name in said if found[name].astype(str).str.strip().any()]
    return found[filled].to_string(index=False, float_format="%.4f".__mod__) + "\n"


def _note(source: str, own: list[str], same: list[str]) -> None:
    """Say on standard error what a reader of the answer has to know."""
    if own:
        print(f"Left out, as it is the query itself: {listing(own)}.", file=sys.stderr)
    if same:
        print(f"Similarity of at least {_SAME}: the same picture? {listing(same)}", file=sys.stderr)
    print("\n".join(caveats(source)), file=sys.stderr)
