"""An atlas in Chromium, as a test handles it: what is shown, and the ways to reach it."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

MARGIN, GRID = 16, 9999
"""As atlas.js places the points."""

SETTLED = """async () => {
    if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
    await document.fonts.ready;
}"""


@contextmanager
def chromium() -> Iterator:
    """Chromium, driven by playwright; a test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        must = "FETALCLIP_NB_BOOK" in os.environ
        (pytest.fail if must else pytest.skip)("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a local server of a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def page_without_network(browser, url: str, *, until: str = "load", **settings) -> Iterator:
    """A page whose other requests are refused, and whose network is cut once it is loaded.

    Whatever it asks for elsewhere, throws or logs as an error fails the test. A page of the book
    goes on loading after its ``load`` event: it is cut off ``until="networkidle"``.
    """
    problems = []
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
    own = url[: url.index("/", len("http://")) + 1]

    def refuse_foreign(route) -> None:
        if route.request.url.startswith((own, "data:")):
            route.continue_()
        else:
            problems.append(f"requests {route.request.url}")
            route.abort()

    context.route("**/*", refuse_foreign)
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(f"throws {error}"))
    page.on("console", lambda line: line.type == "error" and problems.append(f"logs {line.text}"))
    assert page.goto(url, wait_until="load").ok, f"no page {url}"
    page.evaluate(SETTLED)
    page.wait_for_load_state(until)
    context.set_offline(True)
    yield page
    context.close()
    assert not problems, "\n".join(problems)


class AtlasPage:
    """One of the atlases on a page."""

    def __init__(self, page, number: int = 0) -> None:
        self.page = page
        self.host = page.locator("div[id^='atlas-'][data-lm-suppress-shortcuts]").nth(number)
        self.stage, self.card = self.host.locator(".stage"), self.host.locator(".card")
        self.buttons = self.host.locator(".legend button")
        self.stage.wait_for()
        self.data = self.host.evaluate(
            """host => {
                const text = host.querySelector("script[type='application/json']").textContent;
                return {...JSON.parse(text), sheet: null};
            }"""
        )

    @property
    def shown(self) -> dict[str, str]:
        """What the card says; empty where none is open."""
        if "on" not in self.card.get_attribute("class").split():
            return {}
        names, texts = (self.card.locator(tag).all_text_contents() for tag in ("dt", "dd"))
        return dict(zip(names, texts, strict=True))

    @property
    def pressed(self) -> list[str]:
        """Names on the legend's pressed buttons, without their counts."""
        found = self.host.locator(".legend button[aria-pressed='true']").all_text_contents()
        return [text.rsplit(" ", 1)[0] for text in found]

    @property
    def count(self) -> str:
        """The line below the title."""
        return self.host.locator(".count").text_content()

    @property
    def said(self) -> str:
        """What a screen reader was told last."""
        return self.host.locator("[aria-live]").text_content()

    def places(self) -> np.ndarray:
        """Pixels of the points in the plot, shape (N, 2)."""
        box = self.stage.bounding_box()
        x, y = (np.array(self.data[axis]) / GRID for axis in "xy")
        inside = np.array([box["width"], box["height"]]) - 2 * MARGIN
        return MARGIN + np.stack([x, 1 - y], axis=1) * inside

    def at(self, point: int) -> tuple[float, float]:
        """Pixels of a point in the window."""
        self.stage.scroll_into_view_if_needed()
        box = self.stage.bounding_box()
        x, y = self.places()[point]
        return box["x"] + x, box["y"] + y

    def alone(self, label: str) -> int:
        """The point of a label that lies farthest from all others."""
        places = self.places()
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        code = self.data["labels"].index(label)
        return int(np.where(np.array(self.data["label"]) == code, apart.min(1), -1).argmax())

    def hover(self, point: int) -> None:
        """Move the mouse to a point."""
        self.page.mouse.move(*self.at(point))

    def click(self, point: int) -> None:
        """Click a point."""
        self.page.mouse.click(*self.at(point))

    def colour(self, point: int) -> tuple[int, ...]:
        """Red, green and blue that the plot has at a point."""
        x, y = self.places()[point]
        return tuple(
            self.stage.locator("canvas").evaluate(
                """(canvas, [x, y]) => {
                    const scale = canvas.width / canvas.clientWidth;
                    const pixel = canvas.getContext("2d").getImageData(x * scale, y * scale, 1, 1);
                    return [...pixel.data.slice(0, 3)];
                }""",
                [float(x), float(y)],
            )
        )


def check_all(page, number: int = 0) -> None:
    """Hover, filter and keys of an atlas on any page; it must not have been touched before."""
    atlas = AtlasPage(page, number)
    check_hover(atlas)
    check_filter(atlas)
    check_keys(atlas)


def check_hover(atlas: AtlasPage) -> None:
    """A point of each label shows its own label, prediction and name."""
    for label in atlas.data["labels"]:
        point = atlas.alone(label)
        atlas.hover(point)
        assert atlas.shown["label"] == label
        assert atlas.shown.get("prediction", "") == atlas.data["prediction"][point]
        assert atlas.shown["image"] == atlas.data["id"][point]
    atlas.page.mouse.move(0, 0)
    assert atlas.shown == {}


def check_filter(atlas: AtlasPage) -> None:
    """A click on a point and one on the legend keep a class; the same click shows all again."""
    first, last = atlas.data["labels"][0], atlas.data["labels"][-1]
    point, other = atlas.alone(first), atlas.alone(last)
    whole, colour = atlas.count, atlas.colour(other)
    atlas.click(point)
    assert atlas.pressed == [first] and atlas.count.startswith(f"only {first}: ")
    if first != last:
        faint = atlas.colour(other)
        assert faint != colour and max(faint) - min(faint) < 20  # grey
        atlas.page.mouse.move(0, 0)
        atlas.hover(other)
        assert atlas.shown.get("label", first) == first
    atlas.click(point)
    assert atlas.pressed == ["all"] and atlas.count == whole and atlas.colour(other) == colour
    for _, expected in ((1, [last]), (2, ["all"])):
        atlas.buttons.last.click()
        assert atlas.pressed == expected


def check_keys(atlas: AtlasPage) -> None:
    """Tab leads through legend and plot, arrows walk, Enter keeps a class, Escape shows all."""
    press = atlas.page.keyboard.press
    atlas.buttons.first.focus()
    for _ in range(atlas.buttons.count()):
        press("Tab")
    assert atlas.stage.evaluate("stage => stage.matches(':focus-visible')")
    assert atlas.stage.evaluate("stage => getComputedStyle(stage).outlineStyle") != "none"
    seen = {atlas.said}
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        press(key)
        seen.add(atlas.said)
        assert atlas.shown["image"] in atlas.said
    assert len(seen) > 2
    label = atlas.shown["label"]
    press("Enter")
    assert atlas.pressed == [label] and f"only {label}" in atlas.said
    press("Escape")
    assert atlas.pressed == ["all"]
