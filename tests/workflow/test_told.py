"""Pages tell what a run has numbers for: by hand-made cells, and in a book in miniature."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
import yaml

from fetalclip_nb.errors import NotebookError, ProfileError
from fetalclip_nb.profiles import load_profile
from fetalclip_nb.workflow import absent, build
from fetalclip_nb.workflow.runner import require_success, run_profile
from tiny import checkout, notebook, project

pytest.importorskip("jupyter_book")

HAS, LACKS = "{glue:text}`facts/has`", "{glue:text}`headline/own_classes/f1`"
TEXTS = {"facts/has": "3.5 %", "facts/a_sentence": "It is so.", "facts/none_sentence": ""}
ABSENT = {
    "04_seg": "*Outlines*",
    "#seg": "*Outlines*",
    "#fig-seg": "a figure of *Outlines*",
}


@pytest.fixture
def tell(repository, monkeypatch):
    """The function of the book's extension, for a page whose run has `TEXTS`."""
    monkeypatch.syspath_prepend(repository / "book" / "_ext")
    import told

    def find(name: str, key: str) -> str | None:
        return None if name == "04_seg" else key if name else TEXTS.get(key)

    return lambda text: told.told(text, find, ABSENT)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("A. B {}. C.", "A. C."),
        ("A.\nB {},\nstill B. C.", "A.\nC."),
        ("{} is first.\nLast is\nlonger.", "Last is\nlonger."),
        ("One, of 3.5 {}. Two?", "Two?"),
        ("One, e.g. By {} (95 % of it; see Fig. 3). Two!", "Two!"),
        ("One {}, see {{doc}}`/book/a. B` and $x. Y$ and `c. D`. Two.", "Two."),
        ("(One. It is {}.) Two.", "Two."),
        ("One ({}). Two.", "Two."),
        ("One.\nIs {}.", "One."),
        ("**Lead.** It is {}. Two.", "**Lead.** Two."),
        ("**Lead.** It is {}.", ""),
        ("Is it **so? No:** {}? *Two.*", "*Two.*"),
        ("Old.\n\nIt is {}.\n\nNew.\n", "Old.\n\nNew.\n"),
        ("Old.\n\nIt is {}.", "Old.\n"),
        ("## It is {}\n\nText.", "Text."),
        ("# T\n\n## Part\n\nIt is {}.\n\n## Other\n\nB.", "# T\n\n## Other\n\nB."),
        ("# T\n\n## Part\n\nIt is {}.\n\nA.\n\n## Other\n\nB.",
         "# T\n\n## Part\n\nA.\n\n## Other\n\nB."),
        ("## Part\n\nIt is {}.\n\n### Below\n\nB.", "## Part\n\n### Below\n\nB."),
        ("# T\n\n(here)=\n## Part\n\nIt is {}.", "# T\n\n(here)=\n## Part\n"),
        ("- a {}\n- b. Is {},\n  so. C.\n- c {}.\n\nEnd.", "- b. C.\n\nEnd."),
        ("1. a\n2. b {}\n   - c\n3. d", "1. a\n2.\n   - c\n3. d"),
        ("A. {{glue:text}}`facts/a_sentence` B {}. C.", "A. {{glue:text}}`facts/a_sentence` C."),
        ("A. {{glue:text}}`facts/b_sentence` B. C {}.", "A. B."),
        ("- A.\n- {{glue:text}}`facts/none_sentence`\n- {}.", "- A."),
        ("A. {{glue:text}}`facts/none_sentence` B: {{glue:text}}`facts/none_sentence`. {}.",
         "A. {{glue:text}}`facts/none_sentence` B: {{glue:text}}`facts/none_sentence`."),
        ("A {{glue:text}}`../x/04_seg.ipynb::k/v:s`. B {{glue:text}}`facts/has`.",
         "B {{glue:text}}`facts/has`."),
    ],
)  # fmt: skip
def test_a_sentence_without_its_number_goes_and_nothing_else(tell, text, left):
    assert tell(text.format(*[LACKS] * 3)) == left.format()
    whole = text.format(*[HAS] * 3).replace("b_sent", "a_sent").replace("04_seg", "x")
    assert tell(whole.replace("none", "a")) == whole.replace("none", "a")


@pytest.mark.parametrize(
    "text",
    [
        f"```{{note}}\nA {LACKS}. B.\n```",
        f":::{{tip}}\nA {LACKS}.\n:::",
        f"$$\nx = {LACKS}. Y\n$$",
        f"| a | b |\n|---|---|\n| {LACKS} | c |",
    ],
)
def test_equations_code_directives_and_tables_are_not_cut(tell, text):
    assert tell(f"{text}\n\nA {LACKS}. B.") == f"{text}\n\nB."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("See {doc}`../notebooks/04_seg`.", "See *Outlines*."),
        ("{doc}`The part <04_seg>`, {ref}`part\n<seg>`", "The part, part"),
        ("{ref}`seg`, {numref}`fig-seg`, {numref}`Fig. %s <fig-seg>`",
         "*Outlines*, a figure of *Outlines*, a figure of *Outlines*"),
        ("[it](../notebooks/04_seg.ipynb#x) [is](#seg) [so](04_seg)", "it is so"),
        ("A\n\n{doc}`04_seg`\n: It is {glue:text}`none`.\n  At length.\n\n{doc}`b`\n: It.\n\nC",
         "A\n\n{doc}`b`\n: It.\n\nC"),
        ("{doc}`seg` {ref}`04_seg` ![a](04_seg) `{glue:text}` and `b`. [b](https://x/y.md)", ...),
    ],
)  # fmt: skip
def test_a_reference_to_an_absent_chapter_reads_as_text(tell, text, left):
    assert tell(text) == (text if left is ... else left)


def test_names_of_a_chapter_are_its_headings_and_figures():
    cell = nbformat.v4.new_code_cell("1", metadata={"mystnb": {"figure": {"name": "fig-a"}}})
    source = notebook(cell)
    source.cells[0].source = "(t)=\n# Title\n\n(none)=\ntext\n\n(p)=\n\n## A part\n"
    assert absent.names_in(source) == {
        "": "*Title*", "t": "*Title*", "p": "*A part*", "fig-a": "a figure of *Title*",
    }  # fmt: skip


TOC = """format: jb-book
root: book/intro
parts:
  - caption: First
    chapters: [{file: notebooks/one, sections: [{file: notebooks/two}]}]
  - caption: Second
    chapters: [{file: notebooks/two}]
"""
INTRO = """# Intro

{glue:text}`../notebooks/one.ipynb::headline/vpr:s` was measured. In two it was
{glue:text}`../notebooks/two.ipynb::headline/vpr:s`. See {doc}`../notebooks/two`, {numref}`fig-two`,
[there](../notebooks/two.ipynb) and {ref}`two`. It has {glue:text}`../notebooks/one.ipynb::no/x:s`.
"""


def test_a_book_has_the_chapters_of_its_profile(tmp_path, monkeypatch, repository, capfd):
    monkeypatch.chdir(checkout(tmp_path, repository))
    one = nbformat.read("notebooks/one.ipynb", 4)
    asks = "In {ref}`two`. Own: {glue:text}`headline/own_x`. Far: {glue:text}`x/african_planes`."
    figure = {"mystnb": {"figure": {"name": "fig-two"}}}
    two = notebook(nbformat.v4.new_code_cell("1", metadata=figure))
    two.cells[0].source = "(two)=\n# Chapter two"
    one.cells.append(nbformat.v4.new_markdown_cell(asks, id="asks"))
    project(tmp_path, one=one, two=two)
    shutil.copy(repository / "_config.yml", tmp_path)
    (tmp_path / "book/_toc.yml").write_text(TOC)
    (tmp_path / "book/intro.md").write_text(INTRO.replace("no/x", "own_/x"))
    path = tmp_path / "profiles/demo.yaml"
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"notebooks": {"one": {}}}))
    profile = load_profile("demo")
    require_success(run_profile(profile))
    html = build.build_book(profile).parent
    page = (html / "book/intro.html").read_text()
    text = " ".join(re.sub(r"<[^>]+>", "", page.split("<h1>")[-1]).split())
    says = "83.4 % was measured. See Chapter two, a figure of Chapter two, there and Chapter two."
    assert says in text
    assert "In two" not in page and "notebooks/two" not in page and "Second" not in page
    chapter = (html / "notebooks/one.html").read_text()
    assert "In <em>Chapter two</em>." in chapter and "Own:" not in chapter and "Far:" not in chapter
    # In the demo a name that is none of those that it may lack is a mistake.
    (tmp_path / "book/intro.md").write_text(INTRO)
    with pytest.raises(NotebookError, match="not built"):
        build.build_book(profile)
    assert "no text no/x in this run" in capfd.readouterr().err
    path.write_text(yaml.safe_dump(content | {"notebooks": {"three": {}}}))
    with pytest.raises(ProfileError, match=r"no chapter.*one of one, two.*Found: three"):
        build.build_book(load_profile("demo"))


def test_differences_are_those_of_the_chapters_that_there_are(repository, monkeypatch):
    """What a chapter has left that the profile had once is not shown."""
    monkeypatch.syspath_prepend(repository / "book" / "_ext")
    import fetalclip_book

    asked = []
    monkeypatch.setattr(
        fetalclip_book, "difference_table", lambda _, names: asked.extend(names) or pd.DataFrame()
    )
    config = {"executed_notebooks": Path("x/y"), "absent_chapters": {"03_linear_probing": "*Z*"}}
    text = [fetalclip_book.DIFFERENCES]
    fetalclip_book.fill_differences(SimpleNamespace(config=SimpleNamespace(**config)), "a", text)
    assert text == ["No chapter has been run with this profile."]
    assert asked == [n for n in fetalclip_book.COMPARED if n != "03_linear_probing"]
