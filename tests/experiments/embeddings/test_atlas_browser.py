"""The atlas in Chromium: a local file server, then no network at all."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from atlas_page import AtlasPage, check_all, chromium, page_without_network, served
from fetalclip_nb.experiments.embeddings.atlas import Atlas

PAGE = "<!doctype html><html lang=en><meta charset=utf-8><title>t</title>{}<body>{}</body></html>"
PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}
SCALE = "<meta name=viewport content='width=device-width, initial-scale=1'>"
# What a page may do to elements: none of it may reach an atlas.
HOSTILE = "<style>* {color: red !important} button, canvas, dl {display: none !important}</style>"
NASTY = ("</script><script>hacked=1</script>", "<img src=x onerror=hacked=1>", "a & b &lt;")


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


def grey(number: int) -> int:
    return 40 + 5 * number


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[pd.DataFrame, list[Path]]:
    """Forty points, twenty pixels apart or more; each image has a grey of its own."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{i}.png" for i in range(40)]
    for number, path in enumerate(paths):
        image = Image.new("L", (20, 20), grey(number))
        image.putpixel((0, 0), 0)  # an image of one value is refused
        image.save(path)
    rng = np.random.default_rng(0)
    x, y = np.divmod(rng.permutation(64)[:40], 8) + rng.uniform(-0.2, 0.2, (2, 40))
    names = ["abdomen", "brain", "heart"]
    points = pd.DataFrame(
        {
            "x": x,
            "y": y,
            "id": [f"image{i}" for i in range(40)],
            "label": rng.choice(names, 40),
            "prediction": rng.choice(names, 40),
            "machine": ["Voluson E6", ""] * 20,
        }
    )
    return points, paths


@pytest.fixture(scope="module")
def site(made, tmp_path_factory) -> str:
    """Pages with one atlas, two, the same twice among hostile rules, and hostile labels."""
    folder = tmp_path_factory.mktemp("site")
    points, paths = made
    one = Atlas(points, paths, title="One").html
    half = Atlas(points[:20].assign(label="femur"), paths[:20], title="Two").html
    labels = [NASTY[i % 3] for i in range(40)]
    bad = points.assign(label=labels, prediction=labels, id=labels, machine=labels)
    pages = {
        "one": (SCALE, one),
        "two": ("", one + half),
        "twice": (HOSTILE, one + one),
        "nasty": ("", Atlas(bad, paths, title=NASTY[0]).html),
        "some": ("", Atlas(points, paths, title="Some", limit=12).html),
        "empty": ("", "<main></main>"),
    }
    for name, (head, body) in pages.items():
        (folder / f"{name}.html").write_text(PAGE.format(head, body), "utf-8")
    with served(folder) as address:
        yield address


@pytest.mark.parametrize(
    ("name", "whole", "kept"),
    [
        ("one", "40 images", "only abdomen: {} images of 40"),
        (
            "some",
            "12 of 40 images; classes with many images are thinned out",
            "only abdomen: {} images (12 of 40 are drawn)",
        ),
    ],
)
def test_what_is_shown_is_counted(browser, site, name, whole, kept):
    with page_without_network(browser, f"{site}/{name}.html") as page:
        atlas = AtlasPage(page)
        assert atlas.count == whole
        atlas.buttons.nth(1).click()
        drawn = atlas.data["label"].count(0)
        assert drawn > 1 and atlas.count == kept.format(drawn) and atlas.said == atlas.count


def test_card_shows_the_image_and_what_is_known_of_it_inside_the_atlas(browser, site, made):
    with page_without_network(browser, f"{site}/one.html") as page:
        atlas = AtlasPage(page)
        frame = atlas.host.bounding_box()
        for point in range(0, 40, 5):
            atlas.hover(point)
            number = int(atlas.shown["image"].removeprefix("image"))
            assert atlas.shown["image"] == atlas.data["id"][point]
            assert atlas.shown.get("machine", "") == made[0]["machine"][number]
            picture = Image.open(io.BytesIO(atlas.card.locator(".picture").screenshot()))
            middle = np.asarray(picture.convert("L"))[40:-40, 40:-40]
            assert np.abs(middle.astype(int) - grey(number)).max() <= 3
            card = atlas.card.bounding_box()
            for start, size in (("x", "width"), ("y", "height")):
                assert frame[start] <= card[start]
                assert card[start] + card[size] <= frame[start] + frame[size]
            assert not card["x"] <= atlas.at(point)[0] <= card["x"] + card["width"]


def test_arrows_walk_to_the_nearest_point_in_their_direction(browser, site):
    with page_without_network(browser, f"{site}/one.html") as page:
        atlas = AtlasPage(page)
        atlas.buttons.last.focus()
        page.keyboard.press("Tab")
        places = atlas.places()
        names = atlas.data["id"]
        box = atlas.stage.bounding_box()
        middle = np.array([box["width"], box["height"]]) / 2
        assert atlas.shown["image"] == names[np.linalg.norm(places - middle, axis=1).argmin()]
        arrows = {"Right": (1, 0), "Left": (-1, 0), "Up": (0, -1), "Down": (0, 1)}
        for key in ("Right", "Up", "Right", "Right", "Right", "Down", "Left", "Up", "Up", "Up"):
            before = names.index(atlas.shown["image"])
            page.keyboard.press(f"Arrow{key}")
            expected = walk_by_hand(places, before, np.array(arrows[key]))
            assert names.index(atlas.shown["image"]) == expected, key


def walk_by_hand(places: np.ndarray, start: int, way: np.ndarray) -> int:
    """The nearest point within 45 degrees, else the nearest ahead, else the point itself."""
    found = {}
    for i, place in enumerate(places):
        step = place - places[start]
        along, across = step @ way, abs(step @ way[::-1])
        if along > 0:
            found[i] = (across > along, np.hypot(along, across))
    return min(found, key=found.get, default=start)


def test_arrows_stay_in_the_class_that_is_kept(browser, site):
    with page_without_network(browser, f"{site}/one.html") as page:
        atlas = AtlasPage(page)
        atlas.buttons.nth(2).click()
        for _ in range(2):
            page.keyboard.press("Tab")
        seen = set()
        for key in ("Left", "Up", "Right", "Down") * 4:
            page.keyboard.press(f"Arrow{key}")
            seen.add(atlas.shown["image"])
            assert atlas.shown["label"] == atlas.data["labels"][1]
        assert len(seen) > 3
        page.keyboard.press("Escape")
        assert atlas.pressed == ["all"] and atlas.shown
        page.keyboard.press("Escape")
        assert atlas.shown == {}


def test_plot_lets_go_of_keys_that_it_does_not_need(browser, site):
    with page_without_network(browser, f"{site}/one.html") as page:
        atlas = AtlasPage(page)
        page.evaluate(
            "addEventListener('keydown', e => { window.keys = (window.keys || '') + e.key; })"
        )
        atlas.buttons.last.focus()
        for key in ("Tab", "ArrowRight", "Enter", "Escape", "k"):
            page.keyboard.press(key)
        assert page.evaluate("keys") == "Tabk"


@pytest.mark.parametrize("name", ["two", "twice"])
def test_two_atlases_do_not_disturb_each_other(browser, site, name):
    with page_without_network(browser, f"{site}/{name}.html") as page:
        check_all(page, 1)
        first, second = AtlasPage(page, 0), AtlasPage(page, 1)
        first.buttons.nth(1).click()
        assert first.pressed != ["all"] and second.pressed == ["all"]
        first.buttons.nth(0).click()
        check_all(page, 0)
        title = second.host.locator(".title")
        assert title.evaluate("e => getComputedStyle(e.parentElement).color") == "rgb(29, 43, 51)"


def test_hostile_labels_stay_text(browser, site):
    with page_without_network(browser, f"{site}/nasty.html") as page:
        atlas = AtlasPage(page)
        texts = [text.rsplit(" ", 1)[0] for text in atlas.buttons.all_text_contents()]
        assert texts == ["all", *sorted(NASTY)]
        atlas.hover(atlas.alone(NASTY[0]))
        assert set(atlas.shown.values()) == {NASTY[0]}
        assert atlas.host.locator(".title").text_content() == NASTY[0]
        assert page.evaluate("typeof hacked") == "undefined"


def test_phone_tap_shows_and_a_second_tap_keeps_the_class(browser, site):
    with page_without_network(browser, f"{site}/one.html", **PHONE) as page:
        atlas = AtlasPage(page)
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
        point = atlas.alone("heart")
        x, y = atlas.at(point)
        # A finger that trembles has not yet been lifted: it must not count as a first tap.
        atlas.stage.dispatch_event(
            "pointermove", {"pointerType": "touch", "clientX": x, "clientY": y}
        )
        assert atlas.shown == {}
        page.touchscreen.tap(x, y)
        assert atlas.shown["image"] == atlas.data["id"][point] and atlas.pressed == ["all"]
        plot, card = atlas.stage.bounding_box(), atlas.card.bounding_box()
        assert card["y"] >= plot["y"] + plot["height"] and card["x"] + card["width"] <= 390
        page.touchscreen.tap(*atlas.at(point))
        assert atlas.pressed == ["heart"] and atlas.shown["label"] == "heart"


def test_plot_follows_the_width_of_the_page(browser, site):
    with page_without_network(browser, f"{site}/one.html") as page:
        atlas = AtlasPage(page)
        page.set_viewport_size({"width": 700, "height": 900})
        page.wait_for_function("host => host.clientWidth < 700", arg=atlas.host.element_handle())
        point = atlas.alone("brain")
        colour = atlas.colour(point)
        atlas.hover(point)
        assert atlas.shown["label"] == "brain" and min(colour) < 200


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_where_less_motion_is_asked_for(browser, site, motion, moves):
    with page_without_network(browser, f"{site}/one.html", reduced_motion=motion) as page:
        button = AtlasPage(page).buttons.first
        seconds = button.evaluate("b => parseFloat(getComputedStyle(b).transitionDuration)")
        assert (seconds > 0) == moves


def test_script_waits_for_an_output_that_is_not_yet_in_the_page(browser, site, made):
    """A notebook fills an output, runs its scripts, and only then puts it into its page."""
    points, paths = made
    with page_without_network(browser, f"{site}/empty.html") as page:
        page.evaluate(
            """text => {
                const output = document.createElement("div");
                output.innerHTML = text;
                for (const old of output.querySelectorAll("script")) {
                    const script = document.createElement("script");
                    script.type = old.type;
                    script.textContent = old.textContent;
                    old.replaceWith(script);
                    if (!old.type) { document.head.append(script); script.remove(); }
                }
                setTimeout(() => document.querySelector("main").append(output), 300);
            }""",
            Atlas(points, paths, title="Late").html,
        )
        check_all(page)
