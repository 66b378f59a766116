"""The atlas as a piece of HTML; what a browser makes of it is in test_atlas_browser.py."""

import base64
import html.parser
import io
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fetalclip_nb.errors import ImageError, ParameterError
from fetalclip_nb.experiments.embeddings import atlas
from fetalclip_nb.experiments.embeddings.atlas import (
    SIDE,
    Atlas,
    evenly,
    thumbnails,
)
from helpers import write_image


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    """Thirty noisy images."""
    folder = tmp_path_factory.mktemp("images")
    found = [folder / f"{i}.png" for i in range(30)]
    for seed, path in enumerate(found):
        write_image(path, (90, 60), seed=seed)
    return found


@pytest.fixture
def points() -> pd.DataFrame:
    """Ten brains, fifteen hearts, five cervices."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "x": rng.normal(size=30),
            "y": rng.normal(size=30),
            "id": [f"image {i}" for i in range(30)],
            "label": ["brain"] * 10 + ["heart"] * 15 + ["cervix"] * 5,
            "prediction": ["brain", ""] * 15,
        }
    )


def fragment(points, paths, *, title="x", **settings) -> str:
    return Atlas(points, paths, title=title, **settings).html


class Scripts(html.parser.HTMLParser):
    """What a browser's parser takes for the scripts and tags of a fragment."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.tags, self.scripts, self._inside = [], [], False
        self.feed(fragment)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, text):
        if self._inside:
            self.scripts[-1] += text


def content(fragment: str) -> dict:
    """What the script is told."""
    return json.loads(Scripts(fragment).scripts[0])


def sheet(fragment: str) -> Image.Image:
    """The thumbnails."""
    kind, _, data = content(fragment)["sheet"].partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_fragment_holds_every_point_once_with_its_own_facts(points, paths):
    told = content(fragment(points, paths, title="Planes"))
    assert told["title"] == "Planes" and told["total"] == 30
    assert told["labels"] == ["brain", "cervix", "heart"]
    table = points.set_index("id")
    assert sorted(told["id"]) == sorted(table.index)
    for i, name in enumerate(told["id"]):
        assert told["labels"][told["label"][i]] == table["label"][name]
        assert told["prediction"][i] == table["prediction"][name]
        for axis in "xy":
            span = points[axis].max() - points[axis].min()
            back = points[axis].min() + told[axis][i] / 9999 * span
            assert back == pytest.approx(table[axis][name], abs=span / 9999)


def test_thumbnails_are_those_of_their_points(points, paths):
    made = fragment(points, paths)
    told, pictures = content(made), sheet(made)
    side = told["side"]
    assert side == SIDE and pictures.mode == "L"
    expected = dict(zip(points["id"], thumbnails(paths), strict=True))
    for number, name in enumerate(told["id"]):
        column, row = number % told["columns"], number // told["columns"]
        left, top = side * column, side * row
        cut = pictures.crop((left, top, left + side, top + side))
        distance = {
            other: np.abs(np.asarray(cut, float) - np.asarray(image, float)).mean()
            for other, image in expected.items()
        }
        assert min(distance, key=distance.get) == name


def test_points_are_drawn_in_a_random_order_that_the_seed_decides(points, paths):
    first, again, other = (fragment(points, paths, title="Planes", seed=seed) for seed in (0, 0, 1))
    assert first == again
    told = content(first)
    # In the table's order the classes would form three blocks.
    assert (np.diff(told["label"]) != 0).sum() > 5
    assert content(other)["id"] != told["id"]


def test_points_without_label_have_a_class_of_their_own(points, paths):
    points.loc[:1, "label"] = ["", None]
    told = content(fragment(points, paths))
    assert told["labels"] == ["brain", "cervix", "heart", "no label"]
    assert Counter(told["label"])[3] == 2


def test_further_columns_are_shown_as_a_reader_writes_them(points, paths):
    points["us_machine"] = ["Aloka", None, *["Voluson"] * 28]
    points["confidence"] = np.float32([0.123456, np.nan, 12345.6, *[1] * 27])
    told = content(fragment(points, paths))
    assert [name for name, _ in told["others"]] == ["us machine", "confidence"]
    shown = {name: dict(zip(told["id"], texts, strict=True)) for name, texts in told["others"]}
    assert [shown["us machine"][f"image {i}"] for i in range(3)] == ["Aloka", "", "Voluson"]
    assert [shown["confidence"][f"image {i}"] for i in range(4)] == ["0.123", "", "12,346", "1"]


def test_one_point_and_equal_points_have_a_place(points, paths):
    assert content(fragment(points[:1], paths[:1]))["x"] == [0]
    points["y"] = 3.0
    assert content(fragment(points, paths))["y"] == [0] * 30


def test_fragment_says_how_many_of_how_many_it_shows(points, paths):
    made = fragment(points, paths, title="Planes", limit=12)
    told = content(made)
    assert "12 of 30 images" in made and told["total"] == 30 and len(told["id"]) == 12
    assert Counter(told["labels"][code] for code in told["label"]) == dict.fromkeys(
        ("brain", "heart", "cervix"), 4
    )
    assert told != content(fragment(points, paths, title="Planes", limit=12, seed=1))


@pytest.mark.parametrize("limit", [1, 2, 7, 13, 14, 29, 30, 31])
def test_evenly_gives_each_label_as_many_as_any_that_has_more(limit):
    labels = np.array(["b"] * 10 + ["a"] * 18 + ["c"] * 2)
    rows = evenly(labels, limit, seed=3)
    assert len(rows) == len(set(rows)) == min(limit, 30) and (np.diff(rows) > 0).all()
    kept, have = Counter(labels[rows]), Counter(labels)
    most = max(kept.values())
    assert all(kept[name] >= min(have[name], most - 1) for name in have)


def test_quality_then_size_give_way_until_the_fragment_fits(points, paths, monkeypatch):
    whole = fragment(points, paths)
    sizes = [len(whole)]
    for share in (0.8, 0.6, 0.45):
        monkeypatch.setattr(atlas, "MAX_BYTES", int(share * len(whole)))
        made = fragment(points, paths)
        sizes.append(len(made.encode()))
        assert sizes[-1] <= share * len(whole) and sizes[-1] < sizes[-2]
    assert content(whole)["side"] == SIDE > content(made)["side"]
    monkeypatch.setattr(atlas, "MAX_BYTES", 9000)
    with pytest.raises(ParameterError, match=r"too large.*limit.*at most 9,000 bytes.*limit"):
        fragment(points, paths)


def test_colour_images_stay_coloured(points, paths, tmp_path):
    red = Image.new("RGB", (20, 20), (200, 30, 30))
    red.putpixel((0, 0), (0, 0, 0))  # an image of one value is refused
    red.save(tmp_path / "red.png")
    made = fragment(points[:4], [tmp_path / "red.png", *paths[:3]])
    place = content(made)["id"].index("image 0")
    pixel = sheet(made).getpixel((place % 2 * 64 + 32, place // 2 * 64 + 32))
    assert pixel[0] - pixel[1] > 150


def test_texts_of_the_user_are_never_markup(points, paths):
    nasty = ["</script><script>bad()</script>", "<img src=x onerror=bad()>", "<!--<script>", "a&b"]
    for column in ("id", "label", "prediction"):
        points[column] = [nasty[i % 4] for i in range(30)]
    points["<b>machine"] = points["label"]
    plain = Scripts(fragment(points[:0:-1], paths[1:]))
    found = Scripts(fragment(points, paths, title=nasty[0]))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    assert len(found.scripts) == 2 and not any("bad()" in text for text in found.scripts[1:])
    told = json.loads(found.scripts[0])
    assert told["title"] == nasty[0] and told["labels"] == sorted(nasty)
    assert not re.search(r"[<>&]", found.scripts[0])


def test_fragment_names_no_other_place(points, paths):
    made = fragment(points, paths)
    assert set(re.findall(r"\w+://[^\"'\s]*", made)) == {"http://www.w3.org/2000/svg"}
    attributes = {name for _, given in Scripts(made).tags for name in given}
    assert not attributes & {"src", "href", "srcset", "onclick"}
    assert "@import" not in made and str(paths[0].parent) not in made


def test_object_is_shown_by_notebooks_and_named_by_terminals(points, paths):
    shown = Atlas(points, paths, title="Planes", limit=12)
    assert shown._repr_html_() == shown.html == fragment(points, paths, title="Planes", limit=12)
    assert re.fullmatch(r"Atlas: Planes \(0\.\d MB of HTML, shown by a notebook\)", repr(shown))


def test_an_atlas_of_nothing_is_refused(points, paths):
    with pytest.raises(ParameterError, match="at least one image.*limit.*0"):
        fragment(points, paths, limit=0)


def test_missing_image_is_named(points, paths):
    with pytest.raises(ImageError, match="gone.png"):
        fragment(points, [*paths[:-1], Path("gone.png")])
