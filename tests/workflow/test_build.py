"""The book: a miniature built here, and the real one as a reader's browser sees it."""

import os
import re
from pathlib import Path

import pytest

from atlas_page import check_all, chromium, page_without_network, served
from fetalclip_nb.errors import NotebookError
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.workflow import build
from fetalclip_nb.workflow.runner import require_success, run_profile
from tiny import TOC, checkout


@pytest.fixture
def miniature(tmp_path, monkeypatch, repository) -> Path:
    """A checkout of two pages whose notebook has been executed."""
    pytest.importorskip("jupyter_book")
    monkeypatch.chdir(checkout(tmp_path, repository))
    require_success(run_profile(load_profile("demo")))
    return tmp_path


def test_book_shows_executed_text_and_offers_the_source(miniature):
    profile = load_profile("demo")
    index = build.build_book(profile)
    page = (index.parent / "notebooks/one.html").read_text()
    assert "answer 84" in page and 'alt="a line"' in page and "Fig. 1" in page
    assert "83.4 %" in (index.parent / "book/intro.html").read_text()
    # The record of texts is no output of the page.
    assert "headline" not in page and page.count("cell_output") == 2
    # The download is the committed notebook: no outputs in it.
    assert "answer 84" not in (index.parent / "_sources/notebooks/one.ipynb").read_text()
    assert "bd-header-announcement" not in page  # this profile is not synthetic
    assert not re.search(r'(src|href)="(https?:)?//(?!doi|github|jupyterbook)', page)
    _run_with_count(miniature, 3)
    build.build_book(load_profile("demo"))
    assert "answer 126" in (index.parent / "notebooks/one.html").read_text()


def test_synthetic_profile_puts_its_note_on_every_page(miniature):
    path = miniature / "profiles/demo.yaml"
    phantoms = "data: {hc18: {kind: hc18, root: x, phantoms: {patients: 1, seed: 0}}}"
    path.write_text(
        path.read_text().replace("data: {}", phantoms) + "description: Phantoms & co only.\n"
    )
    index = build.build_book(load_profile("demo"))
    for page in ("book/intro.html", "notebooks/one.html", "search.html", "genindex.html"):
        text = (index.parent / page).read_text()
        assert "<strong>Demo profile.</strong> Phantoms &amp; co only." in text


def test_missing_executed_notebook_fails_at_the_gate_and_in_sphinx(miniature, capfd):
    (miniature / "build/demo/notebooks/one.ipynb").unlink()
    with pytest.raises(NotebookError, match="one: has not been executed"):
        build.build_book(load_profile("demo"))
    output = miniature / "build/demo/book"
    with pytest.raises(NotebookError, match="not built"):
        build._run_jupyter_book(miniature, output, load_profile("demo"))
    assert "no executed notebook build/demo/notebooks/one.ipynb" in capfd.readouterr().err
    # A second try must not pass because Sphinx remembers the page.
    with pytest.raises(NotebookError, match="not built"):
        build._run_jupyter_book(miniature, output, load_profile("demo"))


def _run_with_count(folder: Path, count: int) -> None:
    path = folder / "profiles/demo.yaml"
    path.write_text(path.read_text().replace("one: {}", f"one: {{count: {count}}}"))
    require_success(run_profile(load_profile("demo")))


def test_notebook_pages_are_read_from_the_table_of_contents(repository, tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text(TOC + "parts: [{chapters: [{file: notebooks/b, sections: [{file: book/c}]}]}]\n")
    assert build.notebook_pages(toc) == ["one", "b"]
    assert build.notebook_pages(repository / "book/_toc.yml")[0] == "00_quickstart"


def test_every_folder_has_its_api_page_in_the_contents(repository, monkeypatch):
    monkeypatch.syspath_prepend(repository / "book" / "_ext")
    import api_pages

    listed = re.findall(r"file: book/api/(\w+)", (repository / "book/_toc.yml").read_text())
    made = [api_pages.page_name(folder) for folder in api_pages.folders()]
    assert sorted(listed) == sorted(made)
    text = "".join(api_pages.page(folder) for folder in api_pages.folders())
    shown = re.findall(r"automodule:: (\S+)", text)
    modules = {
        ".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__")
        for path in (repository / "fetalclip_nb").rglob("*.py")
    }
    assert len(shown) == len(set(shown)) and set(shown) == modules


# The real book in a browser. FETALCLIP_NB_BOOK names its html folder and makes it compulsory.


@pytest.fixture(scope="module")
def html(repository) -> Path:
    """The folder of the built book."""
    given = os.environ.get("FETALCLIP_NB_BOOK")
    folder = Path(given) if given else repository / "build/demo/book/_build/html"
    if not (folder / "index.html").is_file():
        (pytest.fail if given else pytest.skip)(f"no book at {folder}; run `make book`")
    return folder


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(html) -> str:
    """A local server of the book."""
    with served(html) as started:
        yield started


LOOK = """async () => {
    if (window.MathJax?.startup?.promise) await window.MathJax.startup.promise;
    const images = [...document.images];
    images.forEach(image => { image.loading = 'eager'; });
    await Promise.allSettled(images.map(image => image.decode()));
    const root = document.documentElement;
    return {
        broken: images.filter(i => !i.naturalWidth).map(i => i.src),
        silent: images.filter(i => !i.alt.trim()).map(i => i.src),
        files: images.filter(i => /\\.(png|svg|jpe?g)$/.test(i.alt)).map(i => i.alt),
        overflow: root.scrollWidth - root.clientWidth,
        formulas: document.querySelectorAll('.math').length,
        rendered: document.querySelectorAll('.math mjx-container').length,
        errors: document.querySelectorAll('mjx-merror, .problematic, .system-message').length,
    };
}"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_page_is_whole_in_a_browser(repository, html, browser, address, width, scheme):
    problems, formulas = [], 0
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1
    )
    page = context.new_page()

    def refuse_foreign(route) -> None:
        if route.request.url.startswith(address):
            route.continue_()
        else:
            problems.append(f"{name}: requests {route.request.url}")
            route.abort()

    context.route("**/*", refuse_foreign)
    page.on("pageerror", lambda error: problems.append(f"{name}: throws {error}"))
    page.on(
        "console",
        lambda line: line.type == "error" and problems.append(f"{name}: logs {line.text}"),
    )
    names = sorted(path.relative_to(html).as_posix() for path in html.rglob("*.html"))
    names = [name for name in names if not name.startswith("_static/")]
    listed = re.findall(r"(?:root|file): (\S+)", (repository / "book/_toc.yml").read_text())
    absent = sorted({f"{page}.html" for page in listed} - set(names))
    assert listed and not absent, f"not in the book: {', '.join(absent)}; run `make book`"
    for name in names:
        page.goto(f"{address}/{name}", wait_until="load")
        if name == "index.html":
            page.wait_for_url("**/book/intro.html")
        seen = page.evaluate(LOOK)
        formulas += seen["rendered"]
        for fault in ("broken", "silent", "files", "errors"):
            if seen[fault]:
                problems.append(f"{name}: {fault} {seen[fault]}")
        if seen["overflow"] > 0:
            problems.append(f"{name}: {seen['overflow']} px wider than the window")
        if seen["rendered"] < seen["formulas"]:
            problems.append(f"{name}: {seen['rendered']} of {seen['formulas']} formulas rendered")
    context.close()
    assert not problems, "\n".join(problems)
    assert formulas, "no page has a formula"


@pytest.mark.parametrize("width", [1280, 390])
def test_atlas_works_in_its_page_without_network(browser, address, width):
    url = f"{address}/notebooks/07_embeddings.html"
    settings = {"viewport": {"width": width, "height": 900}, "until": "networkidle"}
    with page_without_network(browser, url, **settings) as page:
        check_all(page)


def test_demo_pages_say_that_they_are_a_demo(html, repository):
    if html != repository / "build/demo/book/_build/html":
        pytest.skip("not the demo's book")
    pages = [path for path in html.rglob("*.html") if "_static" not in path.parts]
    silent = [
        path.name
        for path in pages
        if "Demo profile." not in path.read_text() and path.name != "index.html"
    ]
    assert len(pages) > 10 and not silent
