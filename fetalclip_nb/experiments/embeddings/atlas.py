"""An atlas: a scatter of images that a page shows by itself, without kernel or network.

One HTML fragment holds style, script, points and a sheet of thumbnails. Style and script, which
lie in ``atlas_page/`` beside this module, work in a shadow root: the page's style does not reach
in, and the atlas' own does not reach out.
"""

import hashlib
import html
import io
import json
import math
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from PIL import Image

from fetalclip_nb.data.images import read_square
from fetalclip_nb.errors import ParameterError
from fetalclip_nb.results.figures import COLOURS

COLUMNS = ("x", "y", "id", "label", "prediction")
"""What each point must have; further columns are shown beside its image."""

SIDE = 64
"""Side of the thumbnails in pixels."""

MAX_BYTES = 3_000_000
"""Size that a fragment may have."""

TRIALS = [(SIDE, quality) for quality in (85, 75, 65, 55, 45, 35)]
TRIALS += [(side, 35) for side in range(SIDE - 8, 15, -8)]
"""Sides and JPEG qualities of the thumbnails, tried until they fit: quality is given up first."""

UNLABELLED = "no label"
"""Name of the class of points whose label is empty or missing."""

_GRID = 9999  # positions are whole numbers up to this: finer than any screen


class Atlas:
    """An atlas as a notebook displays it: an HTML fragment.

    Hovering shows an image, a click keeps its class, arrow keys walk. Nothing in it is fetched
    from elsewhere, and its style and script touch nothing outside it, so that several can stand
    on a page. Colours follow the alphabet of the labels, as the book's figures do.

    Args:
        points: One row a point: x and y (any unit, finite), id, label, prediction (may be
            empty), and whatever else is to be shown, by the columns' names.
        paths: Image files, one a row.
        title: What is shown, in a few words.
        limit: Most points shown. Where there are more, each label keeps the same number, as far
            as it has that many, drawn at random; the fragment says how many are shown.
        seed: Of the draw.

    Attributes:
        title: What it shows.
        html: The fragment.

    Raises:
        ParameterError: If the limit is none, or even the smallest thumbnails are too large.
        ImageError: If an image cannot be read.
    """

    def __init__(
        self,
        points: pd.DataFrame,
        paths: Sequence[Path],
        *,
        title: str,
        limit: int = 1500,
        seed: int = 0,
    ) -> None:
        if limit < 1:
            raise ParameterError("Atlas needs at least one image", where="limit", found=limit)
        rows = evenly(points["label"].astype(str).to_numpy(), limit, seed)
        # Drawn in a random order: no class lies on top because it comes last in a table.
        rows = np.random.default_rng(seed).permutation(rows)
        pictures = thumbnails([paths[row] for row in rows])
        content = {"title": title, "total": len(points), **_content(points.iloc[rows])}
        self.title, self.html = title, _fitting(content, pictures)

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        """What a terminal shows."""
        size = len(self.html.encode()) / 1e6
        return f"Atlas: {self.title} ({size:.1f} MB of HTML, shown by a notebook)"


def evenly(labels: np.ndarray, limit: int, seed: int = 0) -> np.ndarray:
    """Rows of at most ``limit`` images, ascending, as many of each label as of any that has more.

    >>> labels = np.array(list("abbbabb"))
    >>> "".join(sorted(labels[evenly(labels, 4)]))
    'aabb'
    """
    if len(labels) <= limit:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    # The k-th image drawn of a label comes before any label's (k+1)-th.
    turn = pd.Series(labels[order]).groupby(labels[order]).cumcount().to_numpy()
    return np.sort(order[np.argsort(turn, kind="stable")[:limit]])


def _fitting(content: dict, pictures: Sequence[Image.Image]) -> str:
    """The fragment with the best thumbnails that fit."""
    for side, quality in TRIALS:
        sheet, columns = contact_sheet(pictures, side, quality)
        page = _fragment({**content, "columns": columns, "side": side}, sheet)
        size = len(page.encode())
        if size <= MAX_BYTES:
            return page
    raise ParameterError(
        "Atlas is too large",
        where="limit",
        expected=f"at most {MAX_BYTES:,} bytes",
        found=f"{size:,} bytes with {len(pictures):,} of the smallest thumbnails",
        fix="lower limit",
    )


def _content(points: pd.DataFrame) -> dict:
    """What the script is told about the points, as JSON has it."""
    labels = pd.Categorical([text or UNLABELLED for text in _texts(points["label"])])
    others = [name for name in points if name not in COLUMNS]
    return {
        "labels": labels.categories.tolist(),
        "colours": [to_hex(colour) for colour in COLOURS],
        "x": _positions(points["x"]),
        "y": _positions(points["y"]),
        "label": labels.codes.tolist(),
        "id": _texts(points["id"]),
        "prediction": _texts(points["prediction"]),
        "others": [[str(name).replace("_", " "), _texts(points[name])] for name in others],
    }


def _positions(values: pd.Series) -> list[int]:
    """Numbers brought to the range of the grid."""
    span = np.ptp(values) or 1.0
    return np.rint((values - values.min()) / span * _GRID).astype(int).tolist()


def _texts(values: pd.Series) -> list[str]:
    """Values as they are shown: numbers with three digits that count, nothing for a gap."""
    return ["" if pd.isna(value) else _text(value) for value in values]


def _text(value: object) -> str:
    if not isinstance(value, (float, np.floating)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _fragment(content: dict, sheet: bytes) -> str:
    folder = resources.files(__package__) / "atlas_page"
    style, script, body = (
        (folder / f"atlas.{kind}").read_text("utf-8") for kind in ("css", "js", "html")
    )
    data = _json({**content, "sheet": f"data:image/jpeg;base64,{b64encode(sheet).decode()}"})
    name = f"atlas-{hashlib.sha256(data.encode()).hexdigest()[:12]}"
    count = f"{len(content['x']):,} of {content['total']:,} images"
    # JupyterLab reads the attribute as "leave the keys to what is in here".
    return f"""<div id="{name}" data-lm-suppress-shortcuts="true">
<p>{html.escape(content["title"])}: {count}. To look at them, open this page with JavaScript.</p>
<template><style>{style}</style>{body}</template>
<script type="application/json">{data}</script>
<script>(() => {{
{script}
showAtlas("{name}");
}})();</script>
</div>"""


def _json(content: dict) -> str:
    """JSON that no HTML parser takes for markup, wherever its texts come from."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def thumbnails(paths: Sequence[Path]) -> list[Image.Image]:
    """Images as the encoder is given them (squares with black borders), made small.

    Returns:
        One image a path, "L" where the file is grey and "RGB" where it is not.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda path: _small(read_square(path), SIDE), paths))


def contact_sheet(pictures: Sequence[Image.Image], side: int, quality: int) -> tuple[bytes, int]:
    """Put thumbnails beside and below each other, row by row, in one JPEG.

    Args:
        pictures: Square images.
        side: Width and height that each is brought to, in pixels; with a multiple of 8 no
            block of the JPEG holds parts of two images that are grey.
        quality: Of the JPEG, 1 to 95.

    Returns:
        The file, and how many thumbnails stand in a row.

    >>> contact_sheet([Image.new("L", (8, 8))] * 5, 8, 75)[1]
    3
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    mode = "L" if all(picture.mode == "L" for picture in pictures) else "RGB"
    sheet = Image.new(mode, (columns * side, rows * side))
    for number, picture in enumerate(pictures):
        sheet.paste(_small(picture, side), (number % columns * side, number // columns * side))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue(), columns


def _small(picture: Image.Image, side: int) -> Image.Image:
    return picture.resize((side, side), Image.Resampling.LANCZOS)
